"""Weights of MONAI and diffusers in our networks: the same outputs, and a sentence for what has no counterpart."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from shared.errors import UserError
from shared.interop.diffusers_networks import network_from_diffusers
from shared.interop.monai_networks import from_monai_unet, monai_unet
from shared.networks.classic_unet import ClassicUNet
from shared.networks.dit import DiT

torch.set_num_threads(1)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    diffusers = pytest.importorskip("diffusers")
    monai_nets = pytest.importorskip("monai.networks.nets")
    pytest.importorskip("einops")

TIMES = torch.tensor([0.0, 17.0, 481.5, 999.0])
LABELS = torch.tensor([0, 2, 1, 0])
MONAI = {"channels": (8, 16), "attention_levels": (False, True), "num_res_blocks": 1, "norm_num_groups": 4}
UNET2D = {
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "norm_num_groups": 4,
}
DIT = {"num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 3, "num_layers": 2, "sample_size": 8}
DIT |= {"num_embeds_ada_norm": 3}


def stirred(network: nn.Module) -> nn.Module:
    """Every parameter away from its start, so that no branch is closed; norms stay near one."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            fan = max(parameter[0].numel(), 1) if parameter.ndim > 1 else 25
            parameter.copy_(noise / fan**0.5 + (1.0 if parameter.ndim == 1 and (parameter == 1).all() else 0.0))
    return network.eval()


def monai(**options) -> Any:
    options = {"in_channels": 2, "out_channels": 3, "num_head_channels": 4, **MONAI, **options}
    return stirred(monai_nets.DiffusionModelUNet(**options))


def unet2d(**options) -> Any:
    return stirred(diffusers.UNet2DModel(**{**UNET2D, **options}))


def dit2d(**options) -> Any:
    network: Any = stirred(diffusers.DiTTransformer2DModel(**{**DIT, **options}))
    first = network.transformer_blocks[0].norm1.emb.state_dict()
    for block in network.transformer_blocks:
        block.norm1.emb.load_state_dict(first)
    return network


def same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """To 1e-5 of the largest output: float32 cannot tell angles of the time features near 1000 apart any finer."""
    assert theirs.std() > 0.1
    assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()


# ---------------------------------------------------------------------------------------------------------------- MONAI


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"spatial_dims": 2}, (8, 12)),
        ({"spatial_dims": 3}, (4, 8, 6)),
        ({"spatial_dims": 3, "attention_levels": (False, False)}, (4, 4, 4)),
        ({"spatial_dims": 2, "attention_levels": (True, True), "num_res_blocks": (1, 2)}, (8, 8)),
        ({"spatial_dims": 2, "num_class_embeds": 3}, (8, 8)),
        ({"spatial_dims": 2, "resblock_updown": True}, (8, 8)),
        ({"spatial_dims": 3, "resblock_updown": True, "num_class_embeds": 3}, (4, 4, 4)),
        ({"spatial_dims": 2, "channels": (8, 8, 16), "attention_levels": (False, True, True)}, (32, 32)),
        ({"spatial_dims": 2, "num_head_channels": (3, 8), "norm_eps": 1e-3}, (8, 8)),
        ({"spatial_dims": 2, "use_combined_linear": True}, (8, 8)),
        ({"spatial_dims": 2, "include_fc": False, "use_flash_attention": True}, (8, 8)),
        ({"spatial_dims": 2, "with_conditioning": True, "cross_attention_dim": 5}, (8, 8)),
        (
            {"spatial_dims": 3, "with_conditioning": True, "cross_attention_dim": 5, "transformer_num_layers": 2},
            (4, 4, 4),
        ),
        ({"spatial_dims": 2, "with_conditioning": True, "cross_attention_dim": 5, "include_fc": False}, (8, 8)),
    ],
)
def test_a_monai_unet_says_the_same_in_our_network(options, sizes):
    theirs = monai(**options)
    ours = from_monai_unet(theirs)
    x, cond = torch.randn(4, 2, *sizes), {}
    if options.get("num_class_embeds"):
        cond["class_labels"] = LABELS
    if options.get("with_conditioning"):
        cond["context"] = torch.randn(4, 3, 5)
    with torch.no_grad():
        same(ours(x, TIMES, cond), theirs(x, TIMES, **cond))
    assert sum(p.numel() for p in theirs.parameters()) <= sum(p.numel() for p in ours.parameters())
    again = monai_unet(
        {"in_channels": 2, "out_channels": 3, "num_head_channels": 4, **MONAI, **options}, theirs.state_dict()
    )
    assert again.config == ours.config


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"spatial_dims": 1}, "spatial_dims=1 has no counterpart in our network; convert one with 2 or 3"),
        ({"dropout_cattn": 0.1}, "dropout_cattn=0.1 has no counterpart"),
        ({"act": "gelu"}, "act='gelu' is unknown here"),
        ({"num_head_channels": 5}, "num_head_channels=5 has no counterpart in our network; choose a divisor of 16"),
        ({"attention_levels": (True,)}, r"attention_levels=\(True,\) has no counterpart.*give one a level, 2 of them"),
        ({"in_channels": None}, r"\['in_channels'\] not given"),
        ({"num_res_blocks": 2}, "DiffusionModelUNet: does not fit the network .*missing"),
    ],
)
def test_a_monai_option_without_counterpart_is_named(options, sentence):
    whole = {"spatial_dims": 2, "in_channels": 2, "out_channels": 3, "num_head_channels": 4, **MONAI, **options}
    with pytest.raises(UserError, match=sentence):
        monai_unet(whole, monai(spatial_dims=2).state_dict())


