"""Error against number of calls: our samplers, diffusers' schedulers and k-diffusion, at equal method and grid.

Two worlds. "mixture" is an exact denoiser of a mixture in two dimensions on the linear VP table, "shapes" the shipped
shape model without a caption, a trained network on a rectified flow. All runs of a seed start from the same states and
visit the same points. The error of an ODE method is the distance of its ends from those of a fine run, a root mean
square a number of the state; of one with fresh noise, the sliced distance of its samples from exact ones, which only
the mixture has. Mean and standard error over seeds; a method passes when it is not above its peer by more than two
standard errors of the difference, and is the same as its peer where their errors agree to four digits. Writes
docs/measured/samplers.json and docs/measured/samplers_shapes.json.

    python benchmarks/samplers.py --world shapes

k-diffusion's package asks for an old NumPy, so it is no dependency. Its `sampling.py` is read from a folder:

    pip download --no-deps k-diffusion && unzip k_diffusion-*.whl -d FOLDER
    python benchmarks/samplers.py --k-diffusion FOLDER

One difference of method is known: the two draws of a DPM++ SDE step belong to one Brownian path, whose clock is the SNR
here, as the equation of an ancestral run has it, and sigma in k-diffusion. Where steps are long its draws are nearly
one draw, and at 9 calls its error on the mixture is lower; the row with `clock=sigma` is ours with that clock.

diffusers' PLMS has the weights of equal steps and asks twice at its first point, once more than ours. Its run and
diffusers' Heun visit points that are asked again; they are fed by the time that each call names.
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
from shared.run import Sampler
from shared.sample import cost, sample
from shared.samplers.named import named
from shared.testing import sliced_wasserstein

SAME = 1e-4  # of the error: 40 steps in the float32 tables of diffusers differ from ours by 2e-5 of it
BETAS = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


@dataclass(frozen=True)
class World:
    """A denoiser, the points that runs with so many steps visit, and how much of it is sampled.

    exact   exact samples draw(rows, seed) of the law, None where nobody has them
    fine    steps of the run that others are measured by;  rows  of a seed's batch
    """

    name: str
    denoiser: Denoiser
    times: Callable[[int], Tensor]
    shape: tuple[int, ...]
    dtype: torch.dtype
    steps: tuple[int, ...]
    seeds: int
    rows: int
    fine: int
    exact: Callable[[int, int], Tensor] | None = None

    @property
    def flows(self) -> bool:
        """Whether the process is a rectified flow, else the linear VP table."""
        return self.denoiser.process.name == "flow"

    def grid(self, steps: int) -> Grid:
        return own_times(self.denoiser.process, self.times(steps))

    def start(self, seed: int) -> Tensor:
        """States at the noisy end: exact ones, or the prior."""
        generator, first = torch.Generator().manual_seed(seed), self.grid(1).points[0]
        eps = torch.randn((self.rows, *self.shape), generator=generator, dtype=self.dtype)
        if self.exact is None:
            return self.denoiser.process.prior(first, eps)
        return self.denoiser.process.join(self.exact(self.rows, seed), eps, first)

    def clean(self, x: Tensor, t: Tensor) -> Tensor:
        """E[x0 | x] at one time, for the peers."""
        return self.denoiser.predict(x, self.denoiser.process.at(t), {"main": Query(None)})["main"].x0


@dataclass(frozen=True)
class Method:
    """A name of `named`, and what others call it; `fresh` where it draws noise.

    flows   what diffusers calls it on a rectified flow, where that is another name
    own     options of ours
    """

    ours: str
    diffusers: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    k_diffusion: str | None = None
    fresh: bool = False
    flows: str | None = None
    own: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """As it is written in a table."""
        return " ".join([self.ours, *(f"{name}={value}" for name, value in self.own.items())])

    def sampler(self) -> Sampler:
        return named(self.ours, **self.own)

    def scheduler(self, world: World) -> str | None:
        """diffusers' class for this world."""
        if not world.flows:
            return self.diffusers
        return self.diffusers if self.flows is None else self.flows or None


