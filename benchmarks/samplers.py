"""Error against number of calls: our samplers, diffusers' schedulers and k-diffusion, at equal method and grid.

The world is an exact denoiser of a mixture in two dimensions on the linear VP table; all runs of a seed start from the
same states and walk the same levels. The error of an ODE method is the distance of its ends from those of a fine run;
of one with fresh noise, the sliced distance of its samples from exact ones. Twenty seeds, mean and standard error; a
method passes when it is not above its peer by more than two standard errors. Writes docs/measured/samplers.json.

k-diffusion's package asks for an old NumPy, so it is no dependency. Its `sampling.py` is read from a folder:

    pip download --no-deps k-diffusion && unzip k_diffusion-*.whl -d FOLDER
    python benchmarks/samplers.py --k-diffusion FOLDER
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
import types
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shared.denoiser import Denoiser, Query
from shared.grid import Grid, own_times
from shared.measured import record
from shared.noise import Bulk
from shared.oracle import Oracle, mixture
from shared.process import Point, Process, vp
from shared.sample import cost, sample
from shared.samplers.named import named
from shared.testing import sliced_wasserstein

STEPS, SEEDS, ROWS, FINE = (5, 10, 20, 40), 20, 256, 320
BETAS = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


@dataclass(frozen=True)
class World:
    """A denoiser on a VP table, and exact samples draw(rows, seed) of its law."""

    name: str
    denoiser: Denoiser
    draw: Callable[[int, int], Tensor]

    def grid(self, steps: int) -> Grid:
        """Equal steps of the table, rounded to levels, then clean."""
        levels = torch.linspace(1000, 0, steps + 1, dtype=torch.float64).round()
        return own_times(self.denoiser.process, levels)

    def start(self, seed: int) -> Tensor:
        """Exact states at the noisy end."""
        x0 = self.draw(ROWS, seed)
        eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return self.denoiser.process.join(x0, eps, self.grid(1).points[0])

    def clean(self, x: Tensor, t: Tensor) -> Tensor:
        """E[x0 | x] at one time, for the peers."""
        return self.denoiser.predict(x, self.denoiser.process.at(t), {"main": Query(None)})["main"].x0


@dataclass(frozen=True)
class Method:
    """A name of `named`, and what others call it; `fresh` where it draws noise."""

    ours: str
    diffusers: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    k_diffusion: str | None = None
    fresh: bool = False


SDE = {"algorithm_type": "sde-dpmsolver++"}
METHODS = (
    Method("ddim", "DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": True}, "sample_euler"),
    Method("heun", None, {}, "sample_heun"),
    Method("dpmpp_2m", "DPMSolverMultistepScheduler", {}, "sample_dpmpp_2m"),
    Method("dpmpp_3m", "DPMSolverMultistepScheduler", {"solver_order": 3, "lower_order_final": False}),
    Method("unipc", "UniPCMultistepScheduler", {}),
    Method("euler_ancestral", "EulerAncestralDiscreteScheduler", {}, "sample_euler_ancestral", fresh=True),
    Method("dpmpp_2m_sde", "DPMSolverMultistepScheduler", SDE, "sample_dpmpp_2m_sde", fresh=True),
    Method("dpmpp_sde", None, {}, "sample_dpmpp_sde", fresh=True),
)


def mixture_world() -> World:
    """Three parts in two dimensions, float64."""
    means = torch.tensor([[-1.2, 0.4], [1.0, 0.9], [0.3, -1.1]], dtype=torch.float64)
    truth = mixture(means, 0.35, torch.tensor([0.5, 0.3, 0.2]))
    return World("mixture", Oracle(truth, vp("linear")), truth.draw)


WORLDS: tuple[Callable[[], World], ...] = (mixture_world,)


def by_us(world: World, method: Method, grid: Grid, x: Tensor, seed: int) -> Tensor:
    return sample(world.denoiser, named(method.ours), grid, noise=Bulk(seed), x=x).x


def by_diffusers(world: World, method: Method, grid: Grid, x: Tensor, seed: int) -> Tensor:
    """The scheduler on our levels, fed with the exact noise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import diffusers
    scheduler = getattr(diffusers, str(method.diffusers))(**BETAS, timestep_spacing="trailing", **method.options)
    scheduler.set_timesteps(len(grid.t) - 1)
    assert (scheduler.timesteps.double() + 1 - grid.t[:-1]).abs().max() < 1e-6, "the two walk other levels"
    exploding, drawn = method.diffusers.startswith("Euler"), torch.Generator().manual_seed(seed)  # type: ignore[union-attr]
    state = x / grid.points[0].a if exploding else x
    more = {} if method.diffusers == "UniPCMultistepScheduler" else {"generator": drawn}
    for t, at in zip(scheduler.timesteps, grid.points, strict=False):
        held = scheduler.scale_model_input(state, t).double()
        eps = (held - at.a * world.clean(held, at.t)) / at.sigma
        state = scheduler.step(eps, t, state, return_dict=False, **more)[0]
    return state.double()


