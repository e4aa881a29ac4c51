"""Synthetic training patches: one placement of masks on lesion-free patches, filled in three ways.

All ways share the carriers and the masks, so that the arms differ in what is inside the lesion and in nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from domains.medical.lesions.conditioning import BINS, histogram, jittered, mean_of
from domains.medical.lesions.downstream.lesion_model import fill, turned


@dataclass(frozen=True, eq=False)
class Placement:
    """Where lesions go: `sources[i]` of the real lesions, turned and shifted, lies in masks[i] of carriers[i].

    carriers (N, H, W) float32;  masks (N, H, W) bool;  sources (N,) rows of the real lesions;
    pasted (N, H, W) float32, the turned and shifted source patch (only its lesion is meaningful)
    """

    carriers: NDArray
    masks: NDArray
    sources: NDArray
    pasted: NDArray


def placed(
    images: NDArray,
    masks: NDArray,
    carriers: NDArray,
    rng: np.random.Generator,
    *,
    allowed: NDArray | None = None,
    chances: NDArray | None = None,
) -> Placement:
    """A random real lesion for every carrier, turned, mirrored and moved to a random place that holds all of it.

    allowed   (N, H, W) bool, where lesions may lie in each carrier; the place with most of the lesion inside out of 30
              is taken;  chances  (len(images),) of each source, equal by default
    """
    sources = rng.choice(len(images), size=len(carriers), p=None if chances is None else chances / chances.sum())
    made, pasted = np.zeros(carriers.shape, bool), np.zeros_like(carriers)
    for i, source in enumerate(sources):
        way = int(rng.integers(8))
        mask, image = turned(masks[source], way), turned(images[source], way)
        (y0, x0), (y1, x1) = np.argwhere(mask).min(0), np.argwhere(mask).max(0) + 1
        best = -1.0
        for _ in range(1 if allowed is None else 30):
            y = int(rng.integers(0, carriers.shape[1] - (y1 - y0) + 1))
            x = int(rng.integers(0, carriers.shape[2] - (x1 - x0) + 1))
            place = (i, slice(y, y + y1 - y0), slice(x, x + x1 - x0))
            share = 1.0 if allowed is None else float(allowed[place][mask[y0:y1, x0:x1]].mean())
            if share > best:
                best, chosen = share, place
            if best == 1:
                break
        made[chosen], pasted[chosen] = mask[y0:y1, x0:x1], image[y0:y1, x0:x1]
    return Placement(carriers, made, sources, pasted)


def copy_pasted(placement: Placement) -> NDArray:
    """The real lesion itself inside the mask."""
    return np.where(placement.masks, placement.pasted, placement.carriers)


def hand_crafted(placement: Placement, rng: np.random.Generator, grain: float = 0.06) -> NDArray:
    """A flat blob with white noise inside the mask: its level is the source lesion's mean, its deviation `grain`."""
    out = placement.carriers.copy()
    for i, mask in enumerate(placement.masks):
        level = placement.pasted[i][mask].mean()
        out[i][mask] = np.clip(level + grain * rng.standard_normal(int(mask.sum())), -1, 1)
    return out


@dataclass(frozen=True, eq=False)
class Asked:
    """What the lesion model was asked for and gave: asked, made (N,) mean intensity; distance, shuffled: mean L1
    between the asked and the made histogram, and the same with the requests shuffled."""

    asked: NDArray
    made: NDArray
    distance: float
    shuffled: float

    @property
    def correlation(self) -> float:
        """Of the asked and the made mean."""
        return float(np.corrcoef(self.asked, self.made)[0, 1])


def lefusion(
    network: torch.nn.Module,
    placement: Placement,
    images: NDArray,
    masks: NDArray,
    rng: np.random.Generator,
    *,
    chances: NDArray | None = None,
) -> tuple[NDArray, Asked]:
    """Lesions of the diffusion model; each asks for the jittered histogram of a random real lesion.

    images, masks  the real lesions;  chances  of each one's histogram, equal by default
    """
    count = len(placement.masks)
    rows = rng.choice(len(images), size=count, p=None if chances is None else chances / chances.sum())
    wanted = np.stack([jittered(histogram(images[row], masks[row]), rng) for row in rows])
    seeds = rng.integers(0, 2**31, count)
    out = fill(network, placement.carriers, placement.masks, wanted, [int(s) for s in seeds])
    found = np.stack([histogram(image, mask) for image, mask in zip(out, placement.masks, strict=True)])
    assert wanted.shape == found.shape == (count, BINS)
    return out, Asked(
        np.array([mean_of(h) for h in wanted]),
        np.array([mean_of(h) for h in found]),
        float(np.abs(wanted - found).sum(1).mean()),
        float(np.abs(wanted[rng.permutation(count)] - found).sum(1).mean()),
    )
