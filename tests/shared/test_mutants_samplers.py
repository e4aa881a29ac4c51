"""More planted bugs (see test_mutants.py): in the later samplers, paths, grids and populations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import shared.noise as noises
import shared.particles as particle
import shared.samplers.ddim as ddim
import shared.samplers.single_step as single_step
import shared.samplers.unipc as unipc
import shared.testing as testing
from shared.guidance.steering import Steering
from shared.noise import Brownian
from shared.particles import Particles
from shared.process import lin
from shared.run import Law, Transition
from shared.samplers.ddim import DDIM
from shared.samplers.euler import Euler
from shared.samplers.langevin import Langevin
from shared.samplers.single_step import SingleStep
from shared.samplers.unipc import UniPC
from tests.shared import test_grid as grids
from tests.shared import test_noise as path_tests
from tests.shared import test_particles as particles
from tests.shared import test_published_formulas as formulas
from tests.shared import test_steering as steering
from tests.shared.test_mutants import FLOW, Any_, Mutant, after, check_noticed, instead, kept, order


def eta_of_ddim() -> None:
    formulas.test_eta_is_that_of_ddim_and_of_euler_ancestral(0.3)


def third(noisy: bool) -> Callable[[], object]:
    return lambda: formulas.test_third_order_filter_is_the_published_formula(noisy)


def lineage() -> None:
    steering.test_potentials_of_every_lineage_multiply_to_the_tilt("difference")


def counted(scheme: str) -> Callable[[], object]:
    return lambda: particles.test_every_scheme_keeps_a_particle_as_often_as_its_weight_says(scheme)


def brownian() -> None:
    testing.check_noise(lambda seed: Brownian.of(seed, 64, FLOW.grid(8)), rows=64)


def backwards(self: Euler, ask: Any_, x: Any_, step: Any_, grid: Any_, own: Any_, *, way: float = 1.0) -> Transition:
    asked = ask(x, step.t, step)
    x = x + lin((way * (step.t.t - step.s.t), asked.guided.velocity))
    return Transition(x, x, None, None, asked)


def of_the_plain_equation(original: Any_) -> Any:
    """exp(-h) where an ancestral step has exp(-2 h)."""

    def weights(at: Any_, s: Any_, law: Any_) -> Any:
        return original(at, s, Law(law.k_x, -s.a * torch.expm1(at[0] - s.log_snr), law.std))

    return weights


def without_the_bend(original: Any_) -> Any:
    return lambda at, s, law: [*original(at[:2], s, law), *[torch.zeros_like(v) for v in at[2:]]]


def without_correction(original: Any_) -> Any:
    def call(self: UniPC, pred: Any_, t: Any_, s: Any_, own: Any_, law: Any_) -> Any:
        used, new = original(self, pred, t, s, own, law)
        return used, {**new, "k_x0": 1e-30 * new["k_x0"]} if "k_x0" in new else new

    return call


def forgotten(original: Any_) -> Any:
    """What was paid on the way is not kept."""
    return lambda self, x, step, tr, own: (original(self, x, step, tr, own)[0], {})


def walked(sign: float = 1.0, noise: float = 1.0) -> Callable[[Any], Any]:
    def walk(self: Langevin, x: Any_, pred: Any_, z: Any_) -> torch.Tensor:
        e = 2 * (self.snr * pred.at.sigma) ** 2
        return x + sign * e * pred.score + noise * (2 * e).sqrt() * z

    return instead(walk)


MUTANTS: dict[str, Mutant] = {
    # Euler, eta, third order, UniPC, single steps, Langevin
    "Euler backwards": Mutant(Euler, "step", instead(backwards), order("euler time")),
    "Euler by half a step": Mutant(Euler, "step", instead(lambda *a: backwards(*a, way=-0.5)), order("euler time")),
    "eta without the square": Mutant(
        DDIM, "injected", after(lambda f, self, *_: f / self.eta if isinstance(self.fraction, str) else f), eta_of_ddim
    ),
    "eta ignored": Mutant(
        DDIM, "injected", instead(lambda self, t, s: -torch.expm1(2 * (t.log_snr - s.log_snr))), eta_of_ddim
    ),
    "third order without its bend": Mutant(ddim, "_extrapolated", without_the_bend, third(False)),
    "third order of the plain equation": Mutant(ddim, "_extrapolated", of_the_plain_equation, third(True)),
    "UniPC without its corrector": Mutant(UniPC, "__call__", without_correction, order("unipc2")),
    "UniPC weights in the wrong order": Mutant(unipc, "_rho", after(lambda rho, *_: rho[::-1]), order("unipc2")),
    "UniPC said to be of order 2": Mutant(UniPC, "order", instead(property(lambda self: 2)), order("unipc2")),
    "half step with noise of its own": Mutant(
        SingleStep,
        "_half",
        instead(lambda self, step, z, m, x: step.draw("half", x)),
        formulas.test_single_steps_are_those_of_k_diffusion,
    ),
    "second evaluation at the start": Mutant(
        single_step, "halfway", instead(lambda t, s, grid: t), formulas.test_single_steps_are_those_of_k_diffusion
    ),
    "Langevin uphill": Mutant(Langevin, "_walk", walked(sign=-1), formulas.test_langevin_corrections_are_those_of_song),
    "Langevin without noise": Mutant(
        Langevin, "_walk", walked(noise=0), formulas.test_langevin_corrections_are_those_of_song
    ),
    "Langevin's corrections not declared": Mutant(
        Langevin, "asks", after(lambda points, *_: points[1:]), kept("langevin")
    ),
    # grids, paths, populations
    "shift towards the data": Mutant(
        grids,
        "grid",
        lambda f: lambda *a, shift=1.0: f(*a, shift=1 / shift),
        grids.test_a_shift_moves_times_towards_noise_and_keeps_the_ends,
    ),
    "path without its variance": Mutant(noises, "path", after(lambda w, *_: dict(list(w.items())[:8])), brownian),
    "path ignoring the lap": Mutant(
        noises,
        "_increment",
        lambda f: lambda seed, lap, *more: f(seed, 0, *more),
        path_tests.test_after_a_jump_the_same_interval_has_another_path,
    ),
    "weights squared": Mutant(particle, "_places", lambda f: lambda w, at: f(w**2, at), counted("systematic")),
    "uniforms of another population": Mutant(
        Particles,
        "_uniform",
        after(lambda u, *_: u.flip(0)),
        lambda: particles.test_a_batch_may_be_split_between_populations("multinomial"),
    ),
    "log Z of the sum": Mutant(
        particle,
        "log_mean",
        instead(lambda log_w: torch.logsumexp(log_w.double(), -1)),
        particles.test_populations_decide_one_by_one_and_log_z_is_the_mean_weight,
    ),
    "reward paid twice": Mutant(Steering, "weigh", forgotten, lineage),
    "tilt of the wrong sign": Mutant(
        Steering, "weigh", after(lambda said, *_: (None if said[0] is None else -said[0], said[1])), lineage
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_planted_bug_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_noticed(MUTANTS[name], monkeypatch)
