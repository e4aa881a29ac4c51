"""Weights of diffusers' UNet2DModel and DiTTransformer2DModel in networks of ours: the same outputs.

    network = network_from_diffusers("ddpm-folder")          a folder with config.json and weights, nothing imported
    network = network_from_diffusers(UNet2DModel(...))       a network at hand

UNet2DModel becomes a classical U-Net, DiTTransformer2DModel a DiT. Labels become the condition "class_labels".
Folders of older versions are read as diffusers itself reads them: options that came later have its defaults, a
Transformer2DModel is what its norm_type says, and options that are gone may stand there unused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from shared.checkpoints import place
from shared.errors import UserError
from shared.interop.renaming import Rules, called_today, geometric, refuse, refuse_unless, renamed, whole, with_null_row
from shared.networks.classic_unet import ClassicUNet, ClassicUNetConfig
from shared.networks.dit import DiT, DiTConfig

WEIGHTS = "diffusion_pytorch_model.safetensors"


def network_from_diffusers(source: nn.Module | Path | str) -> ClassicUNet | DiT:
    """Our network with the weights of a diffusers network or of the folder that it was saved to.

    Copies, in float32, in eval mode. Raises UserError for another class, for an option that has no counterpart, and for
    a folder that cannot be read.
    """
    if isinstance(source, nn.Module):
        kind, config, tensors = type(source).__name__, dict(getattr(source, "config", {})), source.state_dict()
    else:
        kind, config, tensors = _read(Path(source))
    kind = called_today(kind, config)
    if kind == "UNet2DModel":
        return unet2d(config, tensors)
    if kind == "DiTTransformer2DModel":
        return dit2d(config, tensors)
    raise UserError(
        f"{kind} has no counterpart among our networks",
        where="network",
        remedy="convert a UNet2DModel or a DiTTransformer2DModel, or use shared.interop.denoisers",
    )


def _read(folder: Path) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return str(config["_class_name"]), config, load_file(folder / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(
            f"is no folder of a diffusers network ({type(error).__name__}: {error})",
            where=str(folder),
            remedy=f"give one with config.json and {WEIGHTS}",
        ) from None


# -------------------------------------------------------------------------------------------------------- UNet2DModel

# Option -> diffusers' default, which a configuration written before the option came stands for.
UNET_DEFAULTS: dict[str, Any] = {
    "sample_size": None,
    "in_channels": 3,
    "out_channels": 3,
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "time_embedding_dim": None,
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
    "mid_block_type": "UNetMidBlock2D",
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (224, 448, 672, 896),
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "downsample_padding": 1,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "dropout": 0.0,
    "act_fn": "silu",
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "attn_norm_num_groups": None,
    "norm_eps": 1e-5,
    "resnet_time_scale_shift": "default",
    "add_attention": True,
    "class_embed_type": None,
    "num_class_embeds": None,
    "num_train_timesteps": None,  # read by learned time embeddings only
}
UNET_ACCEPTED: dict[str, tuple[Any, ...]] = dict.fromkeys(UNET_DEFAULTS, ()) | {
    "center_input_sample": (False,),
    "time_embedding_type": ("positional",),
    "mid_block_type": ("UNetMidBlock2D",),
    "mid_block_scale_factor": (1,),
    "downsample_padding": (0, 1),
    "downsample_type": ("conv", "resnet"),
    "upsample_type": ("conv", "resnet"),
    "act_fn": ("silu", "swish"),
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "class_embed_type": (None,),
}
# Block type -> (attention, resampling; None: the option of that way says which)
DOWN = {"DownBlock2D": (False, "conv"), "AttnDownBlock2D": (True, None), "ResnetDownsampleBlock2D": (False, "resnet")}
UP = {"UpBlock2D": (False, "conv"), "AttnUpBlock2D": (True, None), "ResnetUpsampleBlock2D": (False, "resnet")}
UNET_RULES: Rules = (
    (r"^conv_in\.", "stem."),
    (r"^time_embedding\.linear_1\.", "time.first."),
    (r"^time_embedding\.linear_2\.", "time.second."),
    (r"^class_embedding\.", "classes.class_labels."),
    (r"^conv_norm_out\.", "norm."),
    (r"^conv_out\.", "head."),
    (r"^mid_block\.", "mid."),
    (r"^(down|up)_blocks\.", r"\1."),
    (r"\.(down|up)samplers\.0\.", ".sample."),
    (r"\.group_norm\.", ".norm."),
    (r"\.query\.", ".to_q."),  # these four as the first versions had them
    (r"\.key\.", ".to_k."),
    (r"\.value\.", ".to_v."),
    (r"\.proj_attn\.", ".to_out.0."),
    (r"\.to_([qkv])\.", r".attention.\1."),
    (r"\.to_out\.0\.", ".attention.out."),
    (r"\.resnets\.", ".blocks."),
    (r"\.norm1\.", ".norm_in."),
    (r"\.conv1\.", ".conv_in."),
    (r"\.time_emb_proj\.", ".modulation."),
    (r"\.norm2\.", ".norm_out."),
    (r"\.conv2\.", ".conv_out."),
    (r"\.conv_shortcut\.", ".shortcut."),
)


def unet2d(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ClassicUNet:
    """Our network of a UNet2DModel's configuration with its weights (state_dict); UserError where they differ."""
    config = whole(config, UNET_DEFAULTS)
    refuse_unless(config, UNET_ACCEPTED, where="UNet2DModel")
    network = ClassicUNet(_unet_config(config))
    given = dict(tensors)
    time, classes = "time_embedding.linear_1.weight", "class_embedding.weight"
    if time in given and not config["flip_sin_to_cos"]:  # sines first: our features have them second
        given[time] = given[time].roll(given[time].shape[1] // 2, dims=1)
    if classes in given:
        given[classes] = with_null_row(given[classes])
    place(network, renamed(given, UNET_RULES), where="UNet2DModel")
    return network.eval()


def _unet_config(config: Mapping[str, Any]) -> ClassicUNetConfig:
    channels, where = tuple(config["block_out_channels"]), "UNet2DModel"
    last = len(channels) - 1
    attention: dict[str, list[int]] = {}
    kinds: set[str] = set()
    for option, known, way in (("down_block_types", DOWN, "downsample_type"), ("up_block_types", UP, "upsample_type")):
        types = list(config[option])
        for name in types:
            if name not in known:
                refuse(option, name, where=where, remedy=f"convert one with {' or '.join(known)}")
        if option == "up_block_types":
            types.reverse()
        attention[option] = [level for level, name in enumerate(types) if known[name][0]]
        resampled = types[:last]  # the coarsest has no way down, the finest none up
        if option == "up_block_types":
            resampled = types[1:]
        kinds |= {known[name][1] or config[way] for name in resampled}
    if attention["down_block_types"] != attention["up_block_types"]:
        refuse(
            "up_block_types", config["up_block_types"], where=where, remedy="mirror the attention of down_block_types"
        )
    if len(kinds) > 1:
        refuse("upsample_type", config["upsample_type"], where=where, remedy="resample in one way at every level")
    head = config["attention_head_dim"] or 0
    levels = attention["down_block_types"]
    reads = {*levels, *([last] if config["add_attention"] else [])}
    if head and any(channels[level] % head for level in reads):
        refuse("attention_head_dim", head, where=where, remedy="choose a divisor of the channels")
    shift = config["resnet_time_scale_shift"] == "default"
    own = config["attn_norm_num_groups"]
    classes = config["num_class_embeds"]
    return ClassicUNetConfig(
        dims=2,
        in_channels=config["in_channels"],
        out_channels=config["out_channels"],
        channels=channels,
        blocks=config["layers_per_block"],
        attention=tuple(levels),
        middle_attention=config["add_attention"],
        head_channels=head,
        groups=config["norm_num_groups"],
        eps=config["norm_eps"],
        middle_groups=own if own is not None else (None if shift else 0),
        modulation="shift" if shift else "scale_shift",
        resample="block" if kinds == {"resnet"} else "convolution",
        padding="both" if config["downsample_padding"] == 1 else "after",
        classes={} if classes is None else {"class_labels": classes},
        embedding=config["time_embedding_dim"],
        time_frequencies=geometric(channels[0], config["freq_shift"]),
        dropout=config["dropout"],
    )


# --------------------------------------------------------------------------------------------- DiTTransformer2DModel

DIT_DEFAULTS: dict[str, Any] = {
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "in_channels": 4,
    "out_channels": None,
    "num_layers": 28,
    "dropout": 0.0,
    "norm_num_groups": 32,  # nothing reads it
    "attention_bias": True,
    "sample_size": 32,
    "patch_size": 2,
    "activation_fn": "gelu-approximate",
    "num_embeds_ada_norm": 1000,
    "upcast_attention": False,  # of the precision, not of what is computed
    "norm_type": "ada_norm_zero",
    "norm_elementwise_affine": False,
    "norm_eps": 1e-5,
}
DIT_ACCEPTED: dict[str, tuple[Any, ...]] = dict.fromkeys(DIT_DEFAULTS, ()) | {
    "dropout": (0.0,),
    "activation_fn": ("gelu-approximate",),
    "norm_type": ("ada_norm_zero",),
    "norm_elementwise_affine": (False,),
}
DIT_RULES: Rules = (
    (r"^pos_embed\.proj\.", "input."),
    (r"^transformer_blocks\.0\.norm1\.emb\.timestep_embedder\.linear_1\.", "time.first."),
    (r"^transformer_blocks\.0\.norm1\.emb\.timestep_embedder\.linear_2\.", "time.second."),
    (r"^transformer_blocks\.0\.norm1\.emb\.class_embedder\.embedding_table\.", "classes.class_labels."),
    (r"^transformer_blocks\.", "blocks."),
    (r"\.norm1\.linear\.", ".modulation."),
    (r"\.attn1\.to_([qkv])\.", r".attention.\1."),
    (r"\.attn1\.to_out\.0\.", ".attention.out."),
    (r"\.ff\.net\.0\.proj\.", ".mlp.enter."),
    (r"\.ff\.net\.2\.", ".mlp.out."),
    (r"^proj_out_1\.", "modulation."),
    (r"^proj_out_2\.", "head."),
)


def dit2d(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> DiT:
    """Our network of a DiTTransformer2DModel's configuration with its weights (state_dict).

    Every block of theirs embeds time and label with weights of its own; in all published models these are equal, and
    ours has them once. Other sizes than sample_size, which theirs would stretch its positions for, are not equal.
    """
    where = "DiTTransformer2DModel"
    config = whole(config, DIT_DEFAULTS)
    refuse_unless(config, DIT_ACCEPTED, where=where)
    width, patch = config["num_attention_heads"] * config["attention_head_dim"], config["patch_size"]
    channels = config["out_channels"] or config["in_channels"]
    network = DiT(
        DiTConfig(
            dims=2,
            in_channels=config["in_channels"],
            out_channels=channels,
            width=width,
            layers=config["num_layers"],
            heads=config["num_attention_heads"],
            patch=patch,
            positions="sincos",
            classes={"class_labels": config["num_embeds_ada_norm"]},
            time_features=256,
            time_frequencies=geometric(256, 1.0),
            eps=(1e-6, config["norm_eps"]),
        )
    )
    given = _one_embedder(dict(tensors), where)
    for name, value in list(given.items()):
        if name == "pos_embed.proj.weight":
            given[name] = value.flatten(1)
        if name.startswith("proj_out_2."):  # (p, q, c) -> (c, p, q)
            rows = value.unflatten(0, (patch, patch, channels)).movedim(2, 0)
            given[name] = rows.flatten(0, 2)
        if name.endswith(".attn1.to_q.weight") and not config["attention_bias"]:
            given |= {name.replace("q.weight", f"{part}.bias"): torch.zeros(width) for part in "qkv"}
    place(network, renamed(given, DIT_RULES), where=where)
    return network.eval()


def _one_embedder(tensors: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    kept = {}
    for name, value in tensors.items():
        block, _, part = name.partition(".norm1.emb.")
        if part and block != "transformer_blocks.0":
            first = tensors.get(f"transformer_blocks.0.norm1.emb.{part}")
            if first is not None and not torch.equal(value, first):  # an absent one is listed as missing
                raise UserError(
                    f"{name} differs from the first block's; ours embeds time and label once",
                    where=where,
                    remedy="convert a model whose blocks share them, or use the library's own network",
                )
        elif name != "pos_embed.pos_embed":  # computed, not learned
            kept[name] = value
    return kept
