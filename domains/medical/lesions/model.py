"""The lesion model: a small 3-d U-Net, trained inside lesions only, sampled with the scan kept around the lesion.

LeFusion (Zhang et al. 2025): the whole patch is noised, the loss looks at the lesion, and at every level of sampling
everything outside the lesion is the real scan noised to that level (RePaint with jumps back). Departures, and why:
the network is preconditioned (Karras et al. 2022: inputs and targets of unit size at every level) instead of saying
eps; the error is squared, for its optimum is the exact mean; the loss is divided by the lesion's size; the network
sees the mask and learns from the scan around it too, as much in all and less a voxel (a lesion is a few hundred voxels
of a patch of thousands); and the scan is pasted back exactly. A guidance may pull the lesion's values towards the asked
histogram.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from domains.medical.lesions.conditioning import BINS, CONTRASTS, Texture, condition
from shared import checkpoints
from shared.denoiser import Denoiser, edm_head
from shared.grid import Grid, grid
from shared.guidance.clamp import Clamp
from shared.guidance.histogram import HistogramTransport
from shared.guidance.known_region import KnownRegion
from shared.networks.onednn import prefer_onednn
from shared.networks.unet import UNetConfig
from shared.noise import PerSample
from shared.precision import fast_dtype
from shared.process import Process, vp
from shared.run import Guidance, Observer, RunState, Step, Transition
from shared.sample import cost, sample
from shared.samplers.ddim import DDIM

RECIPE = "medical/lesions"
LEVELS = 300
DATA_STD = 0.35  # of a patch in network units
LESION_STD = 0.1  # of the values inside one lesion
WEIGHTS = Path(__file__).parent / "checkpoints" / "lesions.safetensors"
SAMPLER = DDIM("ancestral")

NETWORK = UNetConfig(
    dims=3,
    in_channels=len(CONTRASTS),
    out_channels=len(CONTRASTS),
    channels=(8, 32, 96, 128),  # the first level sees single voxels: noise of a single voxel is told apart there
    blocks=1,
    vectors={"histogram": BINS * len(CONTRASTS), "presence": len(CONTRASTS)},
    images={"lesion": 1},
)


def process() -> Process:
    """Cosine variance-preserving, 300 levels, as in the paper."""
    return vp("cosine", LEVELS)


def denoiser(network: nn.Module, autocast: torch.dtype | None = None) -> Denoiser:
    """The network as the core sees it."""
    return Denoiser(network, process(), edm_head(DATA_STD), autocast=autocast)


def route(steps: int = 60, jump: int = 2, repeats: int = 2) -> Grid:
    """The levels that sampling visits; 60 steps with jumps 2 and 2 ask the network 118 times."""
    return grid(process(), steps, "levels").jumps(jump, repeats)


@dataclass(frozen=True)
class Fill:
    """One lesion to be made: a patch in network units and where the lesion is.

    unit     (3, D, H, W) contrasts in the order of CONTRASTS, zeros for an absent one;  mask  (D, H, W) bool
    texture  contrast -> (16,) histogram of the whole lesion, which the network is told
    layers   parts of the mask with the histogram of each, which the guidance pulls towards; none: the whole lesion
    """

    unit: NDArray
    mask: NDArray
    texture: Texture
    seed: int
    layers: tuple[tuple[NDArray, Texture], ...] = ()


class LesionModel:
    """A trained network and its card; computes in bfloat16 where that is faster, unless told otherwise."""

    def __init__(self, network: nn.Module, card: dict[str, Any], *, autocast: torch.dtype | None = None) -> None:
        self.denoiser, self.card = denoiser(prefer_onednn(network.eval()), autocast), card

    @classmethod
    def from_pretrained(cls, path: str | Path = WEIGHTS, *, precise: bool = False) -> LesionModel:
        """The shipped model, or another checkpoint of the same kind; refused when it was altered.

        precise   compute in float32 even where bfloat16 is faster
        """
        network, card = checkpoints.load(path, recipe=RECIPE)
        return cls(network, card, autocast=None if precise else fast_dtype())

    @property
    def dtype(self) -> str:
        """The word for the number type the network computes in."""
        return str(self.denoiser.autocast or torch.float32).removeprefix("torch.")

    def calls(self, steps: int = 60, jump: int = 2, repeats: int = 2) -> int:
        """Network calls of one synthesis."""
        return cost(self.denoiser, SAMPLER, route(steps, jump, repeats)).calls

    def fill(
        self,
        fills: Sequence[Fill],
        contrasts: Sequence[str],
        *,
        steps: int = 60,
        jump: int = 2,
        repeats: int = 2,
        tolerance: Mapping[str, float] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[NDArray]:
        """Patches (3, D, H, W) with a lesion inside each mask; all of one size, made in one batch.

        tolerance   contrast -> distance of made and asked histogram (1-Wasserstein, network units) beyond which the
                    lesion's values are pulled; None is the plain method
        progress(calls so far, calls in all) is called between network calls and may raise to cancel.
        """
        known = torch.from_numpy(np.stack([fill.unit for fill in fills]))
        inside = torch.from_numpy(np.stack([fill.mask for fill in fills]))[:, None]
        present = torch.tensor([name in contrasts for name in CONTRASTS])[:, None, None, None]
        vectors = [condition(fill.texture, contrasts) for fill in fills]
        cond = {
            "histogram": torch.from_numpy(np.stack([v[0] for v in vectors])),
            "presence": torch.from_numpy(np.stack([v[1] for v in vectors])),
            "lesion": inside.float(),
        }
        pull = [] if tolerance is None else pulls(fills, contrasts, tolerance)
        plan = route(steps, jump, repeats)
        run = sample(
            self.denoiser,
            SAMPLER,
            plan,
            noise=PerSample(tuple(fill.seed for fill in fills)),
            shape=known.shape,
            cond=cond,
            guidance=[Clamp(-1, 1), *pull, KnownRegion(known, ~(inside & present))],
            observers=[_counting(progress, plan.steps)] if progress else [],
        )
        return [row.numpy() for row in run.x]


def pulls(fills: Sequence[Fill], contrasts: Sequence[str], tolerance: Mapping[str, float]) -> list[Guidance]:
    """A guidance for each layer; every fill of a batch has as many layers."""
    within = torch.tensor([tolerance.get(name, 0.0) for name in CONTRASTS])
    every = [fill.layers or ((fill.mask, fill.texture),) for fill in fills]
    out: list[Guidance] = []
    for layer in zip(*every, strict=True):
        wanted = torch.from_numpy(np.stack([condition(texture, contrasts)[0] for _, texture in layer]))
        where = torch.from_numpy(np.stack([mask for mask, _ in layer]))[:, None]
        bins = wanted.unflatten(1, (len(CONTRASTS), BINS))
        out.append(HistogramTransport(bins, where, tolerance=within, spread=LESION_STD))
    return out


def _counting(progress: Callable[[int, int], None], total: int) -> Observer:
    done = 0

    def observe(state: RunState, step: Step, tr: Transition | None) -> None:
        nonlocal done
        done += step.move == "step"
        progress(done, total)

    return observe


def lesion_gate(mask: Tensor, presence: Tensor) -> Tensor:
    """Loss weight (B, 3, D, H, W): 1 in the lesion of a contrast that is there, 0 elsewhere."""
    return mask.float() * presence[:, :, None, None, None]
