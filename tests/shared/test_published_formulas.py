"""Members of the DDIM family against the update rules of the papers, written out on their own."""

from __future__ import annotations

import math

import pytest
import torch

import shared.samplers.ddim as ddim
from shared.denoiser import Denoiser, Query, eps_head, x0_head
from shared.grid import Grid, own_times
from shared.noise import Recorded
from shared.oracle import Oracle, gaussian
from shared.process import Process, edm, mean_reverting, residual_shift, vp
from shared.run import Sampler
from shared.sample import Ask, cost, sample
from shared.samplers.ddim import DDIM, PLMS, DPMpp, kept
from shared.samplers.langevin import Langevin
from shared.samplers.single_step import SingleStep
from tests.shared.worlds import MIXTURE

B = 5
X, Z, Y, HALF = (torch.randn(B, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in range(4))


def one_step(process: Process, sampler: Sampler, t: float, s: float, y: torch.Tensor | None = None) -> torch.Tensor:
    noise = Recorded({(1, "step"): Z, (1, "half"): HALF, (1, "langevin 0"): HALF})
    return sample(Oracle(MIXTURE, process), sampler, own_times(process, [t, s]), noise=noise, x=X, y=y).x


def clean(process: Process, t: float, x: torch.Tensor = X, y: torch.Tensor | None = None) -> torch.Tensor:
    at = process.at(t)
    return MIXTURE.clean(process.shifted(x, at, y), at, process.law, {})


@pytest.mark.parametrize("level", [15, 9, 2, 1])
def test_residual_shift_fraction_is_the_resshift_posterior(level: int) -> None:
    """x_{t-1} = (eta_{t-1} / eta_t) x_t + (alpha_t / eta_t) x0 + kappa sqrt(eta_{t-1} alpha_t / eta_t) z."""
    kappa, process = 2.0, residual_shift(15, kappa=2.0)
    eta, before = process.at(float(level)).b, process.at(level - 1.0).b
    alpha = eta - before
    wanted = before / eta * X + alpha / eta * clean(process, level, y=Y) + kappa * (before * alpha / eta).sqrt() * Z
    got = one_step(process, DDIM("residual_shift"), level, level - 1, Y)
    torch.testing.assert_close(got, wanted, rtol=0, atol=2e-14)


@pytest.mark.parametrize("level", [1000, 400, 1])
def test_ancestral_fraction_is_the_ddpm_posterior(level: int) -> None:
    """mean = sqrt(bar_{t-1}) beta / (1 - bar_t) x0 + sqrt(1 - beta) (1 - bar_{t-1}) / (1 - bar_t) x_t (Ho et al.)."""
    process = vp("linear")
    bar, before = process.at(float(level)).a ** 2, process.at(level - 1.0).a ** 2
    beta = 1 - bar / before
    mean = before.sqrt() * beta / (1 - bar) * clean(process, level) + (1 - beta).sqrt() * (1 - before) / (1 - bar) * X
    wanted = mean + ((1 - before) / (1 - bar) * beta).sqrt() * Z
    torch.testing.assert_close(one_step(process, DDIM("ancestral"), level, level - 1), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("t", "s"), [(1.0, 0.8), (0.5, 0.45), (0.1, 0.02)])
def test_mean_reverting_steps_are_the_mrs_formulas(t: float, s: float) -> None:
    process = mean_reverting()
    at, to = process.at(t), process.at(s)
    a0, a1, s0, s1 = at.a, to.a, at.sigma, to.sigma
    h = to.log_snr - at.log_snr
    x0 = clean(process, t, y=Y)
    p1 = torch.expm1(-h)
    ode = s1 / s0 * X + Y * (1 - s1 / s0 + s1 * a0 / s0 - a1) - a1 * p1 * x0
    torch.testing.assert_close(one_step(process, DDIM(filter=DPMpp(1)), t, s, Y), ode, rtol=0, atol=1e-12)
    big, c = -torch.expm1(-2 * h), a1 / a0 * torch.exp(-2 * h)
    sde = c * X + Y * (1 - c - a1 * big) + a1 * big * x0 + s1 * big.sqrt() * Z
    torch.testing.assert_close(one_step(process, DDIM("ancestral", DPMpp(1)), t, s, Y), sde, rtol=0, atol=1e-12)


def test_second_order_filter_is_the_midpoint_formula() -> None:
    """D = m0 + (m0 - m1) / (2 r), r = h_before / h, on uneven steps."""
    process, times = vp("angle"), [0.9, 0.7, 0.45]
    denoiser = Oracle(MIXTURE, process)
    got = sample(denoiser, DDIM(filter=DPMpp(2)), own_times(process, times), noise=Recorded({}), x=X).x
    first, middle, last = (process.at(t) for t in times)
    m1 = clean(process, 0.9)
    x = middle.sigma / first.sigma * X + (middle.a - middle.sigma / first.sigma * first.a) * m1
    m0 = clean(process, 0.7, x)
    r = (middle.log_snr - first.log_snr) / (last.log_snr - middle.log_snr)
    D = m0 + (m0 - m1) / (2 * r)
    wanted = last.sigma / middle.sigma * x + (last.a - last.sigma / middle.sigma * middle.a) * D
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)