def by_k_diffusion(sampling: Any, world: World, method: Method, grid: Grid, x: Tensor, seed: int) -> Tensor:
    """Its sampler in sigma / a, with independent noise of our seeds."""
    points, torch_seed = grid.points, torch.Generator().manual_seed(seed)
    sigmas = torch.stack([p.sigma / p.a for p in points])

    def model(state: Tensor, sigma: Tensor) -> Tensor:
        at = point_of(world.denoiser.process, sigma[0].item())
        return world.clean(state * at.a, at.t)

    def noise(sigma: Tensor, to: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=torch_seed, dtype=x.dtype)

    more = {"noise_sampler": noise} if method.fresh and method.ours != "dpmpp_sde" else {}
    if method.ours == "dpmpp_sde":
        more = {"noise_sampler": Path2(x, torch_seed)}
    return getattr(sampling, str(method.k_diffusion))(model, x / points[0].a, sigmas, disable=True, **more)


@cache
def point_of(process: Process, sigma: float) -> Point:
    """The point whose sigma / a is given."""
    return process.at(process.t_of(-torch.tensor(sigma, dtype=torch.float64).log()))


class Path2:
    """One Brownian path in sigma over the two intervals of a DPM++ SDE step, as its tree draws them."""

    def __init__(self, like: Tensor, generator: torch.Generator) -> None:
        self.like, self.generator, self.half = like, generator, (math.nan, math.nan, like)

    def __call__(self, sigma: Tensor, to: Tensor) -> Tensor:
        z = torch.randn(self.like.shape, generator=self.generator, dtype=self.like.dtype)
        start, middle, first = self.half
        if start != sigma.item():
            self.half = (sigma.item(), to.item(), z)
            return z
        part = (start - middle) / (start - to.item())
        self.half = (math.nan, math.nan, z)
        return part**0.5 * first + (1 - part) ** 0.5 * z


def load_k_diffusion(folder: Path) -> Any:
    """k_diffusion/sampling.py under a folder, with stand-ins for what it imports and these samplers do not use."""
    file = folder / "k_diffusion" / "sampling.py"
    if not file.is_file():
        raise SystemExit(
            f"{file} is not there; unpack it: pip download --no-deps k-diffusion && unzip *.whl -d {folder}"
        )
    utils = types.ModuleType("k_diffusion.utils")
    utils.append_dims = lambda x, n: x[(...,) + (None,) * (n - x.ndim)]  # type: ignore[attr-defined]
    package = types.ModuleType("k_diffusion")
    package.__path__, package.utils = [str(file.parent)], utils  # type: ignore[attr-defined]
    bar = types.ModuleType("tqdm.auto")
    bar.trange, bar.tqdm = (lambda n, **_: range(n)), (lambda x, **_: x)  # type: ignore[attr-defined]
    ode = types.ModuleType("torchdiffeq")
    ode.odeint = None  # type: ignore[attr-defined]
    stand_ins = {"k_diffusion": package, "k_diffusion.utils": utils, "torchsde": types.ModuleType("torchsde")}
    stand_ins |= {"torchdiffeq": ode, "tqdm.auto": bar}
    before = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    spec = importlib.util.spec_from_file_location("k_diffusion.sampling", file)
    assert spec is not None and spec.loader is not None
    sampling = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(sampling)
    finally:  # others look for the real ones
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    return sampling


