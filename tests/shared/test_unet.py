"""The U-Net: shapes in every dimension, conditions, names of its sites, what it refuses, and that it compiles."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from shared.errors import UserError
from shared.networks.layers import (
    CHANNELS_LAST,
    GroupNorm,
    ResidualBlock,
    TimeEmbedding,
    depth_to_space,
    space_to_depth,
)
from shared.networks.unet import UNet, UNetConfig

torch.set_num_threads(1)

SMALL = {"channels": (8, 16), "blocks": 1, "groups": 4, "heads": 2}


def make(dims: int = 2, **options) -> UNet:
    torch.manual_seed(0)
    return UNet(UNetConfig(**{"dims": dims, "in_channels": 1, "out_channels": 1, **SMALL, **options}))


def stirred(network: UNet) -> UNet:
    """The network with no parameter at zero, as after some training."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


@pytest.mark.parametrize(
    ("dims", "sizes", "options"),
    [
        (1, (16,), {"patch": 2, "attention": (0, 1)}),
        (2, (8, 12), {"channels": (8, 16, 16), "strides": 2, "patch": (1, 3)}),
        (3, (4, 8, 8), {"patch": 2}),
        (3, (3, 8, 8), {"strides": ((1, 2, 2),), "patch": (1, 2, 2), "factorised": True, "attention": (1,)}),
    ],
)
def test_the_output_has_the_size_of_the_input_in_every_dimension(dims, sizes, options):
    network = make(dims, in_channels=2, out_channels=3, **options)
    out = network(torch.randn(2, 2, *sizes), torch.rand(2), {})
    assert out.shape == (2, 3, *sizes)


def test_a_fresh_network_says_zero_and_ignores_its_conditions():
    network = make(vectors={"histogram": 4})
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(network(x, torch.rand(2), {"histogram": torch.rand(2, 4)}), torch.zeros_like(x))
    assert not any(p.any() for name, p in network.named_parameters() if ".film." in name)
    with torch.no_grad():
        network.head.weight.normal_()
    one, two = (network(x, torch.full((2,), t), {"histogram": torch.full((2, 4), t)}) for t in (0.1, 0.9))
    assert torch.equal(one, two)


def test_every_parameter_learns_once_the_zeros_have_moved():
    network = stirred(make(3, vectors={"v": 2}, images={"mask": 1}, attention=(1,), factorised=True)).train()
    network(torch.randn(2, 1, 4, 4, 4), torch.rand(2), {"mask": torch.rand(2, 1, 4, 4, 4)}).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_time_vectors_and_images_each_change_the_output():
    network = stirred(make(vectors={"histogram": 4}, images={"mask": 2}))
    x, t = torch.randn(1, 1, 8, 8), torch.tensor([0.5])
    cond = {"histogram": torch.rand(1, 4), "mask": torch.rand(1, 2, 8, 8)}
    base = network(x, t, cond)
    others = [network(x, t + 0.1, cond), *(network(x, t, cond | {name: cond[name] + 1}) for name in cond)]
    assert all((other - base).abs().max() > 1e-3 for other in others)


def test_a_missing_condition_is_the_null_and_null_rows_share_a_batch_with_full_ones():
    network = stirred(make(vectors={"histogram": 4}, images={"mask": 1})).double()
    x, t = torch.randn(2, 1, 8, 8).double(), torch.rand(2)
    null = network.null(x)
    assert {name: tuple(value.shape) for name, value in null.items()} == {"histogram": (2, 4), "mask": (2, 1, 8, 8)}
    assert torch.equal(network(x, t, {}), network(x, t, null))
    full = {"histogram": torch.rand(2, 4).double(), "mask": torch.rand(2, 1, 8, 8).double()}
    mixed = {name: torch.stack([full[name][0], null[name][1]]) for name in full}
    apart = torch.stack([network(x, t, full)[0], network(x, t, {})[1]])
    torch.testing.assert_close(network(x, t, mixed), apart, rtol=1e-10, atol=1e-10)


def test_the_null_learns_from_the_rows_that_lack_a_condition_and_only_from_them():
    network = stirred(make(vectors={"histogram": 4}))
    x, t, cond = torch.randn(2, 1, 8, 8), torch.rand(2), torch.rand(2, 4)
    network(x, t, {"histogram": cond}).sum().backward()
    assert not network.nulls["histogram"].grad.any()
    network(x, t, {"histogram": torch.where(torch.tensor([[True], [False]]), math.nan, cond)}).sum().backward()
    assert network.nulls["histogram"].grad.all()