def test_plms_has_adams_bashforth_weights_on_even_steps() -> None:
    """On an even grid in sigma / a: 3/2, -1/2 and 55, -59, 37, -9 over 24."""
    at = [torch.tensor(float(v), dtype=torch.float64) for v in (1.0, 1.1, 1.2, 1.3)]
    for count, wanted in ((2, [1.5, -0.5]), (4, [55 / 24, -59 / 24, 37 / 24, -9 / 24])):
        weights = [float(w) for w in ddim._adams(at[:count], torch.tensor(0.9, dtype=torch.float64))]
        assert weights == pytest.approx(wanted, abs=1e-12)
    assert PLMS(1).order == 1 and PLMS(4).order == 2


def test_plms_integrates_polynomials_exactly_on_uneven_steps() -> None:
    nodes, to = torch.tensor([1.0, 1.3, 1.4, 2.0], dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64)
    for count in (2, 3, 4):
        weights = torch.stack(ddim._adams(list(nodes[:count]), to))
        for power in range(count):
            mean = (to ** (power + 1) - nodes[0] ** (power + 1)) / ((power + 1) * (to - nodes[0]))
            torch.testing.assert_close((weights * nodes[:count] ** power).sum(), mean)


@pytest.mark.parametrize(("length", "repeats", "calls"), [(1, 1, 300), (2, 2, 598), (5, 5, 1480), (10, 10, 2910)])
def test_jump_routes_cost_what_the_paper_counts(length: int, repeats: int, calls: int) -> None:
    process = vp("cosine", 300)
    grid = Grid(process, torch.arange(300, -1, -1)).jumps(length, repeats)
    denoiser = Denoiser(torch.nn.Identity(), process, eps_head())
    assert cost(denoiser, DDIM("ancestral"), grid).calls == calls == grid.steps
    assert min(grid.route) == 0 and grid.route[-1] == 300 and max(grid.route) == 300
    back = [j - i for i, j in zip(grid.route, grid.route[1:], strict=False) if j < i]
    assert set(back) <= {-length} and all(
        j - i in (1, -length) for i, j in zip(grid.route, grid.route[1:], strict=False)
    )


