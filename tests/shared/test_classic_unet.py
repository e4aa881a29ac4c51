"""The classical U-Net: dimensions, conditions and their nulls, resampling, sites, refusals, compilation."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch
from torch.nn import functional as F

from shared.checkpoints import NETWORKS
from shared.errors import UserError
from shared.networks.classic_unet import ClassicUNet, ClassicUNetConfig
from shared.networks.layers import CONVOLVE, upsampled_convolution

torch.set_num_threads(1)

SMALL = {"channels": (8, 16), "blocks": 1, "groups": 4, "attention": (1,), "head_channels": 4}


def make(dims: int = 2, **options) -> ClassicUNet:
    torch.manual_seed(0)
    return ClassicUNet(ClassicUNetConfig(**{"dims": dims, "in_channels": 1, "out_channels": 1, **SMALL, **options}))


def stirred(network: ClassicUNet) -> ClassicUNet:
    """The network with no parameter at zero, as after some training."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def everything() -> tuple[ClassicUNet, dict[str, torch.Tensor]]:
    network = stirred(make(vectors={"style": 3}, classes={"kind": 4}, images={"edge": 2}, context=5))
    cond = {"style": torch.rand(2, 3), "kind": torch.tensor([3, 0]), "edge": torch.rand(2, 2, 4, 6)}
    return network, cond | {"context": torch.randn(2, 3, 5)}


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"resample": "block"}, {"padding": "after", "modulation": "scale_shift"}])
def test_the_output_has_the_size_of_the_input_in_every_dimension(dims, options):
    network = stirred(make(dims, in_channels=2, out_channels=3, **options))
    x = torch.randn(2, 2, *(4, 6, 8)[:dims])
    out = network(x, torch.rand(2), {})
    assert out.shape == (2, 3, *x.shape[2:]) and out.is_contiguous() and out.std() > 0


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_doubling_then_convolving_is_one_transposed_convolution(dims):
    weight, bias = torch.randn(5, 3, *[3] * dims).double(), torch.randn(5).double()
    for sizes in ((2, 3, 4)[:dims], (70, 3, 4)[:dims]):  # the short way and the folded one
        x = torch.randn(2, 3, *sizes).double()
        plain = CONVOLVE[dims](F.interpolate(x, scale_factor=2.0, mode="nearest"), weight, bias, padding=1)
        torch.testing.assert_close(upsampled_convolution(x, weight, bias), plain, rtol=1e-12, atol=1e-12)


def test_the_folded_convolution_trains_the_weights_it_was_folded_from():
    x = torch.randn(1, 2, 8, 8).double()
    grads = []
    for apply in (
        upsampled_convolution,
        lambda x, w, b: F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), w, b, padding=1),
    ):
        torch.manual_seed(0)
        weight = torch.randn(3, 2, 3, 3).double().requires_grad_()
        apply(x, weight, None).square().sum().backward()
        grads.append(weight.grad)
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-10)


def test_a_fresh_network_says_zero():
    x = torch.randn(2, 1, 4, 4)
    assert torch.equal(make()(x, torch.rand(2), {}), torch.zeros_like(x))


def test_every_condition_changes_the_output():
    network, cond = everything()
    x, t = torch.randn(2, 1, 4, 6), torch.rand(2)
    base = network(x, t, cond)
    other = {name: value.flip(0) for name, value in cond.items()}
    assert all((network(x, t, cond | {name: other[name]}) - base).abs().max() > 1e-3 for name in cond)
    assert (network(x, t + 0.1, cond) - base).abs().max() > 1e-3


def test_a_missing_condition_is_the_null_and_null_rows_share_a_batch_with_full_ones():
    network, cond = everything()
    network = network.double()
    cond = {name: value.double() if value.is_floating_point() else value for name, value in cond.items()}
    x, t = torch.randn(2, 1, 4, 6).double(), torch.rand(2)
    null = network.null(x)
    torch.testing.assert_close(network(x, t, {}), network(x, t, null), rtol=1e-10, atol=1e-10)
    wide = null | {"context": null["context"].expand(-1, 3, -1)}
    mixed = {name: torch.stack([cond[name][0], wide[name][1]]) for name in cond}
    apart = torch.stack([network(x, t, cond)[0], network(x, t, {})[1]])
    torch.testing.assert_close(network(x, t, mixed), apart, rtol=1e-10, atol=1e-10)


