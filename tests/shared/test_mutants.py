"""Planted bugs, and the check that notices each: a proof that the matrix and the contract can fail.

A mutant changes one function of the core for the time of one check, which passes before and must fail then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

import shared.samplers.ddim as ddim
import shared.testing as testing
from shared.denoiser import Denoiser, Head, eps_head, v_head, velocity_head
from shared.grid import Grid
from shared.guidance.classifier_free import ClassifierFree
from shared.guidance.known_region import KnownRegion
from shared.guidance.posterior import DDNM, DPS
from shared.guidance.window import Window
from shared.noise import PerSample, stream
from shared.oracle import Mixture
from shared.process import Process, StudentT, lin
from shared.run import Law, Transition
from shared.sample import Ask
from shared.samplers.ddim import DDIM, PLMS, DPMpp
from shared.samplers.heun import Heun
from tests.shared import matrix
from tests.shared import test_contract as contract
from tests.shared import test_guidance as guidance
from tests.shared import test_oracle as oracles
from tests.shared import test_process as processes
from tests.shared import test_published_formulas as formulas
from tests.shared.worlds import SAMPLERS, WORLDS, World

ANGLE, FLOW, REVERTING = WORLDS[2], WORLDS[5], WORLDS[6]
Any_ = Any  # arguments of functions that are replaced


@dataclass(frozen=True)
class Mutant:
    """In `owner`, `name` becomes make(original); `kills` must raise AssertionError then."""

    owner: object
    name: str
    make: Callable[[Any], Any]
    kills: Callable[[], object]


def after(change: Callable[..., Any]) -> Callable[[Any], Any]:
    """The original's result, changed: change(result, *arguments)."""
    return lambda original: lambda *args, **more: change(original(*args, **more), *args)