def test_constant_prediction_is_integrated_exactly_by_any_number_of_steps() -> None:
    """Orders 1 and 2 both carry a constant x0 to a x0 + b y + sigma eps without error."""

    class Constant(torch.nn.Module):
        def forward(self, x: torch.Tensor, time: torch.Tensor, cond: object) -> torch.Tensor:
            return torch.full_like(x, 0.3)

    process = mean_reverting()
    denoiser = Denoiser(Constant(), process, x0_head())
    eps = process.split(X, torch.full_like(X, 0.3), process.at(0.9), Y)
    wanted = process.join(torch.full_like(X, 0.3), eps, process.at(0.1), Y)
    for sampler in (DDIM(), DDIM(filter=DPMpp(2)), DDIM(filter=PLMS(4))):
        for steps in (1, 7):
            grid = own_times(process, torch.linspace(0.9, 0.1, steps + 1, dtype=torch.float64))
            got = sample(denoiser, sampler, grid, noise=Recorded({}), x=X, y=Y).x
            torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_eta_is_that_of_ddim_and_of_euler_ancestral(eta: float) -> None:
    """Song et al. 2021, eq. 16 on a VP process; k-diffusion's sigma_up and sigma_down on a VE one."""
    process = vp("linear")
    t, s = process.at(600.0), process.at(550.0)
    bar, before, x0 = t.a**2, s.a**2, clean(process, 600.0)
    std = eta * ((1 - before) / (1 - bar) * (1 - bar / before)).sqrt()
    wanted = before.sqrt() * x0 + (1 - before - std**2).sqrt() * (X - bar.sqrt() * x0) / (1 - bar).sqrt() + std * Z
    got = one_step(process, DDIM("ancestral", eta=eta), 600.0, 550.0)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)

    high, low = 3.0, 1.7
    up = min(low, eta * (low**2 * (high**2 - low**2) / high**2) ** 0.5)
    down = (low**2 - up**2) ** 0.5
    wanted = X + (X - clean(edm(), high)) / high * (down - high) + up * Z
    got = one_step(edm(), DDIM("ancestral", eta=eta), high, low)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("noisy", [False, True], ids=["3M", "3M SDE"])
def test_third_order_filter_is_the_published_formula(noisy: bool) -> None:
    """Lu et al. 2022 (3M) and k-diffusion's 3M SDE on uneven steps, H = h or 2 h."""
    process, times = vp("angle"), (0.9, 0.7, 0.45, 0.3)
    a, b, c, s = (process.at(t) for t in times)
    m2, m1, m0 = (clean(process, t, X + i) for i, t in enumerate(times[:3]))
    sampler = DDIM("ancestral" if noisy else 0.0, DPMpp(3))
    law = sampler.law(c, s, own_times(process, times), {})
    pred = Oracle(MIXTURE, process).predict(X + 2, c, {"main": Query(None)})["main"]
    used, new = DPMpp(3)(pred, c, s, kept(2, x0=[m1, m2], log_snr=[b.log_snr, a.log_snr]), law)
    torch.testing.assert_close(pred.x0, m0)
    h = s.log_snr - c.log_snr
    r0, r1 = (c.log_snr - b.log_snr) / h, (b.log_snr - a.log_snr) / h
    d0, d1 = (m0 - m1) / r0, (m1 - m2) / r1
    first, second = d0 + (d0 - d1) * r0 / (r0 + r1), (d0 - d1) / (r0 + r1)
    H = 2 * h if noisy else h
    p2 = torch.expm1(-H) / H + 1
    wanted = -torch.expm1(-H) * m0 + p2 * first - (p2 / H - 0.5) * second  # times a_s, the change of x
    torch.testing.assert_close(law.k_x0 / s.a * used.x0, wanted, rtol=0, atol=1e-11)
    assert sorted(new) == ["log_snr 0", "log_snr 1", "x0 0", "x0 1"]


