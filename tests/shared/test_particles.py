"""Resampling: unbiased counts, the least noise from systematic draws, and populations that never meet."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from shared.noise import PerSample
from shared.particles import SCHEMES, Particles, effective_size, log_mean

LOG_W = torch.tensor([0.0, -1.0, -2.0, -math.inf, 0.5, 0.3, -0.2, 2.0], dtype=torch.float64)
schemes = pytest.mark.parametrize("scheme", SCHEMES)


def counts(scheme: str, rows: int = 800) -> Tensor:
    """(rows, 8) copies of each particle in `rows` independent populations of the same weights."""
    drawn = Particles(8, 1.0, scheme).resample(LOG_W.repeat(rows), 3, PerSample.of(0, 8 * rows))
    assert drawn is not None
    ancestors = drawn[0].reshape(rows, 8)
    assert bool((ancestors // 8 == torch.arange(rows)[:, None]).all()), "a row descends from another population"
    return torch.nn.functional.one_hot(ancestors % 8, 8).sum(1).double()


@schemes
def test_every_scheme_keeps_a_particle_as_often_as_its_weight_says(scheme: str) -> None:
    got, wanted = counts(scheme), 8 * torch.softmax(LOG_W, 0)
    error = got.std(0) / math.sqrt(len(got))
    assert bool(((got.mean(0) - wanted).abs() <= 4.5 * error + 1e-12).all())
    assert bool((got[:, 3] == 0).all()), "a particle of weight 0 has descendants"


def test_systematic_draws_leave_the_least_noise_and_multinomial_the_most() -> None:
    wanted = 8 * torch.softmax(LOG_W, 0)
    noise = {scheme: (counts(scheme) - wanted).square().sum(1).mean().item() for scheme in SCHEMES}
    assert noise["systematic"] < noise["residual"] < noise["multinomial"]
    assert noise["stratified"] < noise["residual"]
    copies = counts("systematic")
    assert bool(((copies >= wanted.floor()) & (copies <= wanted.ceil())).all())


@schemes
def test_a_batch_may_be_split_between_populations(scheme: str) -> None:
    particles, noise = Particles(4, 0.9, scheme), PerSample.of(7, 12)
    log_w = torch.randn(12, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2
    whole = particles.resample(log_w, 5, noise)
    assert whole is not None
    for first in (0, 4, 8):
        rows = range(first, first + 4)
        alone = particles.resample(log_w[first : first + 4], 5, noise.take(rows))
        ancestors, fresh, gained = alone or (torch.arange(4), log_w[first : first + 4], torch.zeros(1))
        assert torch.equal(whole[0][list(rows)] - first, ancestors)
        assert torch.equal(whole[1][list(rows)], fresh)
        assert torch.equal(whole[2][first // 4 : first // 4 + 1], gained.double())


def test_populations_decide_one_by_one_and_log_z_is_the_mean_weight() -> None:
    log_w = torch.tensor([5.0, -5.0, -5.0, -5.0, 0.1, 0.0, 0.1, 0.0])
    drawn = Particles(4).resample(log_w, 2, PerSample.of(0, 8))
    assert drawn is not None
    ancestors, fresh, gained = drawn
    assert ancestors.tolist() == [0, 0, 0, 0, 4, 5, 6, 7] and ancestors.dtype == torch.int64
    assert torch.equal(fresh, torch.tensor([0.0, 0.0, 0.0, 0.0, 0.1, 0.0, 0.1, 0.0]))
    torch.testing.assert_close(gained, torch.tensor([log_mean(log_w[:4]).item(), 0.0], dtype=torch.float64))


def test_nothing_happens_while_weights_are_even_or_out_of_turn() -> None:
    even, uneven, noise = torch.zeros(8), torch.tensor([9.0, 0.0, 0.0, 0.0]).repeat(2), PerSample.of(0, 8)
    assert Particles(4, 1.0).resample(even, 4, noise) is None
    assert Particles(4, 0.0).resample(uneven, 4, noise) is None
    every = Particles(4, every=3)
    assert every.resample(uneven, 4, noise) is None and every.resample(uneven, 6, noise) is not None
    assert replace(every, every=4).resample(uneven, 4, noise) is not None


@schemes
def test_equal_weights_keep_one_copy_each_where_the_scheme_can(scheme: str) -> None:
    places = SCHEMES[scheme](
        torch.full((1, 6), 1 / 6, dtype=torch.float64), torch.full((1, 1), 0.4, dtype=torch.float64)
    )
    if scheme != "multinomial":
        assert places.flatten().tolist() == list(range(6))


def test_effective_size_counts_the_particles_that_matter() -> None:
    assert effective_size(torch.zeros(5)).item() == pytest.approx(5)
    assert effective_size(torch.tensor([0.0, -math.inf, -math.inf])).item() == pytest.approx(1)
    assert effective_size(torch.tensor([700.0, 700.0, -700.0])).item() == pytest.approx(2)


def test_weights_that_are_none_are_refused_with_their_row() -> None:
    particles, noise = Particles(2), PerSample.of(0, 4)
    for bad, said in (
        (torch.tensor([0.0, 0.0, math.nan, 0.0]), "row 2 at position 3 is nan"),
        (torch.tensor([0.0, math.inf, 0.0, 0.0]), "row 1 at position 3 is inf"),
        (torch.tensor([0.0, 0.0, -math.inf, -math.inf]), r"rows 2..3 have weight 0 at position 3"),
        (torch.zeros(3), "populations of 2"),
    ):
        with pytest.raises(ValueError, match=said):
            particles.resample(bad, 3, noise)