def test_a_condition_with_a_hole_is_not_taken_for_a_missing_one():
    network = stirred(make(vectors={"histogram": 4}))
    holed = torch.tensor([[0.1, math.nan, 0.2, 0.3]])
    assert network(torch.randn(1, 1, 8, 8), torch.rand(1), {"histogram": holed}).isnan().any()


@given(dims=st.integers(1, 3), patch=st.lists(st.integers(1, 3), min_size=3, max_size=3))
@settings(max_examples=20, deadline=None)
def test_patches_become_voxels_and_come_back(dims, patch):
    patch = patch[:dims]
    x = torch.arange(2 * 2 * 6**dims, dtype=torch.float32).reshape(2, 2, *[6] * dims)
    packed = space_to_depth(x, patch)
    assert packed.shape[2:] == tuple(6 // p for p in patch)
    assert torch.equal(depth_to_space(packed, patch), x)


def test_a_patch_is_made_of_neighbours():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert space_to_depth(x, (2, 2))[0, :, 0, 0].tolist() == [0, 1, 4, 5]


def test_the_time_features_tell_close_levels_apart_even_in_half_precision():
    embedding = TimeEmbedding(32).bfloat16()
    levels = embedding(torch.tensor([998.0, 999.0]))
    assert levels.dtype == torch.bfloat16 and not torch.equal(levels[0], levels[1])
    clock = TimeEmbedding(32)(torch.tensor([0.50, 0.51]))
    assert (clock[0] - clock[1]).abs().max() > 1e-3


def test_a_bfloat16_network_and_autocast_agree_with_float32():
    network = stirred(make(3, patch=2, vectors={"histogram": 4}, attention=(1,)))
    x, t, cond = torch.randn(1, 1, 8, 8, 8), torch.tensor([3.0]), {"histogram": torch.rand(1, 4)}
    with torch.no_grad():
        exact = network(x, t, cond)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = network(x, t, cond).float()
        half = network.bfloat16()(x, t, cond).float()
    for other in (mixed, half):
        assert (other - exact).norm() / exact.norm() < 0.03


def test_the_names_of_the_sites_are_stable_and_complete():
    network = make(channels=(8, 16, 16), blocks=(1, 2, 1), attention=(1, 2))
    assert list(network.sites()) == [
        "stem",
        "down.0.block.0",
        "skip.0",
        "down.0.sample",
        "down.1.block.0",
        "down.1.block.1",
        "down.1.attention",
        "skip.1",
        "down.1.sample",
        "down.2.block.0",
        "down.2.attention",
        "mid.block.0",
        "mid.attention",
        "up.1.sample",
        "up.1.join",
        "up.1.block.0",
        "up.1.block.1",
        "up.1.attention",
        "up.0.sample",
        "up.0.join",
        "up.0.block.0",
        "head",
    ]


def test_sites_are_called_once_each_in_the_order_of_their_list():
    network, called = make(channels=(8, 16, 16), attention=(2,)), []
    for name, module in network.sites().items():
        module.register_forward_hook(lambda *_, name=name: called.append(name))
    network(torch.randn(1, 1, 8, 8), torch.rand(1), {})
    assert called == list(network.sites())


def test_what_the_skips_carry_reaches_the_output():
    network = stirred(make(channels=(8, 16, 16)))
    x, t = torch.randn(1, 1, 8, 8), torch.rand(1)
    base = network(x, t, {})
    for name in ("skip.0", "skip.1"):
        handle = network.sites()[name].register_forward_hook(lambda module, inputs, out: 0 * out)
        assert (network(x, t, {}) - base).abs().max() > 1e-3
        handle.remove()


def test_the_embedding_scales_and_shifts_every_block():
    block = ResidualBlock(2, 8, 4, groups=4, dropout=0.0, factorised=False)
    nn.init.dirac_(block.conv_out.weight)
    x, embedding = torch.randn(1, 8, 4, 4), torch.zeros(1, 4)
    h = block.norm_out(block.conv_in(nn.functional.silu(block.norm_in(x))))
    with torch.no_grad():
        block.film.bias[:8], block.film.bias[8:] = 0.5, -0.25  # scale, shift
    torch.testing.assert_close(block(x, embedding) - x, nn.functional.silu(1.5 * h - 0.25))


def test_a_config_survives_json_and_gives_the_same_network():
    config = make(3, strides=((1, 2, 2),), patch=(1, 2, 2), vectors={"h": 3}, images={"m": 1}, attention=(1,)).config
    back = UNetConfig(**json.loads(json.dumps(asdict(config))))
    assert back == config
    assert [p.shape for p in UNet(back).parameters()] == [p.shape for p in UNet(config).parameters()]


@pytest.mark.parametrize(
    ("x", "cond", "sentence"),
    [
        (torch.zeros(1, 1, 6, 9), {}, r"size \(6, 9\) is not divisible by \(4, 4\); pad to \(8, 12\)"),
        (torch.zeros(1, 2, 8, 8), {}, r"\(1, 2, 8, 8\); pass \(batch, 1, and 2 spatial axes\)"),
        (torch.zeros(1, 1, 8), {}, r"\(1, 1, 8\); pass \(batch, 1, and 2 spatial axes\)"),
        (
            torch.zeros(1, 1, 8, 8),
            {"histogramm": torch.zeros(1, 4)},
            r"'histogramm' was not declared; use \['histogram'\]",
        ),
        (torch.zeros(1, 1, 8, 8), {"histogram": torch.zeros(1, 5)}, r"histogram.*\(1, 5\).*\(1, 4\)"),
        (torch.zeros(2, 1, 8, 8), {"histogram": torch.zeros(1, 4)}, r"histogram.*\(1, 4\).*\(2, 4\)"),
    ],
)
def test_bad_input_is_refused_with_its_numbers_and_the_remedy(x, cond, sentence):
    with pytest.raises(UserError, match=sentence):
        make(patch=2, vectors={"histogram": 4})(x, torch.zeros(x.shape[0]), cond)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"dims": 4}, "1, 2 or 3 dimensions, not 4"),
        ({"channels": (8, 18)}, r"\[18\] are not divisible by 4 groups"),
        ({"blocks": (1, 2, 3)}, "3 entries, 2 levels need 2"),
        ({"strides": (2, 2)}, "2 entries, 2 levels need 1"),
        ({"patch": (2, 2, 2)}, r"\(2, 2, 2\) for 2 axes"),
        ({"attention": (2,)}, r"levels \(2,\) of 0..1"),
        ({"vectors": {"a": 1}, "images": {"a": 1}}, r"\['a'\] are vector and image"),
    ],
)
def test_a_config_that_cannot_be_built_is_refused(options, sentence):
    with pytest.raises(UserError, match=sentence):
        make(**options)