@pytest.mark.parametrize("rows", [False, True], ids=["numbers", "rows"])
def test_third_order_stands_steps_whose_exponential_rounds_away(rows: bool) -> None:
    """exp(-2 h) is 0 beside 1 from h = 18.4 on: the weights go on as with p2 = 1 - 1 / H, p3 = p2 / H - 1/2."""

    h = 18.8
    process, ends = edm(1e12), [4.0 * math.exp(h), 3.0 * math.exp(h), math.exp(h), 1.0]
    t = torch.tensor(ends, dtype=torch.float64)
    points = own_times(process, t[:, None].expand(4, 2) if rows else t).points
    law = DDIM("ancestral").law(points[2], points[3], own_times(process, ends[-2:]), {})
    assert law.k_x0.max().item() == 1.0, "the exponential is still seen"
    found = ddim._extrapolated([p.log_snr for p in points[2::-1]], points[3], law)
    weights = torch.stack([torch.as_tensor(w, dtype=torch.float64).reshape(-1)[0] for w in found])
    r0, r1 = math.log(3) / h, math.log(4 / 3) / h
    p2 = 1 - 1 / (2 * h)
    bend = (p2 * r0 - (p2 / (2 * h) - 0.5)) / (r0 + r1)
    newer, older = (p2 + bend) / r0, -bend / r1
    wanted = torch.tensor([1 + newer, older - newer, -older], dtype=torch.float64)
    torch.testing.assert_close(weights, wanted, rtol=5e-3, atol=0)


def test_single_steps_are_those_of_k_diffusion() -> None:
    """DPM++ SDE (eta 1, r 1/2) and DPM-Solver++ 2S on a VE process."""
    high, low = torch.tensor(3.0, dtype=torch.float64), torch.tensor(1.7, dtype=torch.float64)
    middle = (high * low).sqrt()
    x0 = clean(edm(), 3.0)

    def down(to: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        up = (to**2 * (high**2 - to**2) / high**2).sqrt()
        return (to**2 - up**2).sqrt(), up

    clocks = {"snr": lambda v: 1 / v**2, "sigma": lambda v: v}  # of the path; k-diffusion's tree runs in sigma
    for clock, r in clocks.items():
        part = (r(middle) - r(high)) / (r(low) - r(high))
        sd, su = down(middle)
        x_2 = sd / high * X - (sd / high - 1) * x0 + su * (part.sqrt() * Z + (1 - part).sqrt() * HALF)
        x0_2 = clean(edm(), middle.item(), x_2)
        sd, su = down(low)
        wanted = sd / high * X - (sd / high - 1) * x0_2 + su * Z
        got = one_step(edm(), SingleStep("ancestral", clock), high.item(), low.item())
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-11)
    x0_2 = clean(edm(), middle.item(), middle / high * X + (1 - middle / high) * x0)
    wanted = low / high * X + (1 - low / high) * x0_2
    torch.testing.assert_close(one_step(edm(), SingleStep(), high.item(), low.item()), wanted, rtol=0, atol=1e-11)


def test_langevin_corrections_are_those_of_song() -> None:
    """x + e score + sqrt(2 e) z with e = 2 (snr |z| / |score|)^2, then the predictor."""
    process, t, s, snr = vp("angle"), 0.6, 0.5, 0.16
    at = process.at(t)
    score = (at.a * clean(process, t) - X) / at.sigma**2
    norms = 2 * (snr * HALF.norm(dim=1, keepdim=True) / score.norm(dim=1, keepdim=True)) ** 2
    for rule, e in (("norms", norms), ("level", 2 * (snr * at.sigma) ** 2)):
        walked = X + e * score + (2 * e).sqrt() * HALF
        noise = Recorded({(1, "step"): Z})
        grid = own_times(process, [t, s])
        wanted = sample(Oracle(MIXTURE, process), DDIM("ancestral"), grid, noise=noise, x=walked).x
        got = one_step(process, Langevin(snr, rule=rule), t, s)
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)


def test_in_many_dimensions_both_rules_of_langevin_walk_alike() -> None:
    process = vp("angle")
    at, rows, size = process.at(0.3), 64, 300
    truth = gaussian(torch.zeros(size), torch.diag(torch.cat([torch.ones(4), torch.full((size - 4,), 1e-6)])))
    denoiser = Oracle(truth, process)
    eps = torch.randn(rows, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = process.join(truth.draw(rows, 1), eps, at)
    pred = Ask(denoiser, noise=Recorded({}))(x, at).guided
    z = torch.randn(rows, size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    published = (z.norm(dim=1) / pred.score.norm(dim=1)).mean()
    assert abs(published / at.sigma - 1) < 0.02
