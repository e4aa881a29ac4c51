"""A network whose single volumes go through oneDNN says what it said before, and no longer walks the slow path."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from shared.networks.onednn import Conv3d, prefer_onednn

torch.set_num_threads(1)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(2, 8, 3, padding=1), nn.SiLU(), nn.Conv3d(8, 8, 2, stride=2, groups=2), nn.Conv3d(8, 3, (1, 3, 3))
    )


def called(module: nn.Module, x: torch.Tensor) -> set[str]:
    """Names of the operators of one call."""
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as seen:
        module(x)
    return {event.key for event in seen.key_averages()}


@pytest.mark.parametrize("shape", [(1, 2, 6, 8, 8), (1, 2, 5, 7, 9), (3, 2, 4, 6, 6)])
def test_the_numbers_stay_the_same_to_rounding(shape):
    plain = network()
    quick = prefer_onednn(copy.deepcopy(plain))
    x = torch.randn(shape)
    with torch.no_grad():
        torch.testing.assert_close(quick(x), plain(x), rtol=1e-5, atol=1e-6)
        last = x.to(memory_format=torch.channels_last_3d)
        torch.testing.assert_close(quick(last), plain(x), rtol=1e-5, atol=1e-6)


def test_one_volume_without_gradients_is_not_unfolded_in_memory():
    plain, x = network(), torch.randn(1, 2, 6, 8, 8)
    with torch.no_grad():
        assert "aten::slow_conv3d_forward" in called(plain, x)  # what this file is for
        quick = called(prefer_onednn(plain), x)
    assert "aten::mkldnn_convolution" in quick and "aten::slow_conv3d_forward" not in quick


def test_gradients_double_precision_and_half_precision_go_the_usual_way():
    quick = prefer_onednn(network())
    x = torch.randn(1, 2, 6, 8, 8, requires_grad=True)
    quick(x).sum().backward()
    assert x.grad is not None and quick[0].weight.grad is not None
    with torch.no_grad():
        assert quick.double()(x.double()).dtype == torch.float64
        with torch.autocast("cpu", torch.bfloat16):
            assert quick.float()(x).dtype == torch.bfloat16


def test_names_and_parameters_are_kept_and_other_layers_are_left_alone():
    plain = nn.Sequential(nn.Conv3d(1, 2, 3), nn.Conv2d(1, 2, 3), nn.Linear(2, 2))
    before = plain.state_dict()
    quick = prefer_onednn(plain)
    assert list(quick.state_dict()) == list(before) and type(quick[0]) is Conv3d and type(quick[1]) is nn.Conv2d