NONE = ""  # a flow has no such scheduler in diffusers
SDE = {"algorithm_type": "sde-dpmsolver++"}
METHODS = (
    Method(
        "ddim",
        "DDIMScheduler",
        {"clip_sample": False, "set_alpha_to_one": True},
        "sample_euler",
        flows="FlowMatchEulerDiscreteScheduler",
    ),
    Method("heun", "HeunDiscreteScheduler", {}, "sample_heun", flows=NONE),
    Method("plms", "PNDMScheduler", {"skip_prk_steps": True, "set_alpha_to_one": True}, flows=NONE),
    Method("dpmpp_2s", None, {}, "sample_dpmpp_2s_ancestral"),
    Method("dpmpp_2m", "DPMSolverMultistepScheduler", {}, "sample_dpmpp_2m"),
    Method("dpmpp_3m", "DPMSolverMultistepScheduler", {"solver_order": 3, "lower_order_final": False}),
    Method("unipc", "UniPCMultistepScheduler", {}),
    Method("euler_ancestral", "EulerAncestralDiscreteScheduler", {}, "sample_euler_ancestral", fresh=True),
    Method("dpmpp_2m_sde", "DPMSolverMultistepScheduler", SDE, "sample_dpmpp_2m_sde", fresh=True),
    Method("dpmpp_3m_sde", None, {}, "sample_dpmpp_3m_sde", fresh=True),
    Method("dpmpp_sde", None, {}, "sample_dpmpp_sde", fresh=True),
    Method("dpmpp_sde", None, {}, "sample_dpmpp_sde", fresh=True, own={"clock": "sigma"}),
)


def mixture_world() -> World:
    """Three parts in two dimensions, float64; equal steps of the table, rounded to levels, then clean."""
    means = torch.tensor([[-1.2, 0.4], [1.0, 0.9], [0.3, -1.1]], dtype=torch.float64)
    truth = mixture(means, 0.35, torch.tensor([0.5, 0.3, 0.2]))

    def times(steps: int) -> Tensor:
        return torch.linspace(1000, 0, steps + 1, dtype=torch.float64).round()

    denoiser = Oracle(truth, vp("linear"))
    return World("mixture", denoiser, times, (2,), torch.float64, (5, 10, 20, 40), 20, 256, 320, truth.draw)


def shapes_world() -> World:
    """The shipped shape model, asked for any picture, on the route that its app takes."""
    from domains.image.control.model import SIDE, ShapeModel, denoiser, route

    network = denoiser(ShapeModel.from_pretrained(control=None).network)
    return World(
        "shapes", network, lambda n: route(n).t, (3, SIDE, SIDE), torch.float32, (6, 12, 24), seeds=20, rows=2, fine=120
    )


WORLDS: dict[str, Callable[[], World]] = {"mixture": mixture_world, "shapes": shapes_world}
RECORDS = {"mixture": "samplers", "shapes": "samplers_shapes"}


def by_us(world: World, method: Method, grid: Grid, x: Tensor, seed: int) -> Tensor:
    return sample(world.denoiser, method.sampler(), grid, noise=Bulk(seed), x=x).x


