"""Noises that are more than a draw a step: a path that knows no grid, a part of the sample, a group of rows."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from shared.grid import own_times
from shared.noise import Brownian, Masked, Noise, PerSample, Shared, seeded
from shared.process import edm
from shared.run import Sampler
from shared.samplers.single_step import SingleStep
from shared.testing import check_noise, check_resume, fitted_order
from tests.shared import matrix
from tests.shared import test_contract as contract
from tests.shared.worlds import GAUSSIAN, WORLDS

FLOW = WORLDS[5]
LIKE = torch.zeros(3, 5, dtype=torch.float64)


def test_a_brownian_path_keeps_the_contract_of_a_noise() -> None:
    check_noise(lambda seed: Brownian.of(seed, 64, FLOW.grid(8)), rows=64)


def test_increments_of_a_refined_grid_add_up_to_the_coarse_ones() -> None:
    fine = FLOW.grid(12, to_the_end=False)
    coarse = own_times(FLOW.process, fine.t[::3])
    r = torch.exp(2 * fine.whole.log_snr)
    on_fine, on_coarse = (Brownian.of(3, 3, grid) for grid in (fine, coarse))
    for k in range(1, 5):
        span = [r[i] - r[i - 1] for i in range(3 * k - 2, 3 * k + 1)]
        added = sum(on_fine.draw(3 * k - 2 + i, LIKE) * width.sqrt() for i, width in enumerate(span))
        torch.testing.assert_close(added / sum(span).sqrt(), on_coarse.draw(k, LIKE), rtol=0, atol=1e-12)  # type: ignore[union-attr]


def test_the_bend_half_way_belongs_to_the_same_path() -> None:
    """The half step of a coarse grid, made of "step" and "half", is the step of the refined grid."""
    log_snr = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    fine = own_times(FLOW.process, FLOW.process.t_of(log_snr))
    coarse = own_times(FLOW.process, fine.t[::2])
    part = math.expm1(2) / math.expm1(4)
    noise = Brownian.of(0, 3, coarse)
    half = part**0.5 * noise.draw(1, LIKE) + (1 - part) ** 0.5 * noise.draw(1, LIKE, "half")
    torch.testing.assert_close(half, Brownian.of(0, 3, fine).draw(1, LIKE), rtol=0, atol=1e-9)


def ends(sampler: Sampler, steps: int, brownian: bool) -> torch.Tensor:
    grid = matrix.order_grid(FLOW, steps)
    noise: Noise = Brownian.of(7, 4, grid) if brownian else PerSample.of(7, 4)
    return replace(FLOW.case(sampler, grid, 4, truth=GAUSSIAN), noise=noise).sample().x


def test_along_one_path_a_run_converges_to_one_sample() -> None:
    sampler, steps = SingleStep("ancestral"), (4, 8, 16, 32)
    for brownian in (True, False):
        finest = ends(sampler, 128, brownian)
        errors = [(ends(sampler, n, brownian) - finest).norm().item() for n in steps]
        order = fitted_order(steps, errors)
        assert (order > 0.8) == brownian, f"strong order {order:.2f}, errors {errors}"


def test_a_run_along_a_path_resumes_and_splits_to_the_bit() -> None:
    case = contract.plain_case(FLOW, "sde single", jumps=True)
    noise = Brownian.of(0, 3, case.grid)
    case = replace(case, noise=noise, cond=None)
    check_resume(case)
    alone = replace(case, noise=noise.take([1, 2]), x=case.x[1:]).sample().x
    assert torch.equal(alone, case.sample().x[1:])


def test_after_a_jump_the_same_interval_has_another_path() -> None:
    grid = FLOW.grid(6).jumps(2, 2)
    noise = Brownian.of(0, 3, grid)
    first: dict[tuple[int, int], Tensor] = {}
    for k in range(1, len(grid.route)):
        move = (grid.route[k - 1], grid.route[k])
        drawn = noise.draw(k, LIKE)
        assert move not in first or not torch.equal(first[move], drawn)
        first[move] = drawn


def test_a_path_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="log-SNR from -15 to 15"):
        Brownian.of(0, 2, own_times(edm(), [1e-2, 1e-8]))
    with pytest.raises(ValueError, match="3 seeds for a batch of 2 rows"):
        Brownian.of(0, 3, FLOW.grid(4)).draw(1, LIKE[:2])


def test_a_new_seed_for_a_part_leaves_the_rest() -> None:
    where = torch.tensor([True, False, False, True, False])
    masked = Masked(PerSample.of(10, 3), PerSample.of(0, 3), where)
    drawn, rest = masked.draw(2, LIKE), PerSample.of(0, 3).draw(2, LIKE)
    assert torch.equal(drawn[:, ~where], rest[:, ~where])
    assert torch.equal(drawn[:, where], PerSample.of(10, 3).draw(2, LIKE)[:, where])
    assert torch.equal(masked.draw(2, LIKE[:, :4]), PerSample.of(0, 3).draw(2, LIKE[:, :4]))  # another shape
    check_noise(lambda seed: Masked(PerSample.of(seed + 10_000, 64), PerSample.of(seed, 64), where[:1]), rows=64)


def test_rows_of_a_group_share_their_noise() -> None:
    drawn = Shared(PerSample.of(4, 2), 3).draw(1, torch.zeros(6, 5))
    assert torch.equal(drawn[0], drawn[2]) and torch.equal(drawn[3], drawn[5])
    assert torch.equal(drawn[::3], PerSample.of(4, 2).draw(1, torch.zeros(2, 5)))
    with pytest.raises(ValueError, match="groups of 4"):
        Shared(PerSample.of(0, 2), 4).draw(0, torch.zeros(6, 5))


def test_what_is_drawn_from_a_seed_leaves_no_trace_and_depends_on_nothing_else() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with seeded(3):
        first = torch.nn.Linear(4, 4).weight
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    with seeded(3):
        assert torch.equal(torch.nn.Linear(4, 4).weight, first)
    with seeded(3, "control"):
        assert not torch.equal(torch.nn.Linear(4, 4).weight, first)
