"""What a sampler, a guidance or a noise must keep, as functions that raise AssertionError; and how laws are compared.

    case = Case(oracle, DDIM("ancestral"), grid, x, noise=PerSample.of(0, len(x)))
    check_sampler(case)                                          the whole contract of a sampler
    check_guidance(case, neutral=DPS(A, y, strength=0))          ... and of the guidances in case.guidance
    check_same_law(case.sample().x, truth.draw)                  samples against exact samples

Written for anyone who adds a part of their own; the project's own tests call the same functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from shared.denoiser import Cond, Denoiser
from shared.grid import Grid
from shared.noise import Noise, PerSample
from shared.process import Point, lin
from shared.run import Guidance, Law, Own, RunState, Sampler, Step, Transition
from shared.sample import Ask, Cost, cost, sample

# ------------------------------------------------------------------------------------------------------ comparing laws


def sliced_wasserstein(a: Tensor, b: Tensor, directions: int = 32, seed: int = 0) -> float:
    """Mean over random directions of the 1-Wasserstein distance of the projections, a and b (rows, N).

    Distance 1, not 2: between samples of a mixture it falls like rows^-1/2, where the other, which pays the square of
    the way that a surplus of one part has to go, falls like rows^-1/4 and hides what is looked for.
    """
    if a.shape != b.shape:
        raise ValueError(f"sliced Wasserstein needs samples of one size, got {tuple(a.shape)} and {tuple(b.shape)}")
    generator = torch.Generator().manual_seed(seed)
    axes = torch.randn(a.shape[1], directions, generator=generator, dtype=torch.float64)
    axes = axes / axes.norm(dim=0)
    off = (a.double() @ axes).sort(0).values - (b.double() @ axes).sort(0).values
    return off.abs().mean().item()


Draw = Callable[[int, int], Tensor]
"""draw(rows, seed): exact samples (rows, N)."""


def sampling_noise(draw: Draw, rows: int, seeds: int = 3) -> float:
    """Largest distance between two exact samples of the same size over `seeds` pairs."""
    pairs = [(draw(rows, 1000 + 2 * i), draw(rows, 1001 + 2 * i)) for i in range(seeds)]
    return max(sliced_wasserstein(a, b) for a, b in pairs)


def check_same_law(samples: Tensor, draw: Draw, multiple: float = 1.5, seeds: int = 3) -> float:
    """Samples (rows, N) are as near to exact ones as exact ones are to each other, up to `multiple`.

    Returns the mean distance over `seeds` exact samples as a multiple of the sampling noise.
    """
    rows = len(samples)
    assert bool(torch.isfinite(samples).all()), "the samples are not finite"
    noise = sampling_noise(draw, rows, seeds)
    far = sum(sliced_wasserstein(samples, draw(rows, 2000 + i)) for i in range(seeds)) / seeds
    assert far <= multiple * noise, (
        f"the samples are {far:.4g} from the exact law, {far / noise:.2f} times the sampling noise {noise:.4g} "
        f"({rows} rows); allowed are {multiple:g} times"
    )
    return far / noise


def fitted_order(steps: Sequence[int], errors: Sequence[float]) -> float:
    """Minus the slope of log(error) over log(steps), by least squares."""
    x = torch.tensor([math.log(n) for n in steps], dtype=torch.float64)
    y = torch.tensor([math.log(e) for e in errors], dtype=torch.float64)
    x, y = x - x.mean(), y - y.mean()
    return -(x @ y / (x @ x)).item()


def check_order(error: Callable[[int], float], declared: int, steps: Sequence[int], within: float = 0.25) -> float:
    """error(n) falls with n like n^-declared; `steps` are at least four halvings. Returns the fitted order."""
    assert len(steps) >= 5, f"an order is fitted over at least four halvings, got steps {list(steps)}"
    errors = [error(n) for n in steps]
    order = fitted_order(steps, errors)
    listed = ", ".join(f"{n}: {e:.3g}" for n, e in zip(steps, errors, strict=True))
    assert abs(order - declared) <= within, f"order {order:.2f} where {declared} is declared ({listed})"
    return order


# --------------------------------------------------------------------------------------- exact law of a linear run


@dataclass
class _Silence:
    """Zero noise that remembers who asked, (k, tag) -> entries of a row."""

    asked: dict[tuple[int, str], int] = field(default_factory=dict)

    def draw(self, k: int, like: Tensor, tag: str = "step") -> Tensor:
        self.asked[(k, tag)] = like[0].numel()
        return torch.zeros_like(like)


@dataclass(frozen=True)
class _Impulses:
    """Noise that is 1 in one entry of one draw for each row of a batch, and 0 elsewhere."""

    first: Mapping[tuple[int, str], int]

    def draw(self, k: int, like: Tensor, tag: str = "step") -> Tensor:
        out = torch.zeros_like(like)
        row, size = self.first[(k, tag)], like[0].numel()
        out[row : row + size] = torch.eye(size, dtype=like.dtype).reshape(size, *like.shape[1:])
        return out


def exact_law(run: Callable[[Noise, Tensor], Tensor], mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (N,) and covariance (N, N) of where a linear run ends, without sampling anything.

    run(noise, x (rows, N)) -> (rows, N) must be affine in its start and in every draw: a Gaussian oracle, no Student-t
    law. The start has the given mean and covariance. The run is probed once with a row for each entry of the start and
    of each draw.
    """
    size = len(mean)
    silence = _Silence()
    centre = run(silence, mean[None])
    first, rows = {}, 1 + size
    for place, entries in silence.asked.items():
        first[place] = rows
        rows += entries
    start = mean.expand(rows, size).clone()
    start[1 : 1 + size] += torch.eye(size, dtype=mean.dtype)
    moved = run(_Impulses(first), start) - centre
    pushed, shaken = moved[1 : 1 + size], moved[1 + size :]
    return centre[0], pushed.T @ covariance @ pushed + shaken.T @ shaken