def test_a_network_of_another_kind_is_not_taken_for_monais():
    with pytest.raises(UserError, match="network: is a Linear; pass a DiffusionModelUNet"):
        from_monai_unet(nn.Linear(1, 1))


# ------------------------------------------------------------------------------------------------------------ diffusers


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"block_out_channels": (8, 16, 16), "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D")}
        | {"up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"), "sample_size": 32},
        {"flip_sin_to_cos": False, "freq_shift": 1, "downsample_padding": 0, "norm_eps": 1e-6},  # the first DDPMs
        {"attention_head_dim": None, "add_attention": False, "layers_per_block": 2},
        {"resnet_time_scale_shift": "scale_shift"},
        {"resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": 8, "time_embedding_dim": 24},
        {"num_class_embeds": 3},
        {"down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"), "upsample_type": "resnet"}
        | {"up_block_types": ("AttnUpBlock2D", "UpBlock2D")},
    ],
)
def test_a_unet2d_says_the_same_in_our_network(options):
    theirs = unet2d(**options)
    ours = network_from_diffusers(theirs)
    x = torch.randn(4, 3, *[theirs.config.sample_size] * 2)
    labels = LABELS if options.get("num_class_embeds") else None
    with torch.no_grad():
        said = theirs(x, TIMES, labels, return_dict=False)[0]
        same(ours(x, TIMES, {} if labels is None else {"class_labels": labels}), said)
    assert isinstance(ours, ClassicUNet)


@pytest.mark.parametrize(
    "options", [{}, {"out_channels": 6, "patch_size": 4}, {"attention_bias": False, "norm_eps": 1e-2, "num_layers": 3}]
)
def test_a_dit_says_the_same_in_our_network(options):
    theirs = dit2d(**options)
    ours = network_from_diffusers(theirs)
    x = torch.randn(4, 3, 8, 8)
    nothing = torch.full((4,), 3)  # their row of the absent label
    with torch.no_grad():
        same(ours(x, TIMES, {"class_labels": LABELS}), theirs(x, TIMES, LABELS, return_dict=False)[0])
        same(ours(x, TIMES, {}), theirs(x, TIMES, nothing, return_dict=False)[0])
    assert isinstance(ours, DiT)


def test_a_folder_is_read_without_importing_its_library(tmp_path):
    theirs = unet2d(num_class_embeds=3)
    theirs.save_pretrained(tmp_path)
    ours, x = network_from_diffusers(tmp_path), torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        same(ours(x, TIMES, {"class_labels": LABELS}), theirs(x, TIMES, LABELS, return_dict=False)[0])


def test_the_weights_are_copies():
    theirs = unet2d()
    ours = network_from_diffusers(theirs)
    before = theirs.conv_in.weight.clone()
    with torch.no_grad():
        ours.get_parameter("stem.weight").zero_()
    assert torch.equal(theirs.conv_in.weight, before)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"act_fn": "gelu"}, "act_fn='gelu' has no counterpart in our network; convert one with 'silu' or 'swish'"),
        ({"center_input_sample": True}, "center_input_sample=True has no counterpart"),
        ({"time_embedding_type": "fourier"}, "time_embedding_type='fourier' has no counterpart"),
        ({"mid_block_scale_factor": 2.0}, "mid_block_scale_factor=2.0 has no counterpart"),
        ({"class_embed_type": "timestep"}, "class_embed_type='timestep' has no counterpart"),
        ({"mid_block_type": None}, "mid_block_type=None has no counterpart"),
        ({"attention_head_dim": 5}, "attention_head_dim=5 has no counterpart"),
        (
            {"down_block_types": ("SkipDownBlock2D", "AttnDownBlock2D")},
            "down_block_types='SkipDownBlock2D' has no counterpart",
        ),
        ({"up_block_types": ("UpBlock2D", "UpBlock2D")}, "up_block_types=.* mirror the attention of down_block_types"),
        ({"upsample_type": "resnet"}, "upsample_type='resnet' has no counterpart.*one way at every level"),
        ({"novelty": 1}, "novelty=1 is unknown here"),
    ],
)
def test_a_unet2d_option_without_counterpart_is_named(options, sentence, tmp_path):
    theirs = unet2d()
    config = {**theirs.config, **options, "_class_name": "UNet2DModel"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(theirs.state_dict(), tmp_path / "diffusion_pytorch_model.safetensors")
    with pytest.raises(UserError, match=sentence):
        network_from_diffusers(tmp_path)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"activation_fn": "geglu"}, "activation_fn='geglu' has no counterpart"),
        ({"norm_elementwise_affine": True}, "norm_elementwise_affine=True has no counterpart"),
        ({"dropout": 0.1}, "dropout=0.1 has no counterpart"),
    ],
)
def test_a_dit_option_without_counterpart_is_named(options, sentence):
    with pytest.raises(UserError, match=sentence):
        network_from_diffusers(dit2d(**options))


def test_blocks_that_embed_time_each_in_their_own_way_are_refused():
    with pytest.raises(UserError, match=r"transformer_blocks\.1\.norm1\.emb.*differs from the first block's"):
        network_from_diffusers(stirred(diffusers.DiTTransformer2DModel(**DIT)))


def test_other_networks_and_other_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match="Linear has no counterpart among our networks"):
        network_from_diffusers(nn.Linear(1, 1))
    with pytest.raises(UserError, match="is no folder of a diffusers network"):
        network_from_diffusers(tmp_path)
