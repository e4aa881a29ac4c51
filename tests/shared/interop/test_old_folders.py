"""Folders of older diffusers versions, frozen here, mean what diffusers takes them for; missing weights are listed."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from shared.errors import UserError
from shared.interop.denoisers import from_diffusers
from shared.interop.diffusers_networks import network_from_diffusers
from shared.interop.monai_networks import monai_unet
from tests.shared.test_convert_networks import LABELS, MONAI, TIMES, dit2d, monai, stirred, unet2d

diffusers = pytest.importorskip("diffusers")

# ddpm-cifar10-32 as version 0.0.4 wrote it, but for its widths.
UNET_OF_OLD = {
    "_class_name": "UNet2DModel",
    "_diffusers_version": "0.0.4",
    "act_fn": "silu",
    "attention_head_dim": None,
    "block_out_channels": [32, 64, 64, 64],
    "center_input_sample": False,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "in_channels": 3,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-06,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 16,
    "time_embedding_type": "positional",
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}
# DiT-XL-2-256 as version 0.12 wrote it, but for its widths, layers and classes.
DIT_OF_OLD = {
    "_class_name": "Transformer2DModel",
    "_diffusers_version": "0.12.0.dev0",
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
    "attention_head_dim": 12,
    "cross_attention_dim": None,
    "dropout": 0.0,
    "in_channels": 4,
    "norm_elementwise_affine": False,
    "norm_num_groups": 32,
    "norm_type": "ada_norm_zero",
    "num_attention_heads": 2,
    "num_embeds_ada_norm": 3,
    "num_layers": 2,
    "num_vector_embeds": None,
    "only_cross_attention": False,
    "out_channels": 8,
    "patch_size": 2,
    "sample_size": 8,
    "upcast_attention": False,
    "use_linear_projection": False,
}
PIXART_OF_OLD = DIT_OF_OLD | {
    "norm_type": "ada_norm_single",
    "norm_eps": 1e-6,
    "caption_channels": 16,
    "cross_attention_dim": 24,
    "num_embeds_ada_norm": 1000,
    "attention_type": "default",
    "double_self_attention": False,
}
WEIGHTS = "diffusion_pytorch_model.safetensors"
EARLY = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}


def same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """To 1e-5 of the largest output."""
    assert theirs.std() > 0.1
    assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()


def old_folder(folder: Path, config: dict[str, Any], network: Any) -> Path:
    """The network's weights beside an old configuration, in the words of its time."""
    tensors = {}
    for name, value in network.state_dict().items():
        if config["_diffusers_version"] == "0.0.4":
            for word, early in EARLY.items():
                name = name.replace(word, early)
        tensors[name] = value.contiguous()
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    return folder


def made(kind: str, config: dict[str, Any]) -> Any:
    """A stock network of an old configuration, with every parameter stirred."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return stirred(getattr(diffusers, kind).from_config(config))


def loaded(kind: str, folder: Path) -> Any:
    """What diffusers itself makes of the folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(diffusers, kind).from_pretrained(folder, local_files_only=True, low_cpu_mem_usage=False).eval()


def test_a_unet_of_the_first_version_says_what_diffusers_says(tmp_path) -> None:
    folder = old_folder(tmp_path, UNET_OF_OLD, made("UNet2DModel", UNET_OF_OLD))
    theirs, ours, x = loaded("UNet2DModel", folder), network_from_diffusers(folder), torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        same(ours(x, TIMES, {}), theirs(x, TIMES, return_dict=False)[0])