def by_diffusers(world: World, method: Method, grid: Grid, x: Tensor, seed: int) -> Tensor:
    """The scheduler on our points, fed with what the network of this world would have said."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import diffusers
    name, drawn = str(method.scheduler(world)), torch.Generator().manual_seed(seed)
    scheduler = getattr(diffusers, name)(**_options(name, method, world))
    if world.flows and not name.startswith("DPM"):  # which takes equal steps from 0.999 by itself
        scheduler.set_timesteps(sigmas=grid.t[:-1].numpy())
    else:
        scheduler.set_timesteps(len(grid.t) - 1)
    own = scheduler.sigmas[:-1].double() if world.flows else scheduler.timesteps.double() + 1
    own = own.unique().flip(0)  # Heun and PLMS ask again at some
    assert (own - grid.t[:-1]).abs().max() < 1e-6, "the two visit other points"
    exploding, points = name.startswith(("Euler", "Heun")), grid.points
    places = dict(zip(scheduler.timesteps.unique().flip(0).tolist(), points, strict=False))
    state = x / points[0].a if exploding else x
    more = {} if name.startswith(("UniPC", "PNDM", "Heun")) else {"generator": drawn}
    for t in scheduler.timesteps:
        at = places[t.item()]
        held = scheduler.scale_model_input(state, t).to(x.dtype) if hasattr(scheduler, "scale_model_input") else state
        clean = world.clean(held, at.t)
        said = (held - clean) / at.sigma if world.flows else (held - at.a * clean) / at.sigma  # velocity, or noise
        state = scheduler.step(said, t, state, return_dict=False, **more)[0]
    return state.to(x.dtype)


def _options(name: str, method: Method, world: World) -> dict[str, Any]:
    if name.startswith("FlowMatch"):
        return {}
    if world.flows:
        return {"prediction_type": "flow_prediction", "use_flow_sigmas": True, **method.options}
    return {**BETAS, "timestep_spacing": "trailing", **method.options}


def by_k_diffusion(sampling: Any, world: World, method: Method, grid: Grid, x: Tensor, seed: int) -> Tensor:
    """Its sampler in sigma / a, with independent noise of our seeds."""
    points, torch_seed = grid.points, torch.Generator().manual_seed(seed)
    sigmas = torch.stack([p.sigma / p.a for p in points]).to(x.dtype)
    at_sigma = dict(zip(sigmas.tolist(), points, strict=True))

    def model(state: Tensor, sigma: Tensor) -> Tensor:
        at = at_sigma.get(sigma[0].item()) or point_of(world.denoiser.process, sigma[0].item())
        return world.clean(state * at.a, at.t)

    def noise(sigma: Tensor, to: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=torch_seed, dtype=x.dtype)

    more: dict[str, Any] = {"noise_sampler": noise} if method.fresh and method.ours != "dpmpp_sde" else {}
    if method.ours == "dpmpp_2s":
        more = {"eta": 0.0}
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
    ends = {seed: by_us(world, fine, world.grid(world.fine), world.start(seed), seed) for seed in range(seeds)}
    for method in METHODS:
        for steps in world.steps if not method.fresh or world.exact is not None else ():
            grid = world.grid(steps)
            runs: dict[str, Callable[[Tensor, int], Tensor]] = {}
            if method.scheduler(world) is not None and not (method.ours == "dpmpp_3m" and steps < 15):
                runs["diffusers"] = lambda x, seed, m=method, g=grid: by_diffusers(world, m, g, x, seed)  # type: ignore[misc]
            if sampling is not None and method.k_diffusion is not None:
                runs["k-diffusion"] = lambda x, seed, m=method, g=grid: by_k_diffusion(sampling, world, m, g, x, seed)  # type: ignore[misc]
            if not runs:
                continue
            mine = errors(world, method, lambda x, seed, m=method, g=grid: by_us(world, m, g, x, seed), ends)  # type: ignore[misc]
            calls = cost(world.denoiser, method.sampler(), grid).calls
            for peer, run in runs.items():
                theirs = errors(world, method, run, ends)
                row = [world.name, method.label, calls, peer, mine.mean().item(), spread(mine)]
                rows.append([*row, theirs.mean().item(), spread(theirs), verdict(mine, theirs)])
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
        if method.fresh and world.exact is not None:
            found.append(sliced_wasserstein(x, world.exact(world.rows, seed + 5000)))
        else:
            found.append((x - end).flatten(1).square().mean(1).sqrt().mean().item())
    return torch.tensor(found, dtype=torch.float64)


def verdict(mine: Tensor, theirs: Tensor) -> str:
    """Whether our errors are not above a peer's: "yes", "no", or "same" where the two ran one arithmetic."""
    gap = mine - theirs
    if gap.mean().abs() <= SAME * theirs.mean():
        return "same"
    return "yes" if gap.mean().item() <= 2 * spread(gap) else "no"


def spread(values: Tensor) -> float:
    """Standard error of the mean."""
    return float(values.std() / math.sqrt(len(values)))


def main() -> None:
    """Measure the worlds and record each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--k-diffusion", type=Path, help="folder into which k-diffusion's wheel is unpacked")
    parser.add_argument("--world", choices=sorted(WORLDS), help="one world alone")
    parser.add_argument("--seeds", type=int, help="seeds of every world")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    sampling = load_k_diffusion(asked.k_diffusion) if asked.k_diffusion else None
    if sampling is None:
        print("without k-diffusion; to compare with it, see the first lines of this file")
    for name in [asked.world] if asked.world else WORLDS:
        world = WORLDS[name]()
        seeds = asked.seeds or world.seeds
        rows = measure(world, sampling, seeds)
        columns = ["world", "method", "calls", "peer", "ours", "s.e.", "theirs", "s.e. theirs", "not above"]
        one = f"python benchmarks/samplers.py --world {name}" if asked.world else "make bench"
        record(
            RECORDS[name],
            {
                "errors": {"columns": columns, "rows": rows, "digits": 3},
                "passed": {"value": sum(row[-1] != "no" for row in rows)},
                "same": {"value": sum(row[-1] == "same" for row in rows)},
                "compared": {"value": len(rows)},
                "seeds": {"value": seeds},
            },
            command="python benchmarks/samplers.py --k-diffusion FOLDER" if sampling else one,
        )


if __name__ == "__main__":
    main()