# ---------------------------------------------------------------------------------------------------- one run, checked


@dataclass(frozen=True, eq=False)
class Case:
    """The arguments of a run, from a given start x (B, ...)."""

    denoiser: Denoiser
    sampler: Sampler
    grid: Grid
    x: Tensor
    cond: Cond | None = None
    y: Tensor | None = None
    guidance: tuple[Guidance, ...] = ()
    noise: Noise | None = None

    @property
    def drawn(self) -> Noise:
        return self.noise or PerSample.of(0, len(self.x))

    def sample(self, *, run: RunState | None = None, stop: int | None = None, observers: Sequence = ()) -> RunState:
        """`sample` with these arguments."""
        return sample(
            self.denoiser,
            self.sampler,
            self.grid,
            noise=self.drawn,
            x=self.x,
            cond=self.cond,
            y=self.y,
            guidance=self.guidance,
            run=run,
            stop=stop,
            observers=observers,
        )

    def rows(self, rows: Sequence[int]) -> Case:
        """The same run for some rows of the batch."""
        noise = self.drawn
        assert isinstance(noise, PerSample), "only noise with a seed a row can be split"
        cond = None if self.cond is None else {name: value[list(rows)] for name, value in self.cond.items()}
        y = None if self.y is None else self.y[list(rows)]
        return replace(self, x=self.x[list(rows)], cond=cond, y=y, noise=noise.take(rows))


def spent(case: Case) -> Cost:
    """What a run of the case really costs, counted in its denoiser."""
    before = replace(case.denoiser.spent)
    case.sample()
    after = case.denoiser.spent
    return Cost(after.calls - before.calls, after.batches - before.batches, after.backprops - before.backprops)


def check_calls(case: Case) -> Cost:
    """Calls, batches and backprops declared before the run are those made."""
    declared = cost(case.denoiser, case.sampler, case.grid, cond=case.cond, guidance=case.guidance)
    made = spent(case)
    assert made == declared, f"declared {declared}, made {made}"
    return made


def check_resume(case: Case) -> None:
    """A run stopped at any position of the route and resumed from its state ends in the same state, to the bit."""
    whole = case.sample()
    for k in range(len(case.grid.route)):
        state = case.sample(run=case.sample(stop=k))
        assert torch.equal(state.x, whole.x), f"resumed at position {k}, the run ends elsewhere"
        assert _equal(state.memory, whole.memory), f"resumed at position {k}, the run remembers something else"


def check_batch_split(case: Case, atol: float = 0.0) -> None:
    """Every row ends where it would end alone: to the bit by default, or within atol for a network that rounds."""
    whole = case.sample().x
    for rows in (range(1), range(1, len(case.x))):
        alone = case.rows(rows).sample().x
        off = (alone - whole[list(rows)]).abs().max().item()
        assert off <= atol, f"rows {list(rows)} end {off:.3g} away from where they end in the whole batch"


def check_pure(case: Case) -> None:
    """A step changes nothing that it is given and says the same when asked again."""
    replace(case, sampler=_Twice(case.sampler)).sample()


def check_transition(case: Case) -> None:
    """x = mean + std noise; where a law is stated beforehand, mean = k_x (x_t - b_t y) + k_x0 x0 + b_s y."""
    process, before = case.grid.process, [case.x]

    def look(state: RunState, step: Step, tr: Transition | None) -> None:
        if tr is not None:
            _close(tr.x, tr.mean if tr.std is None or tr.noise is None else tr.mean + lin((tr.std, tr.noise)), "apply")
            if "law" in case.sampler.gives and step.law is not None:
                u, pred = process.shifted(before[0], step.t, case.y), tr.first.guided
                mean = lin((step.law.k_x, u), (step.law.k_x0, pred.x0))
                _close(tr.mean, process.shifted(mean, step.s, case.y, sign=-1), "the stated law")
        before[0] = state.x

    case.sample(observers=[look])