def test_a_dit_under_its_old_name_says_what_diffusers_says(tmp_path) -> None:
    network = made("DiTTransformer2DModel", DIT_OF_OLD)
    for block in network.transformer_blocks:
        block.norm1.emb.load_state_dict(network.transformer_blocks[0].norm1.emb.state_dict())
    folder = old_folder(tmp_path, DIT_OF_OLD, network)
    theirs, ours, x = loaded("Transformer2DModel", folder), network_from_diffusers(folder), torch.randn(4, 4, 8, 8)
    with torch.no_grad():
        want = theirs(x, TIMES, LABELS, return_dict=False)[0]
        same(ours(x, TIMES, {"class_labels": LABELS}), want)
        own = from_diffusers(folder, {"_class_name": "DDIMScheduler"}).network
        same(own(x, TIMES, {"class_labels": LABELS})[0], want[:, :4])


def test_a_pixart_under_its_old_name_becomes_a_denoiser_and_is_named_where_it_has_no_counterpart(tmp_path) -> None:
    folder = old_folder(tmp_path, PIXART_OF_OLD, made("PixArtTransformer2DModel", PIXART_OF_OLD))
    network: Any = from_diffusers(folder, {"_class_name": "DDIMScheduler"}).network
    assert type(network.network).__name__ == "PixArtTransformer2DModel"
    with pytest.raises(UserError, match="PixArtTransformer2DModel has no counterpart"):
        network_from_diffusers(folder)


def test_an_option_that_is_gone_but_was_in_use_is_refused(tmp_path) -> None:
    config = DIT_OF_OLD | {"only_cross_attention": True}
    folder = old_folder(tmp_path, config, made("DiTTransformer2DModel", DIT_OF_OLD))
    with pytest.raises(UserError, match="only_cross_attention=True is unknown here"):
        network_from_diffusers(folder)


def test_absent_options_have_the_defaults_of_diffusers() -> None:
    import inspect

    from shared.interop.diffusers_networks import DIT_DEFAULTS, UNET_DEFAULTS

    for kind, ours in ((diffusers.UNet2DModel, UNET_DEFAULTS), (diffusers.DiTTransformer2DModel, DIT_DEFAULTS)):
        theirs = list(inspect.signature(kind.__init__).parameters.values())[1:]
        assert ours == {option.name: option.default for option in theirs}


UNET_OPTIONS = {"flip_sin_to_cos": False, "num_class_embeds": 3}


@pytest.mark.parametrize(
    ("kind", "absent", "missing"),
    [
        ("unet", "time_embedding.linear_1.weight", r"1 missing: time\.first\.weight"),
        ("unet", "class_embedding.weight", r"1 missing: classes\.class_labels\.weight"),
        ("dit", "pos_embed.proj.weight", r"1 missing: input\.weight"),
        ("dit", "proj_out_2.weight", r"1 missing: head\.weight"),
        ("dit", "transformer_blocks.1.attn1.to_q.weight", r"1 missing: blocks\.1\.attention\.q\.weight"),
        (
            "dit",
            "transformer_blocks.0.norm1.emb.timestep_embedder.linear_1.weight",
            r"1 missing: time\.first\.weight",
        ),
        (
            "dit",
            "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight",
            r"1 missing: classes\.class_labels\.weight",
        ),
    ],
)
def test_half_a_set_of_weights_is_refused_with_the_names_that_are_missing(kind, absent, missing, tmp_path) -> None:
    network = unet2d(**UNET_OPTIONS) if kind == "unet" else dit2d()
    network.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    del tensors[absent]
    save_file(tensors, tmp_path / WEIGHTS)
    with pytest.raises(UserError, match=rf"does not fit the network \(\d+ tensors fit; {missing}") as refused:
        network_from_diffusers(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_monai_network_without_its_labels_is_refused_in_the_same_sentence() -> None:
    tensors = monai(spatial_dims=2, num_class_embeds=3).state_dict()
    del tensors["class_embedding.weight"]
    options = {"spatial_dims": 2, "in_channels": 2, "out_channels": 3, "num_head_channels": 4, "num_class_embeds": 3}
    with pytest.raises(UserError, match=r"tensors fit; 1 missing: classes\.class_labels\.weight"):
        monai_unet(options | MONAI, tensors)
