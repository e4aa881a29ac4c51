"""Guidance towards a histogram: exact where it says so, silent where it is asked for nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from shared.denoiser import Prediction
from shared.grid import grid
from shared.guidance.histogram import HistogramTransport, quantiles
from shared.guidance.window import Window
from shared.noise import PerSample
from shared.oracle import Oracle, gaussian
from shared.process import Process, vp
from shared.run import Step
from shared.sample import cost, sample
from shared.samplers.ddim import DDIM

PROCESS = vp("cosine")
CLEAN = 0.0


def prediction(x0: Tensor, t: float, process: Process = PROCESS) -> Prediction:
    at = process.at(torch.tensor(t, dtype=torch.float64))
    return Prediction(process, torch.zeros_like(x0), at, None, x0)


def step(t: float) -> Step:
    """A step that arrives at t."""
    at = PROCESS.at(torch.tensor(t, dtype=torch.float64))
    return Step(PROCESS, None, 1, 0, 1, at, at, "step", False, None, None, lambda tag, like: torch.zeros_like(like))


def corrected(guidance: HistogramTransport, x0: Tensor, t: float = CLEAN) -> Tensor:
    return guidance.correct(prediction(x0, 990.0), step(t), {}).x0


def world(spatial: tuple[int, ...], rows: int = 3, channels: int = 2, bins: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Values, regions of another size in every row, and histograms."""
    draw = torch.Generator().manual_seed(len(spatial))
    x0 = 0.3 * torch.randn(rows, channels, *spatial, generator=draw)
    where = torch.rand(rows, 1, *spatial, generator=draw) < torch.tensor([0.9, 0.3, 0.5]).view(
        3, 1, *[1] * len(spatial)
    )
    return x0, where, torch.rand(rows, channels, bins, generator=draw)


def shares(values: Tensor, bins: int = 8) -> Tensor:
    return torch.histc(values, bins, -1, 1) / len(values)


SPATIAL = [(60,), (9, 8), (5, 4, 6)]


def test_quantiles_of_a_histogram_are_those_of_its_even_bins():
    levels = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=torch.float64)
    assert quantiles(torch.ones(4), levels).tolist() == pytest.approx([-1, -0.5, 0, 0.5, 1])
    assert quantiles(torch.tensor([0.0, 3.0, 0.0, 1.0]), levels, 0, 4).tolist() == pytest.approx(
        [1, 1 + 1 / 3, 1 + 2 / 3, 2, 4]
    )


@pytest.mark.parametrize("spatial", SPATIAL)
def test_at_full_strength_a_clean_region_has_the_asked_histogram_to_one_voxel_a_bin(spatial):
    x0, where, wanted = world(spatial)
    out = corrected(HistogramTransport(wanted, where), x0)
    for row in range(3):
        for channel in range(2):
            inside = out[row, channel][where[row, 0]]
            asked = wanted[row, channel] / wanted[row, channel].sum()
            assert (shares(inside) - asked).abs().max() <= 1 / len(inside) + 1e-6


@pytest.mark.parametrize("spatial", SPATIAL)
def test_the_region_keeps_its_order_and_the_rest_its_bits(spatial):
    x0, where, wanted = world(spatial)
    out = corrected(HistogramTransport(wanted, where), x0)
    outside = ~where.expand_as(x0)
    assert torch.equal(out[outside], x0[outside])
    for row in range(3):
        before, after = x0[row, 0][where[row, 0]], out[row, 0][where[row, 0]]
        assert torch.equal(before.argsort(), after.argsort())


def test_rows_and_channels_do_not_see_each_other():
    x0, where, wanted = world((9, 8))
    whole = corrected(HistogramTransport(wanted, where), x0)
    for row in range(3):
        for channel in range(2):
            part = (slice(row, row + 1), slice(channel, channel + 1))
            alone = corrected(HistogramTransport(wanted[part], where[row : row + 1]), x0[part])
            assert torch.equal(whole[part], alone)
    shared = corrected(HistogramTransport(wanted[:1], where[:1]), x0)
    assert torch.equal(shared[0], whole[0]) and not torch.equal(shared[1], whole[1])


def test_a_tolerance_is_met_exactly_and_within_it_nothing_moves():
    x0, where, wanted = world((200,), channels=2)
    full = corrected(HistogramTransport(wanted, where), x0)
    distances = torch.stack([(full - x0)[row][:, where[row, 0]].abs().mean(1) for row in range(3)])  # (B, C)
    tolerance = torch.tensor([0.6, 1.4]) * distances.mean(0)
    out = corrected(HistogramTransport(wanted, where, tolerance=tolerance), x0)
    left = torch.stack([(full - out)[row][:, where[row, 0]].abs().mean(1) for row in range(3)])
    torch.testing.assert_close(left, torch.minimum(tolerance.expand_as(distances), distances), atol=1e-6, rtol=1e-5)
    loose = corrected(HistogramTransport(wanted, where, tolerance=float(distances.max()) + 1e-4), x0)
    assert torch.equal(loose, x0)


