"""Combinations that cannot be right are refused before the first call, in a sentence with the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
import torch

from shared.capabilities import REMEDY, Incompatible, Part, fit
from shared.denoiser import Denoiser, Head, Prediction, Query, edm_head, eps_head, pair_head, velocity_head, x0_head
from shared.errors import UserError
from shared.grid import Grid, grid, own_times
from shared.guidance.classifier_free import ClassifierFree
from shared.guidance.known_region import KnownRegion
from shared.guidance.posterior import DDNM, DPS
from shared.guidance.steering import Steering
from shared.guidance.window import Window
from shared.noise import PerSample
from shared.operators import Mask, Matrix
from shared.oracle import DataSet, Mixture, Oracle, mixture
from shared.particles import Particles
from shared.process import Process, StudentT, bridge, edm, flow, mean_reverting, residual_shift, ve, vp, vp_betas
from shared.run import Guidance, Own, Sampler, Step
from shared.sample import Ask, check, sample
from shared.samplers.ddim import DDIM, PLMS, DPMpp
from shared.samplers.euler import Euler
from shared.samplers.heun import Heun
from shared.samplers.langevin import Langevin
from shared.samplers.named import SAMPLERS, named
from shared.samplers.single_step import SingleStep
from shared.samplers.unipc import UniPC

X = torch.zeros(2, 2)
SEEN, MEASURED = Mask(torch.tensor([True, False])), torch.zeros(1, 2)


class Silent(torch.nn.Module):
    def forward(self, x: torch.Tensor, time: torch.Tensor, cond: object) -> torch.Tensor:
        raise AssertionError("the network was called")


def denoiser(process: Process, head: Head | None = None, coupling: str = "independent") -> Denoiser:
    return Denoiser(Silent(), process, head or x0_head(), coupling=coupling)


def inside(process: Process) -> Grid:
    low, high = sorted(process.ends)
    return own_times(process, [low + 0.9 * (high - low), low + 0.5 * (high - low), low + 0.1 * (high - low)])


STUDENT = edm(law=StudentT(4))
FORBIDDEN: dict[str, tuple[Denoiser, Sampler, Grid, tuple[Guidance, ...], str]] = {
    "student + ancestral": (denoiser(STUDENT), DDIM("ancestral"), inside(STUDENT), (), "gaussian"),
    "student + Euler ancestral": (denoiser(STUDENT), named("euler_ancestral"), inside(STUDENT), (), "gaussian"),
    "student + single step SDE": (denoiser(STUDENT), SingleStep("ancestral"), inside(STUDENT), (), "gaussian"),
    "student + Langevin": (denoiser(STUDENT), Langevin(predictor=DDIM()), inside(STUDENT), (), "gaussian"),
    "coupled + Langevin": (denoiser(flow(), coupling="assignment"), Langevin(), inside(flow()), (), "true_score"),
    "pair + UniPC": (denoiser(flow(), pair_head()), named("unipc"), inside(flow()), (), "x0"),
    "pair + single step": (denoiser(flow(), pair_head()), SingleStep(), inside(flow()), (), "x0"),
    "pair + Langevin": (denoiser(flow(), pair_head()), Langevin(), inside(flow()), (), "x0"),
    "encode + Langevin": (denoiser(flow()), Langevin(), inside(flow()).reversed(), (), "deterministic"),
    "encode + single step SDE": (
        denoiser(flow()),
        SingleStep("ancestral"),
        inside(flow()).reversed(),
        (),
        "deterministic",
    ),
    "ODE + steering": (denoiser(flow()), named("unipc"), inside(flow()), (Steering(len),), "stochastic"),
    "student + jumps": (denoiser(STUDENT), DDIM(), inside(STUDENT).jumps(1, 2), (), "gaussian"),
    "student + DPS": (denoiser(STUDENT), DDIM(), inside(STUDENT), (DPS(SEEN, MEASURED),), "true_score"),
    "student + known region": (
        denoiser(STUDENT),
        DDIM(),
        inside(STUDENT),
        (KnownRegion(X, torch.tensor([True, False])),),
        "gaussian",
    ),
    "coupled + DPS": (
        denoiser(flow(), coupling="assignment"),
        DDIM(),
        inside(flow()),
        (DPS(SEEN, MEASURED),),
        "true_score",
    ),
    "pair + DDIM": (denoiser(flow(), pair_head()), DDIM(), inside(flow()), (), "x0"),
    "pair + Heun in sigma": (denoiser(flow(), pair_head()), Heun(), inside(flow()), (), "x0"),
    "pair + CFG": (denoiser(flow(), pair_head()), Heun("time"), inside(flow()), (ClassifierFree(2.0),), "x0"),
    "pair + DDNM": (denoiser(flow(), pair_head()), Heun("time"), inside(flow()), (DDNM(SEEN, MEASURED),), "x0"),
    "encode + ancestral": (
        denoiser(flow()),
        DDIM("ancestral"),
        inside(flow()).reversed(),
        (),
        "deterministic",
    ),
    "encode + known region": (
        denoiser(flow()),
        DDIM(),
        inside(flow()).reversed(),
        (KnownRegion(X, torch.tensor([True, False])),),
        "deterministic",
    ),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden_pairs_raise_with_the_remedy(name: str) -> None:
    d, sampler, grid, guidance, word = FORBIDDEN[name]
    with pytest.raises(Incompatible) as refused:
        sample(d, sampler, grid, noise=PerSample.of(0, 2), x=X, cond={"label": torch.zeros(2)}, guidance=guidance)
    assert REMEDY[word] in str(refused.value) and repr(word) in str(refused.value)


def test_the_thief_is_named() -> None:
    with pytest.raises(Incompatible, match="KnownRegion takes away"):
        d, sampler, grid, guidance, _ = FORBIDDEN["encode + known region"]
        check(d, sampler, grid, noise=PerSample.of(0, 2), x=X, guidance=guidance)
    with pytest.raises(ValueError, match=r"unknown capability words \['speed'\]"):
        fit([Part("a sampler", needs=frozenset({"speed"}))])


def refusal(d: Denoiser, sampler: Sampler, grid: Grid, y: torch.Tensor | None = None, **more: object) -> str:
    with pytest.raises(ValueError) as refused:
        check(d, sampler, grid, noise=PerSample.of(0, 2), x=X, y=y, **more)
    return str(refused.value)


@pytest.mark.parametrize("head", [eps_head(), edm_head()], ids=lambda head: head.name)
@pytest.mark.parametrize("process", [flow(), vp("angle")], ids=lambda process: process.name)
def test_heads_that_cannot_stand_pure_noise_are_refused_there(process: Process, head: Head) -> None:
    said = refusal(denoiser(process, head), DDIM(), own_times(process, [1.0, 0.5, 0.0]))
    assert f"{head.name} head has no finite" in said and "start nearer to the data" in said


@pytest.mark.parametrize("process", [flow(), vp("angle")], ids=lambda process: process.name)
def test_heads_that_stand_pure_noise_start_there_and_sample_the_law(process: Process) -> None:
    from shared.denoiser import v_head
    from shared.noise import Bulk
    from shared.testing import check_same_law
    from tests.shared.worlds import MIXTURE

    times = torch.cat([torch.linspace(1, 0.02, 60, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])
    for head in (x0_head(), v_head(), velocity_head()):
        for sampler in (DDIM(filter=DPMpp(2)), DDIM(filter=PLMS(4)), Heun("time"), DDIM("ancestral", DPMpp(2))):
            state = sample(
                Oracle(MIXTURE, process, head),
                sampler,
                own_times(process, times),
                noise=Bulk(1),
                shape=(1000, 2),
                dtype=torch.float64,
            )
            check_same_law(state.x, MIXTURE.draw, 1.5)


def test_a_bridge_starts_at_its_known_end_only_where_the_step_can() -> None:
    from shared.noise import Bulk
    from shared.testing import check_same_law
    from tests.shared.worlds import MIXTURE

    process, y = bridge(), torch.tensor([[0.5, -0.7]], dtype=torch.float64).expand(1000, 2)
    grid = own_times(process, torch.linspace(1, 0, 101, dtype=torch.float64))
    assert "use fraction 1 there" in refusal(denoiser(process), DDIM(), grid, X)
    assert "start the grid inside" in refusal(denoiser(process), Heun("time"), grid, X)
    assert "no finite" in refusal(denoiser(process, velocity_head()), DDIM("ancestral"), grid, X)
    assert "go down in noise" in refusal(denoiser(process), DDIM("residual_shift"), inside(process), X)
    state = sample(Oracle(MIXTURE, process), DDIM("ancestral"), grid, noise=Bulk(0), y=y)
    check_same_law(state.x, MIXTURE.draw, 1.5)


def test_a_grid_of_another_process_is_refused_even_under_the_same_name() -> None:
    assert "denoiser knows flow" in refusal(denoiser(flow()), DDIM(), inside(edm()))
    assert "differ in a, b, sigma" in refusal(denoiser(mean_reverting(0.1)), DDIM(), inside(mean_reverting(0.2)), X)
    assert "noise law" in refusal(denoiser(edm()), DDIM(), inside(STUDENT))
    assert "differ" in refusal(denoiser(vp("linear", 50)), DDIM(), inside(vp("linear", 1000)))
    check(denoiser(vp()), DDIM(), inside(vp()), noise=PerSample.of(0, 2), x=X)  # made twice, the same numbers


@dataclass(frozen=True)
class Other(Guidance):
    """Asks for a prediction of its own under the name "null"."""

    denoiser: Denoiser | None = None

    def queries(self, cond: object) -> dict[str, Query]:
        return {"null": Query({"label": torch.ones(2)}, denoiser=self.denoiser)}

    def combine(self, named: Mapping[str, Prediction], pred: Prediction, step: Step, own: Own) -> Prediction:
        return pred


def test_what_is_missing_or_contradicts_is_refused() -> None:
    cond = {"label": torch.zeros(2)}
    assert "pass y" in refusal(denoiser(residual_shift()), DDIM(), inside(residual_shift()))
    assert "pass cond" in refusal(denoiser(flow()), DDIM(), inside(flow()), guidance=[ClassifierFree(2.0)])
    two = [ClassifierFree(2.0), Other()]
    assert "under the name 'null'" in refusal(denoiser(flow()), DDIM(), inside(flow()), cond=cond, guidance=two)
    stranger = [Other(denoiser(edm()))]
    assert "denoiser knows edm" in refusal(denoiser(flow()), DDIM(), inside(flow()), cond=cond, guidance=stranger)
    encode = own_times(flow(), [0.9, 0.5, 0.0]).reversed()
    assert "sigma > 0 at both ends" in refusal(denoiser(flow()), DDIM(), encode)
    assert "stop = 9 lies outside the route 0..2" in refusal(denoiser(flow()), DDIM(), inside(flow()), stop=9)


def test_a_condition_of_another_batch_is_refused_by_its_name() -> None:
    four, cond = torch.zeros(4, 2), {"label": torch.zeros(4), "words": torch.zeros(3, 5)}
    wanted = "the condition 'words' has 3 rows for a batch of 4; give one row, or one a row of the state"
    for run in (check, sample):
        with pytest.raises(ValueError, match=wanted):
            run(denoiser(flow()), DDIM(), inside(flow()), noise=PerSample.of(0, 4), x=four, cond=cond)
    with pytest.raises(ValueError, match="the condition 'words' has no rows for a batch of 4"):
        check(
            denoiser(flow()), DDIM(), inside(flow()), noise=PerSample.of(0, 4), x=four, cond={"words": torch.tensor(1)}
        )


def test_options_out_of_range_are_refused_with_their_values() -> None:
    for build, said in (
        (lambda: DDIM(1.5), r"\[0, 1\], got 1.5"),
        (lambda: DDIM("resshift"), "ancestral or residual_shift"),
        (lambda: DPMpp(4), "1, 2 or 3 predictions, got 4"),
        (lambda: PLMS(5), "1 to 4 evaluations, got 5"),
        (lambda: DDIM("ancestral", eta=1.5), r"eta lies in \[0, 1\], got 1.5"),
        (lambda: DDIM(0.3, eta=0.5), "eta scales a named fraction, ancestral or residual_shift"),
        (lambda: UniPC(4), "1, 2 or 3 predictions, got 4"),
        (lambda: UniPC(2, "bh3"), "unknown variant 'bh3' of UniPC; choose bh1 or bh2"),
        (lambda: SingleStep(0.5), "fraction 0 or 'ancestral', got 0.5"),
        (lambda: SingleStep("ancestral", "time"), "unknown clock 'time' of a step's path; choose snr or sigma"),
        (lambda: Langevin(0.0), "snr > 0 and corrections >= 1 are wanted, got 0.0 and 1"),
        (lambda: Langevin(rule="batch"), "unknown rule 'batch' of the step size; choose level or norms"),
        (lambda: named("euler", coordinate="log"), "unknown coordinate 'log' of euler; choose sigma or time"),
        (lambda: Heun("velocity"), "unknown coordinate 'velocity' of heun; choose sigma or time"),
        (lambda: named("heun", coordinate="velocity"), "unknown coordinate 'velocity' of heun; choose sigma or time"),
        (lambda: named("dpm"), "unknown sampler 'dpm'; choose ddim, ddpm, euler,"),
        (lambda: named("ddpm", eta=1.0), "'ddpm' knows no option eta; it has no options"),
        (lambda: named("heun", order=2), "'heun' knows no option order; its options are coordinate"),
        (lambda: vp("sigmoid"), "unknown VP schedule 'sigmoid'; choose linear, cosine or angle"),
        (lambda: grid(flow(), 4, "even"), "unknown spacing 'even'; choose uniform, levels, trailing, leading, log_snr"),
        (lambda: Particles(4, scheme="best"), "'best'; choose systematic, stratified, residual or multinomial"),
        (lambda: Particles(4, ess=1.5), r"in \[0, 1\], got 1.5"),
        (lambda: Particles(0), "whole numbers >= 1, got 0 and 1"),
        (lambda: Steering(len, every=0), "every is a whole number >= 1, got 0"),
        (lambda: StudentT(0), "whole number >= 1, got 0"),
        (lambda: StudentT(-3), "whole number >= 1, got -3"),
        (lambda: StudentT(2.5), "whole number >= 1, got 2.5"),
        (lambda: vp_betas(torch.tensor([0.1, 1.0])), r"every beta lies in \[0, 1\), got 1"),
        (lambda: vp_betas(torch.tensor([-0.1, 0.5])), r"every beta lies in \[0, 1\), got -0.1"),
        (lambda: vp_betas(torch.tensor([0.1, float("nan")])), r"every beta lies in \[0, 1\), got nan"),
        (lambda: mean_reverting(final=2.0), "std > 0 and 0 < final < 1 are wanted, got 0.19.* and 2.0"),
        (lambda: mean_reverting(std=-1.0), "std > 0 and 0 < final < 1 are wanted, got -1.0"),
        (lambda: edm(sigma_max=-1), "sigma_max is a finite number > 0, got -1"),
        (lambda: edm(sigma_max=float("nan")), "sigma_max is a finite number > 0, got nan"),
        (lambda: ve(1.0, 0.5), "from low > 0 up to high, got low = 1.0 and high = 0.5"),
        (lambda: DPS(SEEN, MEASURED, noise_std=0.0), "without noise take DDNM"),
        (lambda: DPS(SEEN, MEASURED, applies="state"), "got 'state'"),
        (lambda: Window(1.0, -1.0), "from low to high, got 1 to -1"),
        (lambda: Matrix(torch.zeros(2, 3), (2, 2)), r"\(2, 3\) does not act on states of 4"),
        (lambda: mixture(torch.zeros(2, 2), 1.0, torch.tensor([1.0, 1.0])), "sum to 1, got 2"),
        (lambda: Mixture(torch.zeros(2, 2), torch.zeros(2, 3, 3), torch.ones(2)), r"covariances \(2, 2, 2\)"),
        (lambda: inside(flow()).jumps(0, 1), ">= 1, got 0 and 1"),
        (lambda: inside(flow()).jumps(1, 2).reversed(), "cannot be walked backwards"),
        (lambda: Grid(flow(), torch.tensor([0.1, 0.5])), "from noisy to clean"),
        (lambda: Grid(flow(), torch.tensor([0.5])), "n >= 1, got shape"),
        (lambda: Grid(flow(), torch.tensor([0.5, 0.1]), (0, 0, 1)), "never stands still"),
        (lambda: Grid(flow(), torch.tensor([0.5, 0.1]), (1, 0)), "starts at 0"),
    ):
        with pytest.raises(ValueError, match=said):
            build()


def test_a_mixture_has_no_closed_form_under_student_noise() -> None:
    x = torch.zeros(2, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="use DataSet"):
        sample(Oracle(mixture(torch.zeros(1, 2), 1.0), STUDENT), DDIM(), inside(STUDENT), noise=PerSample.of(0, 2), x=x)
    assert isinstance(Oracle(DataSet(torch.zeros(3, 2)), STUDENT), Denoiser)


@dataclass(frozen=True)
class NeedsLaw(Guidance):
    needs = frozenset({"law"})


def test_a_guidance_that_needs_the_law_of_a_step_is_refused_in_a_solver_and_beside_a_filter() -> None:
    ask = Ask(denoiser(flow()), [NeedsLaw()], noise=PerSample.of(0, 2))
    with pytest.raises(ValueError, match="cannot act in a solver"):
        ask(X, flow().at(0.5))
    assert REMEDY["law"] in refusal(denoiser(flow()), DDIM(filter=DPMpp(2)), inside(flow()), guidance=[NeedsLaw()])
    check(denoiser(flow()), DDIM(), inside(flow()), noise=PerSample.of(0, 2), x=X, guidance=[replace(NeedsLaw())])


def test_every_name_makes_a_sampler_that_says_what_it_needs() -> None:
    for name, entry in SAMPLERS.items():
        made = named(name)
        assert made == named(name) and {"x0"} >= made.needs - {"gaussian", "true_score"}, name
        assert {"deterministic", "stochastic"} & made.gives and made.order in (0, 1, 2, 3), name
        assert entry.title and entry.what and not entry.what.endswith("."), name
    assert named("ddim", eta=1.0) == named("ddpm") == named("euler_ancestral")
    assert named("euler", coordinate="time") == Euler() and named("euler") == DDIM()


class Broken(torch.nn.Module):
    """Answers with NaN from the `first` call on."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first, self.calls = first, 0

    def forward(self, x: torch.Tensor, time: torch.Tensor, cond: object) -> torch.Tensor:
        self.calls += 1
        return x * (float("nan") if self.calls >= self.first else 0.5)


@pytest.mark.parametrize("name", ["ddim", "unipc", "dpmpp_sde", "heun", "langevin"])
@pytest.mark.parametrize("first", [1, 30])
def test_nan_from_a_network_stops_the_run_with_step_and_time(name: str, first: int) -> None:
    network = Broken(first)
    times = grid(vp("linear"), 50, "levels")
    with pytest.raises(UserError, match=r"not finite at position \d+ of 50 of the run \(t = \d") as refused:
        sample(Denoiser(network, vp("linear"), x0_head()), named(name), times, noise=PerSample.of(0, 2), x=X + 1)
    position = int(str(refused.value).split("position ")[1].split(" ")[0])
    assert position == 1 if first == 1 else position < 50
    assert f"t = {times.t[position].item()}" in str(refused.value)
