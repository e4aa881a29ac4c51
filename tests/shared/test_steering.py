"""Feynman-Kac steering against a law that is known: an exponentially tilted mixture is a mixture."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from shared.denoiser import Prediction
from shared.guidance.steering import Steering
from shared.guidance.window import Window
from shared.oracle import Mixture
from shared.particles import Particles, log_mean
from shared.process import Point
from shared.run import Guidance, Own, RunState, Step
from shared.sample import cost, sample
from shared.samplers.ddim import DDIM, DPMpp
from shared.testing import Case
from tests.shared import test_contract as contract
from tests.shared.worlds import MIXTURE, WORLDS

FLOW = WORLDS[5]
SLOPE = torch.tensor([1.2, -0.8], dtype=torch.float64)
GROUPS, GROUP, STEPS = 60, 32, 24
POTENTIALS = pytest.mark.parametrize("potential", ["difference", "max", "sum"])


def reward(x0: Tensor) -> Tensor:
    return x0 @ SLOPE.to(x0)


def tilted(truth: Mixture, strength: float) -> tuple[Tensor, float]:
    """Mean and log Z of p(x0) exp(strength c.x0): parts move by strength C c and gain exp(c.m + c'C c / 2)."""
    c = strength * SLOPE
    log = truth.weights.log() + truth.means @ c + torch.einsum("i,kij,j->k", c, truth.covariances, c) / 2
    means = truth.means + truth.covariances @ c
    return torch.softmax(log, 0) @ means, torch.logsumexp(log, 0).item()


def run(case: Case, particles: Particles | None) -> RunState:
    return sample(
        case.denoiser,
        case.sampler,
        case.grid,
        noise=case.drawn,
        x=case.x,
        cond=case.cond,
        guidance=case.guidance,
        particles=particles,
    )


def steered(potential: str, particles: Particles | None, strength: float = 1.0) -> RunState:
    every = 1 if potential == "difference" else 8  # the others multiply the tilt by the number of times
    steering = Steering(reward, strength, potential, every)
    sampler, grid = DDIM("ancestral", DPMpp(2)), FLOW.grid(STEPS)
    return run(FLOW.case(sampler, grid, GROUPS * GROUP, guidance=(steering,), bulk=True), particles)


def estimate(state: RunState) -> tuple[Tensor, Tensor, Tensor]:
    """Pooled mean (2,), its standard error over populations, and Z of each population."""
    assert state.log_w is not None
    log_w = state.log_w.reshape(GROUPS, GROUP)
    z = (log_mean(log_w) + (0 if state.log_z is None else state.log_z)).exp()
    mean = torch.einsum("pn,pni->pi", torch.softmax(log_w, 1), state.x.reshape(GROUPS, GROUP, 2))
    pooled = (z[:, None] * mean).sum(0) / z.sum()
    error = (z[:, None] / z.mean() * (mean - pooled)).std(0) / math.sqrt(GROUPS)
    return pooled, error, z


@POTENTIALS
def test_an_exponentially_tilted_mixture_is_recovered(potential: str) -> None:
    strength = 1.0 if potential == "difference" else 0.7
    state = steered(potential, Particles(GROUP, 0.9), strength)
    assert state.log_z is not None and bool((state.log_z != 0).any()), "nothing was resampled"
    mean, error, z = estimate(state)
    wanted, log_z = tilted(MIXTURE, strength)
    assert bool(((mean - wanted).abs() < 4 * error).all()), f"{mean.tolist()} for {wanted.tolist()} +- {error.tolist()}"
    assert abs(z.mean().item() - math.exp(log_z)) < 4 * z.std().item() / math.sqrt(GROUPS)
    assert (mean - tilted(MIXTURE, 0.0)[0]).norm() > 5 * error.norm(), "the tilt is too small to be seen"


@dataclass(frozen=True)
class Pull(Guidance):
    """Descends the negative reward on the way, and leaves the last steps alone: another proposal, no other law."""

    strength: float
    applies: Literal["score", "step"] = "score"
    late: float = 2.5  # log-SNR at which it ends
    grad = "x0"

    def active(self, at: Point) -> bool:
        return bool((at.log_snr < self.late).all())

    def energy(self, pred: Prediction, step: Step, own: Own) -> Tensor:
        return -self.strength * reward(pred.x0)


def pulled(pays: bool, *pull: Guidance) -> RunState:
    guidance = (*pull, Steering(reward, pays=pays))
    case = FLOW.case(DDIM("ancestral"), FLOW.grid(STEPS), GROUPS * GROUP, guidance=guidance, bulk=True)
    return run(case, Particles(GROUP, 0.9))


def test_a_proposal_that_another_guidance_changed_is_paid_for() -> None:
    mean, error, z = estimate(pulled(False))  # of the same sampler, which nobody pulls

    def off(pays: bool) -> tuple[float, float]:
        """Distance from it in standard errors, of the mean and of Z."""
        other, own, also = estimate(pulled(pays, Pull(0.6)))
        both = math.sqrt((z.var().item() + also.var().item()) / GROUPS)
        return ((other - mean).abs() / (error**2 + own**2).sqrt()).max().item(), abs((also - z).mean().item()) / both

    assert max(off(pays=True)) < 4 and min(off(pays=False)) > 8


def test_what_changes_a_step_without_noise_is_refused_where_it_has_to_be_paid() -> None:
    with pytest.raises(ValueError, match="close its window before the clean end"):
        pulled(True, Pull(0.6, late=math.inf))
    assert pulled(False, Pull(0.6, late=math.inf)).log_w is not None
    with pytest.raises(ValueError, match="law"):  # a filter's transition is not stated beforehand
        filtered = FLOW.case(DDIM("ancestral", DPMpp(2)), FLOW.grid(4), GROUP, guidance=(Steering(reward, pays=True),))
        run(filtered, None)


def test_resampled_populations_keep_more_effective_particles_than_weights_at_the_end() -> None:
    def effective(state: RunState) -> float:
        assert state.log_w is not None
        weights = torch.softmax(state.log_w.reshape(GROUPS, GROUP), 1)
        return (1 / weights.square().sum(1)).mean().item()

    on_the_way, at_the_end = (effective(steered("difference", particles)) for particles in (Particles(GROUP), None))
    assert on_the_way > 1.5 * at_the_end


@POTENTIALS
def test_potentials_of_every_lineage_multiply_to_the_tilt(potential: str) -> None:
    state = steered(potential, None, strength=2.5)
    assert state.log_w is not None
    torch.testing.assert_close(state.log_w, 2.5 * reward(state.x), rtol=0, atol=1e-9)


def test_a_constant_added_to_the_reward_moves_no_particle() -> None:
    shifted = Steering(lambda x0: reward(x0) + 7.0)
    case = FLOW.case(DDIM("ancestral"), FLOW.grid(8), 64, guidance=(Steering(reward),), bulk=True)
    plain, moved = (run(replace(case, guidance=(g,)), Particles(16)) for g in (case.guidance[0], shifted))
    torch.testing.assert_close(plain.x, moved.x, rtol=0, atol=1e-10)


def steady(guidance: Guidance, particles: Particles | None = None) -> Tensor:
    return run(contract.plain_case(FLOW, "ancestral", (guidance,)), particles).x


def test_strength_zero_a_population_of_one_and_a_threshold_of_zero_change_nothing() -> None:
    plain = contract.plain_case(FLOW, "ancestral").sample().x
    assert torch.equal(steady(Steering(reward, 0.0), Particles(3)), plain)
    assert torch.equal(steady(Steering(reward), Particles(1, 1.0)), plain)
    assert torch.equal(steady(Steering(reward), Particles(3, 0.0)), plain)
    assert not torch.equal(steady(Steering(reward, 50.0), Particles(3)), plain)


@POTENTIALS
def test_a_steered_run_resumes_to_the_bit(potential: str) -> None:
    case = contract.plain_case(FLOW, "ancestral", (Steering(reward, 20.0, potential),), jumps=True)
    parts = (case.denoiser, case.sampler, case.grid)
    options = {
        "noise": case.drawn,
        "x": case.x,
        "cond": case.cond,
        "guidance": case.guidance,
        "particles": Particles(3),
    }
    whole = sample(*parts, **options)
    assert whole.log_w is not None
    for k in range(len(case.grid.route)):
        state = sample(*parts, **options, run=sample(*parts, **options, stop=k))
        assert torch.equal(state.x, whole.x) and state.log_w is not None and torch.equal(state.log_w, whole.log_w)


def test_outside_its_window_a_reward_is_asked_once_at_the_end() -> None:
    asked: list[int] = []

    def counted(x0: Tensor) -> Tensor:
        asked.append(len(x0))
        return reward(x0)

    state = run(contract.plain_case(FLOW, "ancestral", (Steering(counted, window=Window(50.0, 60.0)),)), None)
    assert len(asked) == 1 and state.log_w is not None
    torch.testing.assert_close(state.log_w, reward(state.x))


def test_rewards_are_counted_before_the_run() -> None:
    asked: list[int] = []

    def seen(x0: Tensor) -> Tensor:
        asked.append(len(x0))
        return reward(x0)

    for every, window in ((1, Window()), (4, Window()), (1, Window(-1.0, 1.0)), (2, Window(50.0, 60.0))):
        asked.clear()
        case = contract.plain_case(FLOW, "ancestral", (Steering(seen, every=every, window=window),), jumps=True)
        declared = cost(case.denoiser, case.sampler, case.grid, cond=case.cond, guidance=case.guidance).rewards
        run(case, None)
        assert declared == len(asked) > 0


def test_a_reward_that_is_no_number_a_sample_is_refused() -> None:
    for bad in (lambda x0: x0, lambda x0: x0[:, 0] * float("nan"), lambda x0: x0[:, 0] - float("inf")):
        with pytest.raises(ValueError, match="one finite number a sample"):
            steady(Steering(bad))
    with pytest.raises(ValueError, match="choose difference, max, sum"):
        Steering(reward, potential="best")
    with pytest.raises(ValueError, match="stochastic"):
        run(contract.plain_case(FLOW, "ddim", (Steering(reward),)), None)