def test_gradients_reach_every_parameter():
    network, cond = everything()
    null = network.null(torch.zeros(2, 1, 4, 6))
    null["context"] = null["context"].expand(-1, 3, -1)
    mixed = {name: torch.stack([cond[name][0], null[name][1]]) for name in cond}
    network(torch.randn(2, 1, 4, 6), torch.rand(2), mixed).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_it_compiles_whole_and_once_with_gradients_and_once_without():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    network, cond = everything()
    fast = torch.compile(network, backend="eager", fullgraph=True)
    for seed in range(2):
        torch.manual_seed(seed)
        x, t = torch.randn(2, 1, 4, 6), torch.rand(2)
        torch.testing.assert_close(fast(x, t, cond), network(x, t, cond), rtol=1e-5, atol=1e-5)
        with torch.no_grad():
            fast(x, t, cond)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2
    assert not torch._dynamo.utils.counters["graph_break"]


def test_every_site_is_passed_in_the_order_of_its_name():
    network = stirred(make(channels=(8, 16, 16), attention=(0, 2)))
    passed: list[str] = []
    for name, site in network.sites().items():
        site.register_forward_pre_hook(lambda *_, name=name: passed.append(name))
    network(torch.randn(1, 1, 8, 8), torch.rand(1), {})
    assert passed == list(network.sites())
    assert passed[:7] == [
        "stem",
        "skip.0",
        "down.0.block.0",
        "down.0.attention.0",
        "skip.1",
        "down.0.sample",
        "skip.2",
    ]
    assert passed[-4:] == ["up.0.attention.0", "up.0.block.1", "up.0.attention.1", "head"]


def test_a_configuration_survives_json_and_is_known_to_checkpoints():
    network, _ = everything()
    made, options = NETWORKS["classic_unet"]
    assert made is ClassicUNet
    assert options(**json.loads(json.dumps(asdict(network.config)))) == network.config


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"dims": 4}, "dims: a U-Net has 1, 2 or 3 dimensions, not 4"),
        ({"blocks": (1, 2, 3)}, "blocks: 3 entries, 2 levels"),
        ({"head_channels": (1,)}, "head_channels: 1 entries, 2 levels"),
        ({"modulation": "film"}, "modulation: 'film' is unknown; choose shift or scale_shift"),
        ({"channels": (8, 18)}, r"channels: widths \(8, 18\) with 4 groups"),
        ({"attention": (2,)}, r"attention: levels \(2,\) of 0..1"),
        ({"head_channels": 5}, "head_channels: 16 channels in heads of 5"),
        ({"vectors": {"a": 1}, "images": {"a": 1}}, r"\['a'\] are declared twice"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(options, sentence):
    with pytest.raises(UserError, match=sentence):
        make(**options)


@pytest.mark.parametrize(
    ("x", "cond", "sentence"),
    [
        ((2, 1, 4), {}, r"x has shape \(2, 1, 4\)"),
        ((2, 1, 4, 5), {}, r"size \(4, 5\) is not divisible by 2; pad to \(4, 6\), then crop"),
        ((2, 1, 4, 6), {"word": torch.zeros(2)}, "condition 'word' was not declared"),
        ((2, 1, 4, 6), {"context": torch.zeros(2, 5)}, r"condition 'context' has shape \(2, 5\); pass \(2, 1, 5\)"),
        ((2, 1, 4, 6), {"kind": torch.zeros(2)}, "condition 'kind' is torch.float32"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(x, cond, sentence):
    with pytest.raises(UserError, match=sentence):
        everything()[0](torch.zeros(x), torch.zeros(2), cond)
