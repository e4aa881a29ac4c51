"""Schedules, their derivatives and the moves between noise levels, in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from shared.grid import grid
from shared.noise import Noise
from shared.process import (
    Process,
    StudentT,
    bridge,
    edm,
    flow,
    lin,
    mean_reverting,
    residual_shift,
    shaped,
    ve,
    vp,
    with_law,
)
from shared.testing import exact_law
from tests.shared.worlds import GAUSSIAN, GAUSSIAN_WORLDS, WORLDS, World, label_of

worlds = pytest.mark.parametrize("world", WORLDS, ids=label_of)


def inner_times(process: Process, count: int = 7) -> Tensor:
    """Times strictly inside, and off the whole levels of a table."""
    low, high = sorted(process.ends)
    return low + (high - low) * torch.linspace(0.0317, 0.9691, count, dtype=torch.float64)


@worlds
def test_derivatives_agree_with_finite_differences(world: World) -> None:
    t, process = inner_times(world.process), world.process
    h = 1e-6 * max(process.ends)
    here, left, right = process.at(t), process.at(t - h), process.at(t + h)
    for name in ("a", "b", "sigma"):
        slope = (getattr(right, name) - getattr(left, name)) / (2 * h)
        torch.testing.assert_close(getattr(here, "d" + name), slope, rtol=1e-6, atol=1e-8)


def test_derivatives_hold_at_the_ends_that_can_be_asked() -> None:
    end = vp("angle").at(1.0)
    assert (end.a.item(), end.sigma.item()) == (0.0, 1.0)
    assert end.da.item() == pytest.approx(-math.pi / 2)
    assert flow().at(1.0).da.item() == -1 and flow().at(1.0).dsigma.item() == 1
    start = vp("angle").at(0.0)
    assert (start.a.item(), start.sigma.item()) == (1.0, 0.0) and start.dsigma.item() == pytest.approx(math.pi / 2)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "angle"])
@pytest.mark.parametrize("levels", [1000, 50])
def test_variance_is_preserved(schedule: str, levels: int) -> None:
    process = vp(schedule, levels)
    point = process.at(torch.linspace(*process.ends, 101, dtype=torch.float64))
    torch.testing.assert_close(point.a**2 + point.sigma**2, torch.ones(101, dtype=torch.float64), rtol=0, atol=1e-14)


def test_published_schedules_have_their_published_values() -> None:
    linear = vp("linear")
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    assert linear.at(1000.0).a.item() == pytest.approx((1 - betas).prod().sqrt().item())
    assert linear.at(1.0).sigma.item() == pytest.approx(1e-2)
    angle = torch.tensor([300 / 1000, 0.0], dtype=torch.float64).add(0.008).div(1.008) * math.pi / 2
    assert vp("cosine").at(300.0).a.item() == pytest.approx((angle[0].cos() / angle[1].cos()).item())
    assert ve(0.01, 50).at(1.0).sigma.item() == pytest.approx(50) and ve().at(0.0).sigma.item() == 0
    shift = residual_shift(15)
    assert shift.at(1.0).sigma.item() == pytest.approx(2 * 0.02) and shift.at(15.0).b.item() == pytest.approx(0.99**2)
    reverting = mean_reverting().at(1.0)
    assert reverting.a.item() == pytest.approx(0.005) and reverting.b.item() == pytest.approx(0.995)
    assert bridge(2.0).at(0.5).sigma.item() == pytest.approx(1.0)
    assert edm(80.0).at(3.0).sigma.item() == 3 and edm().ends == (0.0, 80.0)


@worlds
def test_every_process_starts_at_the_clean_value(world: World) -> None:
    clean = world.process.at(world.process.ends[0])
    assert (clean.a.item(), clean.b.item(), clean.sigma.item()) == (1, 0, 0) and clean.clean
    assert clean.log_snr.item() == math.inf


@worlds
def test_time_is_found_again_from_log_snr(world: World) -> None:
    t = inner_times(world.process)
    if world.name == "ve":
        t = t[t > 0.01]
    torch.testing.assert_close(world.process.t_of(world.process.at(t).log_snr), t, rtol=1e-9, atol=1e-9)


@worlds
def test_a_split_state_joins_again(world: World) -> None:
    at = world.process.at(inner_times(world.process, 4))
    x0, eps = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    y = None if world.y is None else torch.randn(4, 3, 5, dtype=torch.float64)
    x = world.process.join(x0, eps, at, y)
    torch.testing.assert_close(world.process.split(x, x0, at, y), eps)
    if y is not None:
        torch.testing.assert_close(
            world.process.shifted(world.process.shifted(x, at, y), at, y, sign=-1), x, rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("world", GAUSSIAN_WORLDS, ids=label_of)
def test_a_jump_composes_with_the_forward_law(world: World) -> None:
    times = inner_times(world.process)
    for low, high in ((0, 1), (1, 4), (0, 6), (5, 6)):
        at, to = world.process.at(times[low]), world.process.at(times[high])
        mean = at.a * GAUSSIAN.means[0] + (at.b * world.y[0] if world.y is not None else 0)
        covariance = at.a**2 * GAUSSIAN.covariances[0] + at.sigma**2 * torch.eye(2)

        def run(noise: Noise, x: Tensor, at=at, to=to) -> Tensor:
            return world.process.jump(x, at, to, noise.draw(1, x), world.ends(len(x)))

        got_mean, got_covariance = exact_law(run, mean.double(), covariance.double())
        wanted = to.a * GAUSSIAN.means[0] + (to.b * world.y[0] if world.y is not None else 0)
        torch.testing.assert_close(got_mean, wanted, rtol=0, atol=1e-12 * (1 + to.sigma.item()))
        torch.testing.assert_close(got_covariance, to.a**2 * GAUSSIAN.covariances[0] + to.sigma**2 * torch.eye(2))


def test_impossible_moves_are_refused_with_the_times() -> None:
    process, x = flow(), torch.zeros(2, 3)
    low, high, clean, noise = (process.at(t) for t in (0.2, 0.8, 0.0, 1.0))
    with pytest.raises(ValueError, match=r"0\.8 to 0\.2 goes down"):
        process.jump(x, high, low, x)
    with pytest.raises(ValueError, match=r"t = 1\.0, where a = 0"):
        process.jump(x, noise, noise, x)
    with pytest.raises(ValueError, match="only a Gaussian process"):
        edm(law=StudentT(3)).jump(x, edm().at(1.0), edm().at(2.0), x)
    with pytest.raises(ValueError, match=r"t = 0\.0, where sigma = 0"):
        process.split(x, x, clean)
    with pytest.raises(ValueError, match=r"1\.5 lies outside \[0\.0, 1\.0\]"):
        process.at(1.5)
    with pytest.raises(ValueError, match="pass y"):
        bridge().join(x, x, bridge().at(0.5))
    with pytest.raises(ValueError, match="linear, cosine or angle"):
        vp("sigmoid")
    with pytest.raises(ValueError, match="at least 2 steps, got 1"):
        residual_shift(1)
    with pytest.raises(ValueError, match="whole number >= 1, got 0"):
        StudentT(0)


def test_coefficients_meet_states_without_promotion() -> None:
    x = torch.ones(3, 2, 2)
    k = torch.tensor(2.0, dtype=torch.float64)
    assert lin((k, x)).dtype == torch.float32
    rows = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert lin((rows, x))[:, 0, 0].tolist() == [1, 2, 3] and lin((rows, x)).dtype == torch.float32
    an_entry = shaped(torch.ones(1, 4, dtype=torch.float64), torch.ones(2, 4))
    assert isinstance(an_entry, Tensor) and an_entry.shape == (1, 4)
    with pytest.raises(ValueError, match="2 rows meets a state of 3 rows"):
        lin((rows[:2], x))
    with pytest.raises(ValueError, match="at least one"):
        lin()


def test_student_law_has_one_radius_a_row_and_its_variance() -> None:
    from shared.noise import Bulk

    process, rows, dof = with_law(edm(), StudentT(6)), 20000, 6
    like = torch.empty(rows, 3, dtype=torch.float64)
    scale = process.law.scale(Bulk(0), 0, like)
    assert scale is not None and scale.shape == (rows, 1)
    # E[dof / chi2_dof] = dof / (dof - 2); its own standard deviation is sqrt(2 / (dof - 4)) times that
    assert scale.square().mean().item() == pytest.approx(dof / (dof - 2), abs=5 * 1.5 / rows**0.5)


@pytest.mark.parametrize("spacing", ["uniform", "log_snr", "karras"])
@worlds
def test_named_spacings_walk_from_noisy_to_clean(world: World, spacing: str) -> None:
    start = world.process.ends[1] * 0.95
    walked = grid(world.process, 9, spacing, start=start)
    assert len(walked.points) == 10 and walked.points[-1].clean and walked.t[0] == start
    assert bool((walked.t.diff() < 0).all())
    if spacing == "log_snr":
        log_snr = torch.stack([point.log_snr for point in walked.points[:-1]])
        torch.testing.assert_close(log_snr.diff(), log_snr.diff().mean().expand(8), rtol=1e-6, atol=1e-6)


def test_level_spacing_visits_whole_levels() -> None:
    assert bool((grid(vp(), 30, "levels").t % 1 == 0).all())
    with pytest.raises(ValueError, match="60 steps do not fit 50 levels"):
        grid(vp("cosine", 50), 60, "levels")