def instead(function: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda original: function


# ------------------------------------------------------------------------------------------------------------- checks


def order(name: str, world: World = FLOW) -> Callable[[], object]:
    return lambda: matrix.check_deterministic_order(world, SAMPLERS[name])


def weak_order(name: str, world: World = FLOW) -> Callable[[], object]:
    return lambda: matrix.check_weak_order(world, SAMPLERS[name])


def reversal() -> None:
    matrix.check_reversal(FLOW, DDIM("ancestral"))


def means(name: str, head: Callable[[], Head], world: World = REVERTING) -> Callable[[], object]:
    return lambda: matrix.check_head_meaning(world, name, head())


def kept(name: str, world: World = FLOW) -> Callable[[], object]:
    return lambda: contract.check_sampler(contract.plain_case(world, name))


def guided(guide: str, name: str = "dpmpp2") -> Callable[[], object]:
    return lambda: contract.test_guidance_keeps_its_contract(guide, name, FLOW, False)


def noise() -> None:
    testing.check_noise(lambda seed: PerSample.of(seed, 512))


# ------------------------------------------------------------------------------------------------------------ mutants


def law_times(k_x: float = 1.0, k_x0: float = 1.0, std: float = 1.0) -> Callable[[Any], Any]:
    return after(lambda law, *_: Law(law.k_x * k_x, law.k_x0 * k_x0, law.std * std))


def jump_with(variance: Callable[[Any, Any, Any], torch.Tensor]) -> Callable[[Any], Any]:
    def jump(self: Process, x: Any_, at: Any_, to: Any_, z: Any_, y: Any_ = None) -> torch.Tensor:
        r = to.a / at.a
        up = lin((r, self.shifted(x, at, y)), (variance(r, at, to).clamp_min(0).sqrt(), z))
        return self.shifted(up, to, y, sign=-1)

    return instead(jump)


def oldest_kept(original: Any_) -> Any:
    def call(self: DPMpp, pred: Any_, t: Any_, s: Any_, own: Any_, law: Any_) -> Any:
        used, new = original(self, pred, t, s, own, law)
        return used, dict(own) or new

    return call


def extrapolated_by(weight: Callable[[Any, Any], torch.Tensor]) -> Callable[[Any], Any]:
    """DPM-Solver++ with another weight of the difference."""

    def call(self: DPMpp, pred: Any_, t: Any_, s: Any_, own: Any_, law: Any_) -> Any:
        new = {"x0": pred.x0, "log_snr": t.log_snr}
        if self.length == 1 or "x0" not in own:
            return pred, new
        w = weight(s.log_snr - t.log_snr, t.log_snr - own["log_snr"])
        return pred.with_x0(lin((1 + w, pred.x0), (-w, own["x0"]))), new

    return instead(call)


HIDDEN: dict[str, Any] = {}


def hidden_history(original: Any_) -> Any:
    """History on the sampler, left over from run to run."""

    def call(self: DPMpp, pred: Any_, t: Any_, s: Any_, own: Any_, law: Any_) -> Any:
        used, new = original(self, pred, t, s, dict(HIDDEN), law)
        HIDDEN.update(new)
        return used, own

    return call


def equal_weights(at: Any_, to: Any_) -> list[torch.Tensor]:
    """Adams-Bashforth weights of even steps, whatever the steps."""
    table = {1: [1.0], 2: [1.5, -0.5], 3: [23 / 12, -16 / 12, 5 / 12], 4: [55 / 24, -59 / 24, 37 / 24, -9 / 24]}
    return [torch.tensor(weight, dtype=torch.float64) for weight in table[len(at)]]


def head_with(**coefs: Any_) -> Callable[[Any], Any]:
    """check_head_meaning of a head with another coefficient."""
    return lambda check: lambda world, name, head: check(world, name, replace(head, **coefs))


def second_slope_alone(self: Heun, ask: Any_, x: Any_, step: Any_, grid: Any_, own: Any_) -> Transition:
    first = ask(x, step.t, step)
    eps = ask(self._euler(x, first.guided, step.t, step.s), step.s, step).guided.eps
    return self._done(self._along(x, eps, first.guided.y, step.t, step.s, grid), first)


def asked_at_the_arrival(original: Any_) -> Any:
    """Index off by one: the network hears the time of the next point."""

    def step(self: DDIM, ask: Any_, x: Any_, step: Any_, grid: Any_, own: Any_) -> Any:
        return original(self, lambda x, at, same: ask(x, step.s, same), x, step, grid, own)

    return step


def written_into(original: Any_) -> Any:
    def step(self: DDIM, ask: Any_, x: Any_, step: Any_, grid: Any_, own: Any_) -> Any:
        tr = original(self, ask, x, step, grid, own)
        x += 0.1
        return tr

    return step


def noise_doubled_in_the_step(original: Any_) -> Any:
    """The step does not keep to the law that it stated."""

    def step(self: DDIM, ask: Any_, x: Any_, step: Any_, grid: Any_, own: Any_) -> Any:
        tr = original(self, ask, x, step, grid, own)
        return tr if tr.std is None else replace(tr, x=tr.mean + 2 * tr.std * tr.noise)

    return step


def asked_twice(original: Any_) -> Any:
    def call(self: Ask, x: Any_, at: Any_, step: Any_ = None) -> Any:
        self._predict(x, at, self.acting(at))
        return original(self, x, at, step)

    return call


def drawn_ignoring_k(original: Any_) -> Any:
    return lambda self, k, like, tag="step": original(self, 0, like, tag)


def drawn_ignoring_the_tag(original: Any_) -> Any:
    return lambda self, k, like, tag="step": original(self, k, like)


def drawn_in_one_stream(self: PerSample, k: int, like: Any_, tag: str = "step") -> torch.Tensor:
    return torch.randn(like.shape, generator=stream(self.seeds[0], k, tag), dtype=torch.float32).to(like.dtype)


def drawn_from_a_running_generator(original: Any_) -> Any:
    running = torch.Generator().manual_seed(0)
    return lambda self, k, like, tag="step": torch.randn(like.shape, generator=running, dtype=like.dtype)


def normalised_by_the_batch(self: DPS, pred: Any_, step: Any_, own: Any_) -> torch.Tensor:
    squared = (self.measurement - self.operator.forward(pred.x0)).flatten(1).square().sum(1)
    return self.strength * squared / squared.sum().sqrt().detach()


def projected_by_the_adjoint(self: DDNM, pred: Any_, step: Any_, own: Any_) -> Any:
    return pred.with_x0(pred.x0 + self.operator.adjoint(self.measurement - self.operator.forward(pred.x0)))


def known_without_noise(self: KnownRegion, x: Any_, step: Any_, tr: Any_, own: Any_) -> Any:
    known = step.process.join(self.known.expand_as(x), torch.zeros_like(x), step.s, step.y)
    return torch.where(self.where, known, x), own


def weighted_once_more(original: Any_) -> Any:
    def combine(self: ClassifierFree, named: Any_, pred: Any_, step: Any_, own: Any_) -> Any:
        return original(replace(self, weight=self.weight + 1), named, pred, step, own)

    return combine


def midpoint() -> None:
    formulas.test_second_order_filter_is_the_midpoint_formula()


def posterior_of_ddpm() -> None:
    formulas.test_ancestral_fraction_is_the_ddpm_posterior(400)


def posterior_of_resshift() -> None:
    formulas.test_residual_shift_fraction_is_the_resshift_posterior(9)


def jump_law() -> None:
    processes.test_a_jump_composes_with_the_forward_law(REVERTING)


def counted_jumps() -> None:
    formulas.test_jump_routes_cost_what_the_paper_counts(5, 5, 1480)


def formula_of_cfg() -> None:
    guidance.test_classifier_free_guidance_extrapolates_from_the_unconditional(FLOW, 4.0)


def tweedie() -> None:
    oracles.test_denoiser_is_the_score_of_the_density(oracles.GAUSSIAN, 0.5)


def lattice() -> None:
    oracles.test_posterior_is_bayes_on_a_lattice()


def projection() -> None:
    matrix.check_projection(FLOW, SAMPLERS["ddim"])


def gradient_of_dps() -> None:
    guidance.test_dps_moves_the_score_by_the_gradient_of_the_likelihood(FLOW)


MUTANTS: dict[str, Mutant] = {
    # prediction
    "eps taken for x0": Mutant(Denoiser, "_read", after(lambda p, *_: replace(p, _x0=p.eps)), order("ddim")),
    "eps of the wrong sign": Mutant(Process, "split", after(lambda eps, *_: -eps), order("heun")),
    "eps head: x0 of the wrong sign": Mutant(
        matrix,
        "check_head_meaning",
        head_with(c_out=lambda p: p.sigma / p.a),
        means("eps", eps_head),
    ),
    "v head: a and sigma swapped": Mutant(
        matrix,
        "check_head_meaning",
        head_with(c_out=lambda p: -p.a),
        means("v", v_head, ANGLE),
    ),
    "velocity head: y dropped": Mutant(
        matrix,
        "check_head_meaning",
        head_with(c_y=None),
        means("velocity", velocity_head),
    ),
    "derivative of a of the wrong sign": Mutant(
        Process,
        "at",
        after(lambda p, *_: replace(p, slopes=lambda: (-p.da, p.db, p.dsigma))),
        order("heun time", ANGLE),
    ),
    # process
    "y dropped": Mutant(Process, "shifted", instead(lambda self, x, at, y=None, sign=1: x), order("ddim", REVERTING)),
    "y never added back": Mutant(
        Process, "shifted", lambda f: lambda self, x, at, y=None, sign=1: f(self, x, at, y), order("ddim", REVERTING)
    ),
    "jump variance without the square": Mutant(
        Process, "jump", jump_with(lambda r, at, to: to.sigma**2 - r * at.sigma**2), jump_law
    ),
    "jump without noise": Mutant(Process, "jump", jump_with(lambda r, at, to: 0 * to.sigma), jump_law),
    "jump with all the noise": Mutant(Process, "jump", jump_with(lambda r, at, to: to.sigma**2), jump_law),
    "chi-square upside down": Mutant(
        StudentT, "scale", after(lambda s, *_: 1 / s), processes.test_student_law_has_one_radius_a_row_and_its_variance
    ),
    # one-call samplers
    "weight of x0 off by one per cent": Mutant(DDIM, "_law", law_times(k_x0=1.01), order("ddim")),
    "state of the wrong sign": Mutant(DDIM, "_law", law_times(k_x=-1), order("ddim")),
    "missing noise": Mutant(DDIM, "_law", law_times(std=0), weak_order("ancestral")),
    "noise times the square root of 2": Mutant(DDIM, "_law", law_times(std=2**0.5), weak_order("ancestral")),
    "half the ancestral fraction": Mutant(DDIM, "injected", after(lambda f, *_: f / 2), reversal),
    "ancestral fraction without the square": Mutant(
        DDIM, "injected", instead(lambda self, t, s: -torch.expm1(t.log_snr - s.log_snr)), posterior_of_ddpm
    ),
    "residual fraction without the square": Mutant(
        DDIM, "injected", instead(lambda self, t, s: 1 - s.sigma / t.sigma), posterior_of_resshift
    ),
    "asked at the arrival": Mutant(DDIM, "step", asked_at_the_arrival, order("dpmpp2")),
    "noise not that of the stated law": Mutant(DDIM, "step", noise_doubled_in_the_step, kept("ancestral")),
    "writes into its state": Mutant(DDIM, "step", written_into, kept("ddim")),
    # filters and Heun
    "history not shifted": Mutant(DPMpp, "__call__", oldest_kept, order("dpmpp2")),
    "extrapolation without the half": Mutant(DPMpp, "__call__", extrapolated_by(lambda h, b: h / b), order("dpmpp2")),
    "extrapolation of the wrong sign": Mutant(
        DPMpp, "__call__", extrapolated_by(lambda h, b: -h / (2 * b)), order("dpmpp2")
    ),
    "ratio of steps upside down": Mutant(DPMpp, "__call__", extrapolated_by(lambda h, b: b / (2 * h)), midpoint),
    "history outside the run": Mutant(DPMpp, "__call__", hidden_history, kept("dpmpp2")),
    "equal weights on uneven steps": Mutant(
        ddim, "_adams", instead(equal_weights), formulas.test_plms_integrates_polynomials_exactly_on_uneven_steps
    ),
    "history in the wrong order": Mutant(ddim, "_adams", after(lambda w, *_: w[::-1]), order("plms4")),
    "fewer evaluations than the order": Mutant(PLMS, "order", instead(property(lambda self: 3)), order("plms2")),
    "second slope alone": Mutant(Heun, "step", instead(second_slope_alone), order("heun")),
    "second evaluation not declared": Mutant(Heun, "evaluations", after(lambda n, *_: 1), order("heun")),
    # noise and cost
    "noise the same at every step": Mutant(PerSample, "draw", drawn_ignoring_k, noise),
    "noise the same for every tag": Mutant(PerSample, "draw", drawn_ignoring_the_tag, noise),
    "noise from a running generator": Mutant(PerSample, "draw", drawn_from_a_running_generator, noise),
    "noise of a row depends on its place": Mutant(PerSample, "draw", instead(drawn_in_one_stream), kept("ancestral")),
    "a call that is not declared": Mutant(Ask, "__call__", asked_twice, kept("ddim")),
    "one jump too many": Mutant(
        Grid,
        "jumps",
        lambda f: lambda self, n, r: f(self, n, r + 1),
        counted_jumps,
    ),
    # guidance
    "guidance weight off by one": Mutant(
        ClassifierFree,
        "combine",
        weighted_once_more,
        formula_of_cfg,
    ),
    "weight 1 is paid": Mutant(ClassifierFree, "active", instead(lambda self, at: True), guided("cfg")),
    "zero strength acts": Mutant(DPS, "active", instead(lambda self, at: True), guided("dps score")),
    "likelihood of the wrong sign": Mutant(DPS, "energy", after(lambda e, *_: -e), gradient_of_dps),
    "likelihood without the half": Mutant(DPS, "energy", after(lambda e, *_: 2 * e), gradient_of_dps),
    "normalised by the batch": Mutant(DPS, "energy", instead(normalised_by_the_batch), guided("dps step")),
    "adjoint for pseudo-inverse": Mutant(DDNM, "correct", instead(projected_by_the_adjoint), projection),
    "projection not last": Mutant(
        DDNM, "projection", lambda _: False, guidance.test_projections_come_after_other_corrections
    ),
    "window inside out": Mutant(
        Window, "rows", after(lambda r, *_: ~r), guidance.test_a_window_decides_where_guidance_acts_and_is_paid
    ),
    "known region without noise": Mutant(
        KnownRegion,
        "after",
        instead(known_without_noise),
        guidance.test_the_known_region_lies_at_the_noise_level_of_its_state,
    ),
    # oracles
    "denoiser without its prior mean": Mutant(
        Mixture,
        "clean",
        after(lambda x0, self, *_: x0 - self.means[0]),
        tweedie,
    ),
    "posterior without its gain": Mutant(
        Mixture,
        "posterior",
        after(lambda p, self, *_: replace(p, means=self.means)),
        lattice,
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_planted_bug_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_noticed(MUTANTS[name], monkeypatch)


def check_noticed(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check holds without the bug and fails with it."""
    mutant.kills()  # without the bug it holds
    HIDDEN.clear()
    monkeypatch.setattr(mutant.owner, mutant.name, mutant.make(vars(mutant.owner)[mutant.name]))
    with pytest.raises(AssertionError):
        mutant.kills()
