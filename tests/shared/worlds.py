"""The worlds of the composition matrix: every process with a grid on which the methods have their order.

Two dimensions, three parts, two labels. Runs start from the exact marginal at the first point of the grid, so that
what is measured is the sampler alone; the prior is tested on its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor

from shared.denoiser import Denoiser, Head, edm_head, eps_head, residual_head, v_head, velocity_head, x0_head
from shared.grid import Grid, own_times
from shared.guidance.classifier_free import ClassifierFree
from shared.guidance.posterior import DDNM, DPS
from shared.noise import Bulk
from shared.operators import Matrix
from shared.oracle import ANY, DataSet, Mixture, Oracle, Truth, gaussian, mixture
from shared.process import (
    Process,
    StudentT,
    bridge,
    edm,
    flow,
    mean_reverting,
    residual_shift,
    ve,
    vp,
)
from shared.run import Guidance, Sampler
from shared.samplers.ddim import DDIM, PLMS, DPMpp
from shared.samplers.euler import Euler
from shared.samplers.heun import Heun
from shared.samplers.langevin import Langevin
from shared.samplers.single_step import SingleStep
from shared.samplers.unipc import UniPC
from shared.testing import Case

MEANS = torch.tensor([[-1.2, 0.4], [1.0, 0.9], [0.3, -1.1]], dtype=torch.float64)
LABELS = torch.tensor([0, 1, 1])
MIXTURE = mixture(MEANS, 0.35, torch.tensor([0.5, 0.3, 0.2]), LABELS)
GAUSSIAN = gaussian(torch.tensor([0.4, -0.2]), torch.tensor([[0.8, 0.3], [0.3, 0.3]]))
# a finite data set, for the law that leaves a mixture no closed form
POINTS = DataSet(MIXTURE.draw(60, 7), torch.arange(60) % 2)
END = torch.tensor([[0.5, -0.7]], dtype=torch.float64)  # the known end, one for all rows
MATRIX = torch.tensor([[1.0, 0.5]], dtype=torch.float64)
MEASURED = torch.tensor([[0.6]], dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class World:
    """A process and the log-SNR between which its runs go, in equal steps; then, by default, into the clean end."""

    process: Process
    noisy: float
    clean: float = 4.5

    @property
    def name(self) -> str:
        return self.process.name

    @property
    def student(self) -> bool:
        return isinstance(self.process.law, StudentT)

    @property
    def truth(self) -> Truth:
        return POINTS if self.student else MIXTURE

    @property
    def y(self) -> Tensor | None:
        return END if self.process.b is not None else None

    def grid(self, steps: int, *, clean: float | None = None, to_the_end: bool = True) -> Grid:
        """`steps` steps, equal in log-SNR; the last one goes to the clean end if to_the_end."""
        log_snr = torch.linspace(
            self.noisy, self.clean if clean is None else clean, steps + (not to_the_end), dtype=torch.float64
        )
        t = self.process.t_of(log_snr)
        return own_times(self.process, torch.cat([t, t.new_tensor([self.process.ends[0]])]) if to_the_end else t)

    def start(self, grid: Grid, rows: int, *, truth: Truth | None = None, label: int = ANY, seed: int = 0) -> Tensor:
        """Exact draws of the marginal at the first point of a grid."""
        x0 = (truth or self.truth).draw(rows, seed, label)
        noise = Bulk(seed)
        eps = noise.draw(0, x0, tag="start")
        scale = self.process.law.scale(noise, 0, x0)
        return self.process.join(x0, eps if scale is None else eps * scale, grid.points[0], self.ends(rows))

    def ends(self, rows: int) -> Tensor | None:
        """The known end, one a row."""
        return None if self.y is None else self.y.expand(rows, -1)

    def case(
        self,
        sampler: Sampler,
        grid: Grid,
        rows: int = 4,
        *,
        truth: Truth | None = None,
        head: Head | None = None,
        label: int | None = None,
        guidance: tuple[Guidance, ...] = (),
        seed: int = 0,
        bulk: bool = False,
    ) -> Case:
        """A run from the exact marginal: conditional on `label` if given."""
        denoiser = oracle(truth or self.truth, self.process, head or HEADS["x0"])
        x = self.start(grid, rows, truth=truth, label=ANY if label is None else label, seed=seed)
        cond = None if label is None else {"label": torch.full((rows,), label)}
        noise = Bulk(seed + 1) if bulk else None
        return Case(denoiser, sampler, grid, x, cond, self.ends(rows), guidance, noise)


@cache
def oracle(truth: Truth, process: Process, head: Head) -> Denoiser:
    """The exact denoiser, one for all runs: it remembers the points that it was asked at."""
    return Oracle(truth, process, head, null={"label": torch.tensor([ANY])})


# process, log-SNR at the first point. The bridge's time runs out of digits below -4; the others start where
# a is small enough that the three parts have merged.
WORLDS = (
    World(vp("linear"), -4.0),
    World(vp("cosine"), -4.0),
    World(vp("angle"), -4.0),
    World(ve(), -3.9),
    World(edm(), -4.0),
    World(flow(), -4.0),
    World(mean_reverting(), -3.5),
    World(residual_shift(), -4.0),
    World(bridge(), -3.0),
    World(edm(law=StudentT(4)), -4.0),
)
GAUSSIAN_WORLDS = tuple(world for world in WORLDS if not world.student)


def label_of(world: World) -> str:
    """A name for test ids."""
    return f"{world.name} student" if world.student else world.name


# --------------------------------------------------------------------------------------------- samplers, heads, guides

SAMPLERS: dict[str, Sampler] = {
    "ddim": DDIM(),
    "dpmpp1": DDIM(filter=DPMpp(1)),
    "dpmpp2": DDIM(filter=DPMpp(2)),
    "plms2": DDIM(filter=PLMS(2)),
    "plms4": DDIM(filter=PLMS(4)),
    "heun": Heun(),
    "heun time": Heun("time"),
    "half": DDIM(0.5),
    "ancestral": DDIM("ancestral"),
    "residual": DDIM("residual_shift"),
    "renoise": DDIM(1.0),
    "sde dpmpp1": DDIM("ancestral", DPMpp(1)),
    "sde dpmpp2": DDIM("ancestral", DPMpp(2)),
    "euler time": Euler(),
    "euler ancestral": DDIM("ancestral", eta=0.6),
    "dpmpp3": DDIM(filter=DPMpp(3)),
    "sde dpmpp3": DDIM("ancestral", DPMpp(3)),
    "unipc1": DDIM(filter=UniPC(1)),
    "unipc2": DDIM(filter=UniPC(2)),
    "unipc3": DDIM(filter=UniPC(3)),
    "unipc2 bh1": DDIM(filter=UniPC(2, "bh1")),
    "single": SingleStep(),
    "sde single": SingleStep("ancestral"),
    "langevin": Langevin(),
}
# What these add does not hang on the process: a table, a flow, a known end and the Student-t law are enough for them.
FEW = {name for i, name in enumerate(SAMPLERS) if i >= list(SAMPLERS).index("euler time")}
FEW_WORLDS = {"vp linear", "flow", "mean reverting", "edm student"}
DETERMINISTIC = {name: s for name, s in SAMPLERS.items() if "deterministic" in s.gives}
STOCHASTIC = {name: s for name, s in SAMPLERS.items() if "stochastic" in s.gives}

HEADS: dict[str, Head] = {
    "x0": x0_head(),
    "eps": eps_head(),
    "v": v_head(),
    "velocity": velocity_head(),
    "edm": edm_head(),
    "residual": residual_head(),
}


def heads(world: World) -> dict[str, Head]:
    """The heads that a process can have: the residual needs a known end."""
    return {name: head for name, head in HEADS.items() if name != "residual" or world.process.b is not None}


def guides() -> dict[str, tuple[Guidance, ...]]:
    """{none, CFG, DPS, DDNM}"""
    return {
        "none": (),
        "cfg": (ClassifierFree(2.0),),
        "dps": (DPS(Matrix(MATRIX), MEASURED, noise_std=1.0),),
        "ddnm": (DDNM(Matrix(MATRIX), MEASURED),),
    }


def fits(world: World, sampler: Sampler, guide: str = "none") -> bool:
    """Whether the combination is allowed: Student-t noise has no score, no ancestral step and no mixture."""
    return not world.student or ("stochastic" not in sampler.gives and guide != "dps")


def pairs(worlds: tuple[World, ...], names: Iterable[str]) -> pytest.MarkDecorator:
    """Parametrises `world` and `name` by all pairs, those of FEW on a few worlds."""
    found = [(w, n) for w in worlds for n in names if n not in FEW or label_of(w) in FEW_WORLDS]
    return pytest.mark.parametrize(("world", "name"), found, ids=[f"{label_of(w)}-{n}" for w, n in found])


def posterior() -> Mixture:
    """p(x0 | measurement) for a measurement with noise of standard deviation 1."""
    return MIXTURE.posterior(MATRIX, MEASURED[0], 1.0)
