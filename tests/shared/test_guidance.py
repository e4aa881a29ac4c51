"""Classifier-free guidance, DPS, DDNM and the known region do what their formulas say, and meet exact answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from shared.denoiser import Query
from shared.grid import own_times
from shared.guidance.classifier_free import ClassifierFree
from shared.guidance.known_region import KnownRegion
from shared.guidance.posterior import DDNM, DPS
from shared.guidance.window import Window
from shared.noise import Noise, PerSample
from shared.operators import Mask, Matrix
from shared.oracle import Oracle, gaussian
from shared.process import flow, vp
from shared.run import Guidance
from shared.sample import Ask, sample
from shared.samplers.ddim import DDIM, DPMpp
from shared.testing import exact_law, spent
from tests.shared.worlds import GAUSSIAN, MATRIX, MEASURED, MIXTURE, WORLDS, World, label_of, posterior

X = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
REVERTING = WORLDS[6]
CFG_LABEL = {"label": torch.ones(6, dtype=torch.long)}


def guided(world: World, guidance: Guidance, t: float, cond: dict[str, Tensor] | None = None) -> Tensor:
    ask = Ask(Oracle(MIXTURE, world.process), [guidance], cond, world.ends(6), noise=PerSample.of(0, 6))
    return ask(X, world.process.at(t)).guided.x0


worlds = pytest.mark.parametrize("world", [WORLDS[2], WORLDS[5], WORLDS[6]], ids=label_of)


@worlds
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 4.0])
def test_classifier_free_guidance_extrapolates_from_the_unconditional(world: World, weight: float) -> None:
    at = world.process.at(0.4)
    said = Oracle(MIXTURE, world.process).predict(X, at, {"cond": Query(CFG_LABEL), "null": Query(None)}, world.ends(6))
    wanted = said["null"].x0 + weight * (said["cond"].x0 - said["null"].x0)
    torch.testing.assert_close(guided(world, ClassifierFree(weight), 0.4, CFG_LABEL), wanted, rtol=0, atol=1e-13)


@worlds
def test_dps_moves_the_score_by_the_gradient_of_the_likelihood(world: World) -> None:
    """x0 - (sigma^2 / a) d/dx |y - A E[x0|x]|^2 / (2 std^2), the gradient by finite differences."""
    at, std, strength = world.process.at(0.4), 0.7, 1.3
    oracle = Oracle(MIXTURE, world.process)

    def clean(x: Tensor) -> Tensor:
        return oracle.predict(x, at, {"main": Query(None)}, world.ends(6))["main"].x0

    def misfit(x: Tensor) -> Tensor:
        return strength * (MEASURED - clean(x) @ MATRIX.T).square().sum(1) / (2 * std**2)

    h = 1e-5
    steps = h * torch.eye(2, dtype=torch.float64)
    gradient = torch.stack([(misfit(X + e) - misfit(X - e)) / (2 * h) for e in steps], 1)
    wanted = clean(X) - at.sigma**2 / at.a * gradient
    got = guided(world, DPS(Matrix(MATRIX), MEASURED, strength, std), 0.4)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-7)


def test_classic_dps_pulls_each_row_by_its_own_normalised_gradient() -> None:
    world, guidance = WORLDS[5], DPS(Matrix(MATRIX), MEASURED, 0.2, applies="step")
    grid = own_times(world.process, [0.6, 0.5])
    plain = world.case(DDIM(), grid, 6)
    moved = replace(plain, guidance=(guidance,)).sample().x - plain.sample().x
    x = plain.x.clone().requires_grad_()
    x0 = plain.denoiser.predict(x, grid.points[0], {"main": Query(None)})["main"].x0
    (wanted,) = torch.autograd.grad((MEASURED - x0 @ MATRIX.T).norm(dim=1).sum(), x)
    torch.testing.assert_close(moved, -0.2 * wanted, rtol=0, atol=1e-12)


def test_dps_with_the_likelihood_of_a_gaussian_comes_near_its_posterior() -> None:
    """No law is promised: the distance to p(x0 | y) is reported, and it is nearer than the prior in mean."""
    world, wanted = WORLDS[2], posterior()
    case = world.case(DDIM("ancestral"), world.grid(100), 2000, guidance=(DPS(Matrix(MATRIX), MEASURED),), bulk=True)
    x = case.sample().x
    off, before = (x.mean(0) - wanted.mean).norm().item(), (MIXTURE.mean - wanted.mean).norm().item()
    assert off < 0.5 * before, f"the mean is {off:.3f} from the posterior's, the prior's is {before:.3f} away"


def test_a_window_decides_where_guidance_acts_and_is_paid() -> None:
    world = WORLDS[5]
    grid = world.grid(10)
    window = Window(-1.0, 1.0)
    case = world.case(DDIM(), grid, 2, label=1, guidance=(ClassifierFree(3.0, window),))
    inside = sum(-1 <= point.log_snr <= 1 for point in grid.points[:-1])
    assert 0 < inside < 10 and spent(case).calls == 10 + inside
    rows = torch.tensor([0.9, 0.5])  # one row outside the window, one inside
    ask = Ask(case.denoiser, case.guidance, {"label": torch.tensor([1, 1])}, noise=PerSample.of(0, 2))
    both = ask(X[:2], flow().at(rows)).guided.x0
    plain = Ask(case.denoiser, (), {"label": torch.tensor([1, 1])}, noise=PerSample.of(0, 2))
    unguided = plain(X[:2], flow().at(rows)).guided.x0
    assert torch.equal(both[0], unguided[0]) and not torch.equal(both[1], unguided[1])


def test_dps_rests_where_the_state_says_nothing() -> None:
    start = own_times(flow(), [1.0, 0.5, 0.0])
    case = WORLDS[5].case(DDIM(), start, 3, guidance=(DPS(Matrix(MATRIX), MEASURED),))
    assert bool(torch.isfinite(case.sample().x).all()) and spent(case).backprops == 1


def test_soft_projection_goes_part_of_the_way() -> None:
    operator = Matrix(MATRIX)
    plain = guided(WORLDS[5], DDNM(operator, MEASURED, 0.0), 0.4)
    half = guided(WORLDS[5], DDNM(operator, MEASURED, 0.5), 0.4)
    left = (MEASURED - operator.forward(half)) / (MEASURED - operator.forward(plain))
    torch.testing.assert_close(left, torch.full_like(left, 0.5))
    null = torch.tensor([[0.5], [-1.0]], dtype=torch.float64)
    torch.testing.assert_close(half @ null, plain @ null)


def test_projections_come_after_other_corrections() -> None:
    """In the list before or after: the measurement holds at the end."""

    class Shrink(Guidance):
        def correct(self, pred, step, own):
            return pred.with_x0(0.5 * pred.x0)

    for guidance in ([DDNM(Matrix(MATRIX), MEASURED), Shrink()], [Shrink(), DDNM(Matrix(MATRIX), MEASURED)]):
        case = WORLDS[5].case(DDIM(), WORLDS[5].grid(6), 4, guidance=tuple(guidance))
        assert (case.sample().x @ MATRIX.T - MEASURED).abs().max() < 1e-12


def test_energies_of_one_run_share_their_back_propagation() -> None:
    one = (DPS(Matrix(MATRIX), MEASURED),)
    two = (*one, DPS(Mask(torch.tensor([True, False])), torch.zeros(1, 2, dtype=torch.float64)))
    grid = WORLDS[5].grid(5)
    assert spent(WORLDS[5].case(DDIM(), grid, 2, guidance=one)).backprops == 5
    assert spent(WORLDS[5].case(DDIM(), grid, 2, guidance=two)).backprops == 5


# ------------------------------------------------------------------------------------------------------- known region


def bias(size: int, repeats: int, steps: int = 30, value: float = 1.2) -> float:
    """Relative error of mean and covariance of the unknown half, against the exact conditional of a Gaussian."""
    half = size // 2
    distance = (torch.arange(size)[:, None] - torch.arange(size)).abs().double()
    covariance = 0.9**distance
    truth, known = gaussian(torch.zeros(size), covariance), torch.full((1, size), value, dtype=torch.float64)
    where = torch.arange(size) < half
    process = vp("cosine", steps)
    grid = own_times(process, torch.arange(steps, -1, -1)).jumps(steps // 10, repeats)
    first = grid.points[0]
    oracle = Oracle(truth, process)

    def run(noise: Noise, x: Tensor) -> Tensor:
        return sample(oracle, DDIM("ancestral"), grid, noise=noise, x=x, guidance=[KnownRegion(known, where)]).x

    start = first.a**2 * covariance + first.sigma**2 * torch.eye(size, dtype=torch.float64)
    mean, spread = exact_law(run, torch.zeros(size, dtype=torch.float64), start)
    gain = covariance[half:, :half] @ torch.linalg.inv(covariance[:half, :half])
    wanted_mean = gain @ known[0, :half]
    wanted = covariance[half:, half:] - gain @ covariance[:half, half:]
    off = (mean[half:] - wanted_mean).norm() / wanted_mean.norm()
    return (off + (spread[half:, half:] - wanted).norm() / wanted.norm()).item()


@pytest.mark.parametrize("size", [2, 16])
def test_known_region_comes_nearer_to_the_exact_conditional_with_repeats(size: int) -> None:
    once, some, many = (bias(size, repeats) for repeats in (1, 3, 10))
    assert once > 0.1, f"without jumps the conditional is visibly biased; measured {once:.3f}"
    assert some < 0.8 * once and many < 0.5 * once, f"1, 3 and 10 repeats: {once:.3f}, {some:.3f}, {many:.3f}"


def test_the_known_region_lies_at_the_noise_level_of_its_state() -> None:
    world, value = REVERTING, 0.8
    known, grid = torch.full((1, 2), value, dtype=torch.float64), REVERTING.grid(8).jumps(2, 2)
    oracle, guide = Oracle(GAUSSIAN, world.process), [KnownRegion(known, torch.tensor([True, False]))]
    for k in (0, 3, grid.route.index(7), len(grid.route) - 1):
        at = grid.points[grid.route[k]]

        def run(noise: Noise, x: Tensor, k: int = k) -> Tensor:
            y = world.ends(len(x))
            return sample(oracle, DDIM("ancestral"), grid, noise=noise, x=x, y=y, guidance=guide, stop=k).x

        mean, covariance = exact_law(run, torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
        assert world.y is not None
        torch.testing.assert_close(mean[0], at.a * value + at.b * world.y[0, 0], rtol=0, atol=1e-12)
        torch.testing.assert_close(covariance[0, 0], at.sigma**2, rtol=0, atol=1e-12)


def test_what_repeats_leave_is_the_error_of_the_steps() -> None:
    coarse, fine = bias(2, 10), bias(2, 10, steps=60)
    assert fine < 0.75 * coarse, f"30 and 60 steps leave {coarse:.3f} and {fine:.3f}"


def test_ancestral_mean_of_the_known_region_is_linear_in_the_value() -> None:
    """The probe behind the bias assumes it."""
    case = WORLDS[2].case(DDIM("ancestral", DPMpp(1)), WORLDS[2].grid(8), 1, truth=GAUSSIAN)
    ends = []
    for value in (0.0, 1.0, 2.0):
        known = torch.full((1, 2), value, dtype=torch.float64)
        guidance = (KnownRegion(known, torch.tensor([True, False])),)
        ends.append(replace(case, guidance=guidance, noise=PerSample.of(4, 1)).sample().x)
    torch.testing.assert_close(ends[2] - ends[1], ends[1] - ends[0], rtol=0, atol=1e-12)
