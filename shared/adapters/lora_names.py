"""What others call the layers of a host, found by enumerating the host and never by taking names apart.

    names(host)["lora_unet_double_blocks_0_img_attn_qkv"] == ("transformer_blocks.0.attn.to_q", "....to_k", "....to_v")

A name with underscores does not say where its dots were, so every layer of the host is asked what it would be called:
by its own path (kohya for Stable Diffusion 1 and 2, diffusers, PEFT, our networks), by Stability's numbering of blocks
(kohya for SDXL), by Black Forest Labs' (kohya and ComfyUI for Flux, whose projections are fused: one name, several
paths, whose outputs stand one after another).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from shared.adapters.host import Host
from shared.errors import UserError

PREFIX = "lora_unet_"  # of kohya, whatever the network

# Inside a residual block and beside the blocks, diffusers' names and Stability's.
STABILITY = {
    "conv1": "in_layers_2",
    "conv2": "out_layers_3",
    "time_emb_proj": "emb_layers_1",
    "conv_shortcut": "skip_connection",
    "conv_in": "input_blocks_0_0",
    "conv_out": "out_2",
    "time_embedding.linear_1": "time_embed_0",
    "time_embedding.linear_2": "time_embed_2",
    "add_embedding.linear_1": "label_emb_0_0",
    "add_embedding.linear_2": "label_emb_0_2",
}
DOUBLE = {
    "img_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn_proj": ("attn.to_out.0",),
    "txt_attn_proj": ("attn.to_add_out",),
    "img_mlp_0": ("ff.net.0.proj",),
    "img_mlp_2": ("ff.net.2",),
    "txt_mlp_0": ("ff_context.net.0.proj",),
    "txt_mlp_2": ("ff_context.net.2",),
    "img_mod_lin": ("norm1.linear",),
    "txt_mod_lin": ("norm1_context.linear",),
}
SINGLE = {
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation_lin": ("norm.linear",),
}
BESIDE = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in_in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in_out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in_in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in_out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in_in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in_out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer_linear": "proj_out",
}


def names(host: Host) -> dict[str, tuple[str, ...]]:
    """Every kohya name of the host's layers -> the path, or the paths that are fused under it, in order.

    Raises UserError when two layers would have one name.
    """
    paths = [site.path for site in host.of_kind("linear", "conv")]
    found: dict[str, tuple[str, ...]] = {}
    pairs = [(path.replace(".", "_"), (path,)) for path in paths]
    for name, fused in [*pairs, *others(host, paths)]:
        if found.setdefault(PREFIX + name, fused) != fused:
            raise UserError(
                f"{found[PREFIX + name]} and {fused} would both be called {PREFIX + name}",
                where="LoRA",
                remedy="use the PEFT format, whose names keep their dots",
            )
    return found


def kohya(host: Host) -> dict[tuple[str, ...], str]:
    """Paths -> the name that kohya writes: Black Forest Labs' for Flux, Stability's for SDXL, otherwise the path's."""
    network = host.network
    wide = type(network).__name__ == "UNet2DConditionModel" and host.config["cross_attention_dim"] == 2048
    found: dict[tuple[str, ...], str] = {}
    for name, paths in names(host).items():
        if wide or type(network).__name__ == "FluxTransformer2DModel":
            found[paths] = name  # the later names are theirs
        else:
            found.setdefault(paths, name)
    fused = {path for paths in found if len(paths) > 1 for path in paths}
    return {paths: name for paths, name in found.items() if len(paths) > 1 or paths[0] not in fused}


def others(host: Host, paths: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names that differ from the paths, for the two backbones that have such."""
    kind = type(host.network).__name__
    if kind == "FluxTransformer2DModel":
        yield from flux(paths)
    elif kind == "UNet2DConditionModel":
        yield from ((name, (path,)) for path in paths if (name := stability(host, path)) is not None)


def flux(paths: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Black Forest Labs' names of the layers that exist."""
    have = set(paths)
    lists = (("transformer_blocks", "double_blocks", DOUBLE), ("single_transformer_blocks", "single_blocks", SINGLE))
    for theirs, ours, table in lists:
        for k in sorted({int(path.split(".")[1]) for path in paths if path.startswith(f"{theirs}.")}):
            for name, parts in table.items():
                fused = tuple(f"{theirs}.{k}.{part}" for part in parts)
                if have.issuperset(fused):
                    yield f"{ours}_{k}_{name}", fused
    yield from ((name, (path,)) for name, path in BESIDE.items() if path in have)


def stability(host: Host, path: str) -> str | None:
    """Stability's name of a layer of a UNet2DConditionModel, whose blocks are numbered through, samplers included."""
    if path in STABILITY:
        return STABILITY[path]
    layer = re.match(
        r"(?:(down|up)_blocks\.(\d+)|mid_block)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)", path
    )
    if layer is None:
        return None
    way, block, part, place, rest = layer[1], int(layer[2] or 0), layer[3], int(layer[4]), layer[5]
    inner = STABILITY.get(rest, rest.replace(".", "_"))
    layers = host.network.config.layers_per_block  # type: ignore[union-attr]
    if not isinstance(layers, int):
        return None  # no network of Stability's numbers its blocks unevenly
    if way is None:
        return f"middle_block_{1 if part == 'attentions' else 2 * place}_{inner}"
    if way == "down":
        if part == "downsamplers":
            return f"input_blocks_{(block + 1) * (layers + 1)}_0_op"
        return f"input_blocks_{1 + block * (layers + 1) + place}_{int(part == 'attentions')}_{inner}"
    number = block * (layers + 1) + place
    if part == "upsamplers":  # the last of its block, after the attention if there is one
        attends = any(site.path.startswith(f"up_blocks.{block}.attentions.") for site in host.of_kind("linear", "conv"))
        return f"output_blocks_{block * (layers + 1) + layers}_{1 + attends}_conv"
    return f"output_blocks_{number}_{int(part == 'attentions')}_{inner}"