def check_randomness(case: Case) -> None:
    """ "stochastic" samplers depend on the seed of the noise, "deterministic" ones do not."""
    other = replace(case, noise=PerSample.of(12345, len(case.x)))
    same = torch.equal(case.sample().x, other.sample().x)
    assert same == ("deterministic" in case.sampler.gives), f"gives {sorted(case.sampler.gives)}, same result: {same}"


def check_sampler(case: Case) -> None:
    """The contract of a sampler: declared cost, bit-exact resume and batch split, pure steps, stated law, randomness.

    Give a denoiser without guidance whose arithmetic is per row; the noise must have a seed a row.
    """
    check_calls(case)
    check_resume(case)
    check_batch_split(case)
    check_pure(case)
    check_transition(case)
    if not case.guidance:
        check_randomness(case)


def check_guidance(case: Case, neutral: Guidance) -> None:
    """The contract of the guidances of a case: zero strength costs and changes nothing, resume and split are exact.

    neutral   the same guidance at the strength that does nothing
    """
    plain, idle = replace(case, guidance=()), replace(case, guidance=(neutral,))
    assert torch.equal(plain.sample().x, idle.sample().x), f"{type(neutral).__name__} of no strength changes the sample"
    assert spent(plain) == spent(idle), f"{type(neutral).__name__} of no strength is paid for"
    assert not torch.equal(plain.sample().x, case.sample().x), "the guidance changes nothing at its strength"
    check_calls(case)
    check_resume(case)
    if not any(g.rows_coupled for g in case.guidance):
        check_batch_split(case)
    check_pure(case)


def check_noise(make: Callable[[int], Noise], rows: int = 512, size: int = 64) -> None:
    """The contract of a noise, make(seed): a pure function of (seed, k, tag), standard normal, white across places."""
    like = torch.empty(rows, size, dtype=torch.float64)
    noise = make(0)
    first = noise.draw(3, like)
    noise.draw(3, like, tag="another")
    noise.draw(4, like)
    assert torch.equal(noise.draw(3, like), first), "drawing more shifts what is drawn later"
    assert torch.equal(make(0).draw(3, like), first), "the same seed draws other noise"
    others = {
        "another position": noise.draw(4, like),
        "another tag": noise.draw(3, like, tag="another"),
        "another seed": make(rows).draw(3, like),
    }
    count = first.numel()
    for name, other in others.items():
        correlation = (first * other).mean().item()
        assert abs(correlation) < 5 / math.sqrt(count), f"{name} correlates {correlation:.3g} with the first draw"
    assert abs(first.mean().item()) < 5 / math.sqrt(count), f"the mean is {first.mean().item():.3g}"
    assert abs(first.var().item() - 1) < 5 * math.sqrt(2 / count), f"the variance is {first.var().item():.3g}"
    across = (first[1:] * first[:-1]).mean().item()
    assert abs(across) < 5 / math.sqrt(count), f"neighbouring rows correlate {across:.3g}"


def _equal(a: Mapping[str, Own], b: Mapping[str, Own]) -> bool:
    return a.keys() == b.keys() and all(
        a[who].keys() == b[who].keys() and all(torch.equal(a[who][name], b[who][name]) for name in a[who]) for who in a
    )


def _close(a: Tensor, b: Tensor, what: str) -> None:
    off = (a - b).abs().max().item()
    assert off <= 1e-10 * (1 + b.abs().max().item()), f"{what}: off by {off:.3g}"


@dataclass(frozen=True)
class _Twice:
    """A sampler that makes every step twice and compares."""

    inner: Sampler

    @property
    def needs(self) -> frozenset[str]:
        return self.inner.needs

    @property
    def gives(self) -> frozenset[str]:
        return self.inner.gives

    @property
    def order(self) -> int:
        return self.inner.order

    def law(self, t: Point, s: Point, grid: Grid, own: Own) -> Law | None:
        return self.inner.law(t, s, grid, own)

    def evaluations(self, t: Point, s: Point) -> int:
        return self.inner.evaluations(t, s)

    def step(self, ask: Ask, x: Tensor, step: Step, grid: Grid, own: Own) -> Transition:
        kept_x, kept_own = x.clone(), {name: value.clone() for name, value in own.items()}
        first, again = (self.inner.step(ask, x, step, grid, own) for _ in range(2))
        assert torch.equal(x, kept_x), f"the step to position {step.k} writes into its state"
        assert _equal({"": own}, {"": kept_own}), f"the step to position {step.k} writes into its memory"
        assert torch.equal(first.x, again.x), f"the step to position {step.k} says something else when asked again"
        assert _equal({"": first.own}, {"": again.own}), f"the step to position {step.k} remembers something else"
        return again