def measure(world: World, sampling: Any | None, seeds: int) -> list[list[Any]]:
    """One row a method, number of steps and peer: calls, errors of both, and whether ours is not above."""
    rows: list[list[Any]] = []
    fine = Method("dpmpp_2m")
    ends = {seed: by_us(world, fine, world.grid(FINE), world.start(seed), seed) for seed in range(seeds)}
    for method in METHODS:
        for steps in STEPS:
            grid = world.grid(steps)
            runs: dict[str, Callable[[Tensor, int], Tensor]] = {}
            if method.diffusers is not None and not (method.ours == "dpmpp_3m" and steps < 15):
                runs["diffusers"] = lambda x, seed, m=method, g=grid: by_diffusers(world, m, g, x, seed)  # type: ignore[misc]
            if sampling is not None and method.k_diffusion is not None:
                runs["k-diffusion"] = lambda x, seed, m=method, g=grid: by_k_diffusion(sampling, world, m, g, x, seed)  # type: ignore[misc]
            if not runs:
                continue
            mine = errors(world, method, lambda x, seed, m=method, g=grid: by_us(world, m, g, x, seed), ends)  # type: ignore[misc]
            calls = cost(world.denoiser, named(method.ours), grid).calls
            for peer, run in runs.items():
                theirs = errors(world, method, run, ends)
                gap = mine - theirs
                allowed = 2 * spread(gap) + 1e-3 * theirs.mean().item()  # diffusers' tables are float32
                passed = gap.mean().item() <= allowed
                row = [world.name, method.ours, calls, peer, mine.mean().item(), spread(mine)]
                rows.append([*row, theirs.mean().item(), spread(theirs), "yes" if passed else "no"])
                print(
                    "  ".join(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in rows[-1]), flush=True
                )
    return rows


def errors(world: World, method: Method, run: Callable[[Tensor, int], Tensor], ends: Mapping[int, Tensor]) -> Tensor:
    """The error of each seed."""
    found = []
    for seed, end in ends.items():
        with torch.no_grad():
            x = run(world.start(seed), seed + 1000)
        if method.fresh:
            found.append(sliced_wasserstein(x, world.draw(ROWS, seed + 5000)))
        else:
            found.append((x - end).norm(dim=1).mean().item())
    return torch.tensor(found, dtype=torch.float64)


def spread(values: Tensor) -> float:
    """Standard error of the mean."""
    return float(values.std() / math.sqrt(len(values)))


def main() -> None:
    """Measure every world and record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--k-diffusion", type=Path, help="folder into which k-diffusion's wheel is unpacked")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    sampling = load_k_diffusion(asked.k_diffusion) if asked.k_diffusion else None
    if sampling is None:
        print("without k-diffusion; to compare with it, see the first lines of this file")
    rows = [row for make in WORLDS for row in measure(make(), sampling, asked.seeds)]
    columns = ["world", "method", "calls", "peer", "ours", "s.e.", "theirs", "s.e. theirs", "not above"]
    record(
        "samplers",
        {
            "errors": {"columns": columns, "rows": rows, "digits": 3},
            "passed": {"value": sum(row[-1] == "yes" for row in rows)},
            "compared": {"value": len(rows)},
            "seeds": {"value": asked.seeds},
        },
        command="python benchmarks/samplers.py --k-diffusion FOLDER" if sampling else "make bench",
    )


if __name__ == "__main__":
    main()