def test_the_network_is_one_graph_without_branches_on_values():
    network = stirred(make(vectors={"histogram": 4}, attention=(1,), patch=2))
    x, t, cond = torch.randn(2, 1, 8, 8), torch.rand(2), {"histogram": torch.rand(2, 4)}
    whole = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(whole(x, t, cond), network(x, t, cond))
    torch._dynamo.reset()


@pytest.mark.parametrize("shape", [(2, 32, 8, 8), (2, 64, 8, 8), (2, 16, 4, 4, 4), (2, 32, 40, 40)])
def test_a_norm_keeps_values_and_layout_and_shuns_the_slow_kernel(shape, monkeypatch) -> None:
    norm, dims = GroupNorm(8, shape[1]), len(shape) - 2
    x = torch.randn(shape).contiguous(memory_format=CHANNELS_LAST[dims]).requires_grad_()
    nn.init.normal_(norm.weight)
    plain = nn.functional.group_norm(x, 8, norm.weight, norm.bias, norm.eps)
    (slope,) = torch.autograd.grad(plain.square().sum(), x)
    seen, group_norm = [], nn.functional.group_norm

    def watched(x, *rest):
        seen.append(x)
        return group_norm(x, *rest)

    monkeypatch.setattr(nn.functional, "group_norm", watched)
    said = norm(x)
    torch.testing.assert_close(said, plain)
    torch.testing.assert_close(torch.autograd.grad(said.square().sum(), x)[0], slope)
    assert said.is_contiguous(memory_format=CHANNELS_LAST[dims])
    slow = dims == 2 and shape[1] // 8 % 8 and math.prod(shape[2:]) < 1024  # few channels a group, a small picture
    assert seen[0].is_contiguous() == bool(slow)
