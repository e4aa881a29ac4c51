"""The checks of the composition matrix: functions of a world and a sampler that raise AssertionError.

`test_matrix.py` runs them over every combination; `test_mutants.py` plants bugs and expects them to fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from shared.denoiser import Cond, Denoiser, Head, Query, pair_head, x0_head
from shared.grid import Grid
from shared.noise import Noise
from shared.oracle import ANY, Mixture, Truth, gaussian
from shared.process import Gaussian, Point, StudentT
from shared.run import Guidance, Sampler
from shared.samplers.ddim import DDIM, DPMpp
from shared.samplers.euler import Euler
from shared.samplers.heun import Heun
from shared.samplers.unipc import UniPC
from shared.testing import check_order, check_same_law, exact_law, fitted_order, sample
from tests.shared.worlds import GAUSSIAN, MATRIX, MEASURED, World, guides

# Rows of a law test, steps by order, and the bound as a multiple of the sampling noise: the largest distance of three
# pairs of exact samples of that size. A right sampler measures 0.4 to 1.1.
ROWS, STEPS, MULTIPLE = 1000, {0: 60, 1: 160, 2: 50, 3: 40}, 1.5
# Order is fitted on these numbers of steps, between the log-SNR below: away from the ends, where every process and
# coordinate is smooth, and from a start at which the first step is not free of error.
HALVINGS, WEAK_HALVINGS = (16, 32, 64, 128, 256), (8, 16, 32, 64, 128)
LATE_HALVINGS = (32, 64, 128, 256, 512)  # of order 3, whose error of order 4 is still seen at 16 steps
ORDER_NOISY, ORDER_CLEAN = -1.0, 2.0


def eye(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.float64)


def order_grid(world: World, steps: int) -> Grid:
    """Equal steps of log-SNR from ORDER_NOISY to ORDER_CLEAN."""
    return World(world.process, ORDER_NOISY).grid(steps, clean=ORDER_CLEAN, to_the_end=False)


# ------------------------------------------------------------------------------------------------------ the exact law


def check_law(
    world: World, sampler: Sampler, *, label: int | None = None, guidance: tuple[Guidance, ...] = ()
) -> float:
    """The samples are as near to the exact (conditional) law as exact samples are to each other."""
    grid = world.grid(STEPS[sampler.order])
    case = world.case(sampler, grid, ROWS, label=label, guidance=guidance, bulk=True)
    wanted = ANY if label is None else label
    return check_same_law(case.sample().x, lambda rows, seed: drawn(world.truth, rows, seed, wanted), MULTIPLE)


@cache
def drawn(truth: Truth, rows: int, seed: int, label: int) -> Tensor:
    """Exact samples, drawn once."""
    return truth.draw(rows, seed, label)


# -------------------------------------------------------------------------------------------------------------- order


def flow_map(world: World, grid: Grid, x: Tensor) -> Tensor:
    """Where the probability-flow ODE of the Gaussian world takes x, in closed form:

    u_s = a_s m + V sqrt((a_s^2 L + sigma_s^2) / (a_t^2 L + sigma_t^2)) V^T (u_t - a_t m),  C = V L V^T.
    """
    t, s, y = grid.points[0], grid.points[-1], world.ends(len(x))
    values, vectors = torch.linalg.eigh(GAUSSIAN.covariances[0])
    mean = GAUSSIAN.means[0]
    ratio = ((s.a**2 * values + s.sigma**2) / (t.a**2 * values + t.sigma**2)).sqrt()
    u = x - (0 if y is None else t.b * y) - t.a * mean
    return s.a * mean + (u @ vectors * ratio) @ vectors.T + (0 if y is None else s.b * y)


def check_deterministic_order(world: World, sampler: Sampler) -> float:
    """The error against the closed-form flow of a Gaussian falls with the declared order."""

    def error(steps: int) -> float:
        grid = order_grid(world, steps)
        case = world.case(sampler, grid, 8, truth=GAUSSIAN)
        return (case.sample().x - flow_map(world, grid, case.x)).norm().item()

    return check_order(error, sampler.order, LATE_HALVINGS if sampler.order == 3 else HALVINGS)


def marginal(world: World, at: Point, truth: Mixture = GAUSSIAN) -> tuple[Tensor, Tensor]:
    """Exact mean and covariance of x_t for a Gaussian truth."""
    mean = at.a * truth.means[0] + (at.b * world.y[0] if world.y is not None else 0)
    return mean, at.a**2 * truth.covariances[0] + at.sigma**2 * eye(2)


def ended(
    world: World,
    sampler: Sampler,
    grid: Grid,
    mean: Tensor,
    covariance: Tensor,
    *,
    truth: object = GAUSSIAN,
    label: int | None = None,
    guidance: tuple[Guidance, ...] = (),
) -> tuple[Tensor, Tensor]:
    """Exact mean and covariance at the end of a run on a Gaussian world, from a start with the given ones."""
    denoiser = world.case(sampler, grid, 1, truth=truth).denoiser

    def run(noise: Noise, x: Tensor) -> Tensor:
        cond = None if label is None else {"label": torch.full((len(x),), label)}
        y = world.ends(len(x))
        return sample(denoiser, sampler, grid, noise=noise, x=x, cond=cond, y=y, guidance=guidance).x

    return exact_law(run, mean, covariance)


def check_weak_order(world: World, sampler: Sampler) -> float:
    """The covariance of a Gaussian converges to the exact one with the declared weak order; its mean is exact."""

    def error(steps: int) -> float:
        grid = order_grid(world, steps)
        wanted = marginal(world, grid.points[-1])
        got = ended(world, sampler, grid, *marginal(world, grid.points[0]))
        assert (got[0] - wanted[0]).norm() < 1e-10, "the mean of a Gaussian moves away from the exact one"
        return (got[1] - wanted[1]).norm().item()

    return check_order(error, sampler.order, WEAK_HALVINGS)


def check_reversal(world: World, sampler: Sampler) -> float:
    """From one start, mean and covariance converge to p(x_s | x_t) of the forward process: the true time reversal.

    With S = cov(u_s), T = cov(u_t) and cov(u_s, u_t) = (a_t / a_s) S:  mean = a_s m + K (u_t - a_t m), K = cov T^-1,
    covariance = S - K cov^T.
    """
    x = torch.tensor([1.3, -0.9], dtype=torch.float64)

    def error(steps: int) -> float:
        grid = order_grid(world, steps)
        t, s = grid.points[0], grid.points[-1]
        (mean_t, cov_t), (mean_s, cov_s) = marginal(world, t), marginal(world, s)
        cross = t.a / s.a * cov_s
        gain = cross @ torch.linalg.inv(cov_t)
        mean, covariance = ended(world, sampler, grid, x, torch.zeros(2, 2, dtype=torch.float64))
        off = (mean - mean_s - gain @ (x - mean_t)).norm() + (covariance - cov_s + gain @ cross.T).norm()
        return off.item()

    return check_order(error, sampler.order, WEAK_HALVINGS)


def check_constant_fraction(world: World, fraction: float) -> None:
    """A constant injected fraction does to a Gaussian exactly what its formula says (it has no law to converge to).

    u_s = a_s D + sigma_s (sqrt(1 - f) E + sqrt(f) z), D = m + G (u - a m), E = (u - a D) / sigma, all linear in u.
    """
    grid = order_grid(world, 12)
    truth = GAUSSIAN
    mean, covariance = marginal(world, grid.points[0])
    u, start = mean - (grid.points[0].b * world.y[0] if world.y is not None else 0), covariance
    for t, s in zip(grid.points, grid.points[1:], strict=False):
        gain = t.a * truth.covariances[0] @ torch.linalg.inv(t.a**2 * truth.covariances[0] + t.sigma**2 * eye(2))
        linear = s.a * gain + s.sigma * (1 - fraction) ** 0.5 * (eye(2) - t.a * gain) / t.sigma
        u = s.a * truth.means[0] + linear @ (u - t.a * truth.means[0])
        covariance = linear @ covariance @ linear.T + fraction * s.sigma**2 * eye(2)
    end = u + (grid.points[-1].b * world.y[0] if world.y is not None else 0)
    got = ended(world, DDIM(fraction), grid, mean, start)
    assert (got[0] - end).norm() < 1e-10, "the mean differs from the formula's"
    assert (got[1] - covariance).norm() < 1e-10, "the covariance differs from the formula's"


# -------------------------------------------------------------------------------------------------------------- heads


def check_heads(world: World, sampler: Sampler, heads: Mapping[str, Head]) -> None:
    """Every head gives the trajectory of the x0 head, to 1e-10, where a and sigma are at least 1e-3."""
    grid = world.grid(16, to_the_end=False)
    assert all(bool((p.a >= 1e-3) & (p.sigma >= 1e-3)) for p in grid.points)

    def trajectory(head: Head) -> Tensor:
        states: list[Tensor] = []
        world_case = world.case(sampler, grid, 4, head=head)
        world_case.sample(observers=[lambda state, step, tr: states.append(state.x)])
        return torch.stack(states)

    wanted = trajectory(x0_head())
    if sampler in (Heun("time"), Euler()) and isinstance(world.process.law, Gaussian):
        heads = {**heads, "pair": pair_head()}
    for name, head in heads.items():
        off = ((trajectory(head) - wanted).abs().max() / wanted.abs().max()).item()
        assert off <= 1e-10, f"the {name} head ends {off:.2g} (relative) away from the x0 head"


def check_head_meaning(world: World, name: str, head: Head) -> None:
    """Where the network says what the name of its head promises, the clean value is read right."""
    at = world.process.at(world.process.ends[1] * torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64))
    x0, eps, y = torch.randn(3, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    known = None if world.process.b is None else y
    x = world.process.join(x0, eps, at, known)
    a, sigma, da, db, dsigma = (value[:, None] for value in (at.a, at.sigma, at.da, at.db, at.dsigma))
    snr = (sigma / a) ** 2
    said = {
        "x0": x0,
        "eps": eps,
        "v": a * eps - sigma * x0,
        "velocity": da * x0 + db * y + dsigma * eps,
        "edm": ((snr + 0.25) * x0 - 0.25 * (x0 + sigma / a * eps)) / (0.5 * (snr * (snr + 0.25)).sqrt()),
        "residual": y - x0,
    }[name]

    class Says(torch.nn.Module):
        def forward(self, x_in: Tensor, time: Tensor, cond: Cond) -> Tensor:
            return said

    pred = Denoiser(Says(), world.process, head).predict(x, at, {"main": Query(None)}, known)["main"]
    torch.testing.assert_close(pred.x0, x0, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(pred.velocity, da * x0 + dsigma * eps + (0 if known is None else db * y))


# --------------------------------------------------------------------------------------------- guided, without a law


UNCONDITIONAL = gaussian(torch.tensor([-0.3, 0.5]), torch.tensor([[1.2, -0.2], [-0.2, 0.9]]))


class TwoLaws:
    """One Gaussian with a label and another without: classifier-free guidance between them is linear."""

    def clean(self, u: Tensor, at: Point, law: Gaussian | StudentT, cond: Cond) -> Tensor:
        inside, outside = (truth.clean(u, at, law, {}) for truth in (GAUSSIAN, UNCONDITIONAL))
        return torch.where(cond["label"].reshape(-1, 1) == ANY, outside, inside)

    def draw(self, rows: int, seed: int, label: int = ANY) -> Tensor:
        return GAUSSIAN.draw(rows, seed)


FINE = 256


@cache
def _guided_reference(world: World, guide: str) -> Tensor:
    return _guided(world, DDIM(filter=UniPC(2)), guide, FINE)


def _guided(world: World, sampler: Sampler, guide: str, steps: int) -> Tensor:
    label = 1 if guide == "cfg" else None
    return world.case(sampler, order_grid(world, steps), 8, label=label, guidance=guides()[guide]).sample().x


def check_guided_converges(world: World, sampler: Sampler, guide: str) -> None:
    """Refined, a deterministic run through a guided field comes to where a dense grid comes, at the declared order."""
    wanted = _guided_reference(world, guide)
    steps = (32, 64, 128) if sampler.order == 3 else (16, 32, 64)
    errors = [(_guided(world, sampler, guide, n) - wanted).norm().item() for n in steps]
    order = fitted_order(steps, errors)
    assert order > sampler.order - 0.35, f"order {order:.2f} under {guide}, declared {sampler.order}: {errors}"


@cache
def _guided_law(world: World, sampler: Sampler, guide: str, steps: int) -> tuple[Tensor, Tensor]:
    grid = order_grid(world, steps)
    start = marginal(world, grid.points[0])
    cfg = guide == "cfg"
    truth = TwoLaws() if cfg else GAUSSIAN
    return ended(world, sampler, grid, *start, truth=truth, label=0 if cfg else None, guidance=guides()[guide])


def check_guided_law_converges(world: World, sampler: Sampler, guide: str) -> None:
    """The same for a stochastic sampler: mean and covariance of a linear guided field, exactly, against a dense grid.

    The reference takes 256 second-order steps where the sampler is ancestral, else 256 of its own.
    """
    finer = sampler
    if isinstance(sampler, DDIM) and sampler.fraction == "ancestral":
        finer = replace(sampler, filter=DPMpp(2))
    fine = _guided_law(world, finer, guide, FINE)
    steps = (16, 32, 64)
    errors = []
    for n in steps:
        mean, covariance = _guided_law(world, sampler, guide, n)
        errors.append(((mean - fine[0]).norm() + (covariance - fine[1]).norm()).item())
    order = fitted_order(steps, errors)
    assert order > sampler.order - 0.35, f"order {order:.2f} under {guide}, declared {sampler.order}: {errors}"


def check_projection(world: World, sampler: Sampler) -> float:
    """Under DDNM every sample measures exactly what was asked; returns the mean error in the null space."""
    case = world.case(sampler, world.grid(16), 64, guidance=guides()["ddnm"], bulk=True)
    x = case.sample().x
    off = (x @ MATRIX.T - MEASURED).abs().max().item()
    assert off <= 1e-6, f"the measurement is missed by {off:.3g}"
    assert bool(torch.isfinite(x).all())
    null = torch.tensor([[0.5], [-1.0]], dtype=torch.float64) / 1.25**0.5  # MATRIX null = 0
    exact = world.truth.draw(2000, 5) if world.student else world.truth.posterior(MATRIX, MEASURED[0], 1e-3).mean[None]  # type: ignore[attr-defined]
    return ((x @ null).mean() - (exact @ null).mean()).item()
