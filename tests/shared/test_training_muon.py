"""Muon turns a matrix's gradient into its orthogonal part, leaves the rest to AdamW, and resumes to the bit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from shared.errors import Cancelled, UserError
from shared.networks.dit import DiT, DiTConfig
from shared.training import muon
from shared.training.loop import TrainReport, TrainSettings, fit
from shared.training.muon import Muon

torch.set_num_threads(1)
MATRICES = r"blocks\.\d+\.(attention|mlp)\."


def network() -> DiT:
    torch.manual_seed(0)
    return DiT(DiTConfig(dims=1, in_channels=2, out_channels=2, width=16, layers=2, heads=2, patch=2, base=100.0))


def loss(net: nn.Module, batch: dict[str, torch.Tensor], generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(batch["x"].shape, generator=generator)
    return (net(batch["x"] + noise, torch.ones(4), {}) - noise).square().flatten(1).mean(1)


def batch_at(step: int) -> dict[str, torch.Tensor]:
    return {"x": torch.randn(4, 2, 8, generator=torch.Generator().manual_seed(step))}


@pytest.mark.parametrize("shape", [(16, 16), (64, 16), (16, 64)])
def test_a_direction_has_the_singular_vectors_of_the_gradient_and_values_about_one(shape):
    gradient = (
        torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
        * torch.tensor([1e-4, 1.0, 1e4])[:, None, None]
    )
    left, _, right = torch.linalg.svd(gradient, full_matrices=False)
    inside = left.mT @ muon.orthogonal(gradient) @ right.mT
    values = inside.diagonal(dim1=1, dim2=2)
    assert (inside - torch.diag_embed(values)).abs().max() < 1e-3
    assert values.min() > 0.3 and values.max() < 1.25  # five iterations; the smallest values come last
    assert values.mean() == pytest.approx(0.95, abs=0.15)


def test_no_gradient_means_no_direction():
    assert torch.equal(muon.orthogonal(torch.zeros(1, 4, 8)), torch.zeros(1, 4, 8))


def test_a_step_is_that_of_torch_where_its_own_precision_allows():
    """torch's Muon iterates in bfloat16: the same update up to a few parts in a hundred."""
    ours, theirs = nn.Linear(64, 32, bias=False), nn.Linear(64, 32, bias=False)
    theirs.load_state_dict(ours.state_dict())
    start = ours.weight.detach().clone()
    own = Muon(ours, 0.01, matching="weight", weight_decay=0.1)
    peer = torch.optim.Muon(theirs.parameters(), lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for step in range(3):
        gradient = torch.randn(32, 64, generator=torch.Generator().manual_seed(step))
        ours.weight.grad, theirs.weight.grad = gradient.clone(), gradient.clone()
        own.step()
        peer.step()
    moved, theirs_moved = ours.weight - start, theirs.weight - start
    assert (moved - theirs_moved).norm() < 0.03 * theirs_moved.norm()


def test_a_convolution_is_trained_as_the_matrix_that_it_is_to_its_patches():
    convolution, matrix = nn.Conv2d(3, 8, (2, 5), bias=False), nn.Linear(30, 8, bias=False)
    with torch.no_grad():
        matrix.weight.copy_(convolution.weight.flatten(1))
    one, other = (Muon(net, 0.01, matching="weight", weight_decay=0.1) for net in (convolution, matrix))
    for step in range(3):
        gradient = torch.randn(8, 30, generator=torch.Generator().manual_seed(step))
        convolution.weight.grad, matrix.weight.grad = gradient.reshape(8, 3, 2, 5), gradient
        one.step()
        other.step()
    assert torch.equal(convolution.weight.flatten(1), matrix.weight)


def test_matrices_that_are_not_named_are_trained_as_by_adamw():
    ours, theirs = network(), network()
    own = Muon(ours, 0.01, matching=MATRICES, weight_decay=0.1)
    peer = torch.optim.AdamW(theirs.parameters(), 0.01, weight_decay=0.1, fused=True)
    for net, optimizer in ((ours, own), (theirs, peer)):
        loss(net, batch_at(0), torch.Generator().manual_seed(0)).mean().backward()
        optimizer.step()

    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        named = bool(re.search(MATRICES, name)) and a.ndim >= 2
        if not named:
            assert torch.equal(a, b), name


def test_a_run_that_stops_and_goes_on_ends_with_the_same_bits(tmp_path: Path):
    settings = TrainSettings(steps=12, warmup=2, lr=1e-2, muon=MATRICES, log_every=1)
    straight, stopped = network(), network()
    whole = fit(straight, loss, batch_at, settings=settings, out=tmp_path / "straight")

    def stop(report: TrainReport) -> None:
        if report.step == 5:
            raise Cancelled

    with pytest.raises(Cancelled):
        fit(stopped, loss, batch_at, settings=settings, out=tmp_path / "stopped", observers=[stop])
    resumed = network()
    report = fit(resumed, loss, batch_at, settings=settings, out=tmp_path / "stopped", resume=True)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
        assert torch.equal(whole.ema[name], report.ema[name]), name


@pytest.mark.parametrize(("matching", "says"), [("no such layer", "head.weight"), ("(", "no regular expression")])
def test_an_expression_that_finds_nothing_is_refused_with_the_names(matching, says):
    with pytest.raises(UserError, match=says):
        Muon(network(), 0.01, matching=matching, weight_decay=0.0)