def test_the_pull_is_the_share_of_the_variance_that_the_state_arrived_at_explains():
    x0, where, wanted = world((60,))
    full = corrected(HistogramTransport(wanted, where), x0) - x0
    for t in (200, 500, 900):
        at = PROCESS.at(torch.tensor(t, dtype=torch.float64))
        explained = float((0.3 * at.a) ** 2 / ((0.3 * at.a) ** 2 + at.sigma**2))
        moved = corrected(HistogramTransport(wanted, where, spread=0.3, strength=0.5), x0, t) - x0
        torch.testing.assert_close(moved, 0.5 * explained * full, atol=1e-6, rtol=1e-4)


def test_channels_without_a_histogram_and_empty_regions_stay_as_they_are():
    x0, where, wanted = world((60,))
    wanted[1] = 0
    where[2] = False
    out = corrected(HistogramTransport(wanted, where), x0)
    assert torch.equal(out[1:], x0[1:]) and not torch.equal(out[0], x0[0])
    nowhere = torch.zeros_like(where)
    assert torch.equal(corrected(HistogramTransport(wanted, nowhere), x0), x0)


def path(guidance: list[HistogramTransport], sampler: DDIM) -> Tensor:
    """The end of a run over 40 independent standard normals, scaled to 0.3."""
    truth = gaussian(torch.zeros(40, dtype=torch.float64), 0.09 * torch.eye(40, dtype=torch.float64))
    oracle = Oracle(truth, PROCESS)
    noise = PerSample.of(0, 3)
    shaped = [replace(g, where=g.where) for g in guidance]
    return sample(
        oracle, sampler, grid(PROCESS, 20), noise=noise, shape=(3, 40), guidance=shaped, dtype=torch.float64
    ).x


class Flat(HistogramTransport):
    """For the oracle, whose states are (B, D): the same with one channel."""

    def correct(self, pred, step, own):
        out = super().correct(pred.with_x0(pred.x0[:, None]), step, own).x0
        return pred.with_x0(out[:, 0])


@pytest.mark.parametrize("sampler", [DDIM(), DDIM("ancestral")], ids=["deterministic", "ancestral"])
def test_a_run_ends_with_the_asked_histogram_and_costs_no_call(sampler):
    wanted = torch.tensor([[[0, 0, 1, 3, 3, 1, 0, 0]]])
    guidance = Flat(wanted.double(), torch.ones(1, 1, 40, dtype=torch.bool), spread=0.3)
    out = path([guidance], sampler)
    for row in out:
        assert (shares(row) - wanted[0, 0] / 8).abs().max() <= 1 / 40 + 1e-6
    oracle = Oracle(gaussian(torch.zeros(40), 0.09 * torch.eye(40)), PROCESS)
    guided, plain = (cost(oracle, sampler, grid(PROCESS, 20), guidance=g) for g in ([guidance], []))
    assert guided == plain


def test_strength_zero_and_a_closed_window_leave_a_run_bit_identical():
    wanted, where = torch.ones(1, 1, 8).double(), torch.ones(1, 1, 40, dtype=torch.bool)
    plain = path([], DDIM("ancestral"))
    for off in (Flat(wanted, where, strength=0.0), Flat(wanted, where, window=Window(200, 300))):
        assert torch.equal(path([off], DDIM("ancestral")), plain)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"histogram": torch.ones(4)}, "histogram"),
        ({"histogram": -torch.ones(1, 2, 4)}, "not negative"),
        ({"histogram": torch.full((1, 2, 4), torch.nan)}, "finite"),
        ({"where": torch.ones(1, 1, 5)}, "bool region"),
        ({"where": torch.ones(1, 3, 5, dtype=torch.bool)}, "fits no region"),
        ({"strength": 1.5}, "strength"),
        ({"spread": 0.0}, "spread"),
        ({"low": 1.0}, "low < high"),
        ({"tolerance": torch.tensor([-1.0, 0.0])}, "tolerance"),
    ],
)
def test_options_that_make_no_sense_are_refused(change, words):
    good = {"histogram": torch.ones(1, 2, 4), "where": torch.ones(1, 1, 5, dtype=torch.bool)}
    with pytest.raises(ValueError, match=words):
        HistogramTransport(**{**good, **change})
