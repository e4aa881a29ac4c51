"""Training patches: blocks around lesions of real and phantom brains, as a pure function of the step.

A subject is its contrasts in network units on a 1 mm RAS grid and its lesion mask. A patch is drawn around a random
lesion voxel, lesions weighted by the square root of their size, mirrored at random, its contrasts dropped at random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domains.medical.data import Volume, read_contrasts, read_mask
from domains.medical.lesions.conditioning import BINS, CONTRASTS, SPACING_MM, Scale, brain_mask, histogram
from shared.errors import UserError

LESJAK = (
    "Lesjak et al., A Novel Public MR Image Dataset of Multiple Sclerosis Patients With Lesion Segmentations Based on "
    "Multi-rater Consensus (2018), CC-BY"
)


@dataclass(frozen=True, eq=False)
class Subject:
    """unit (3, D, H, W) float16 in the order of CONTRASTS, present (3,) bool, lesions (D, H, W) bool, name."""

    name: str
    unit: NDArray
    present: NDArray
    lesions: NDArray

    @cached_property
    def components(self) -> list[NDArray]:
        """Voxels (n, 3) of each connected lesion, largest first."""
        from scipy import ndimage

        labels, count = ndimage.label(self.lesions, np.ones((3, 3, 3)))
        places = np.argwhere(labels)
        order = np.argsort(labels[tuple(places.T)], kind="stable")
        places = places[order]
        sizes = np.bincount(labels.ravel())[1 : count + 1]
        return sorted(np.split(places, np.cumsum(sizes)[:-1]), key=len, reverse=True)


def subject(name: str, volumes: Mapping[str, Volume], lesions: NDArray) -> Subject:
    """A subject from volumes on one 1 mm grid and a lesion mask on that grid."""
    first = next(iter(volumes.values()))
    if max(abs(s / SPACING_MM - 1) for s in first.spacing) > 0.05:
        raise UserError(f"voxels of {first.spacing} mm", where=name, remedy=f"resample to {SPACING_MM} mm for training")
    present = np.array([c in volumes for c in CONTRASTS])
    unit = np.zeros((len(CONTRASTS), *first.frame.ras_shape), np.float16)
    for i, contrast in enumerate(CONTRASTS):
        if present[i]:
            values = volumes[contrast].frame.to_ras(volumes[contrast].values)
            brain = brain_mask(values)
            unit[i] = Scale.of(values, brain, where=name).to_unit(values)
    return Subject(name, unit, present, np.ascontiguousarray(first.frame.to_ras(lesions)))


def ms_patients(folder: Path, numbers: Sequence[str] = ("07", "19")) -> list[Subject]:
    """The patients of the open MS data set that have scans: FLAIR, T1, T2 and the consensus mask."""
    out = []
    for number in numbers:
        paths = {c: folder / f"patient{number}_{c}.nii.gz" for c in CONTRASTS}
        volumes = read_contrasts(paths)
        mask = read_mask(folder / f"patient{number}_lesions.nii.gz", volumes["FLAIR"])
        out.append(subject(f"patient{number}", volumes, mask))
    return out


def phantoms(count: int, seed: int) -> list[Subject]:
    """Procedural subjects with exact lesions."""
    from domains.medical.synthesis import brain_phantom

    out = []
    for i in range(count):
        made = brain_phantom(seed + i)
        out.append(subject(f"phantom{seed + i}", made.volumes(), made.lesions))
    return out


@dataclass(frozen=True, eq=False)
class LesionPatches:
    """Batches for training, `batches(step)`: x0, mask, histogram, presence; the same step gives the same batch.

    share   chance of each subject; size  edge of a patch in voxels (mm)
    """

    subjects: Sequence[Subject]
    share: Sequence[float]
    size: int = 32
    rows: int = 8
    seed: int = 0

    def __call__(self, step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, step))
        rows = [self._row(rng) for _ in range(self.rows)]
        return {key: torch.from_numpy(np.stack([row[key] for row in rows])) for key in rows[0]}

    def _row(self, rng: np.random.Generator) -> dict[str, NDArray]:
        chances = np.asarray(self.share, float)
        chosen = self.subjects[rng.choice(len(self.subjects), p=chances / chances.sum())]
        weights = np.sqrt([len(part) for part in chosen.components])
        lesion = chosen.components[rng.choice(len(weights), p=weights / weights.sum())]
        centre = lesion[rng.integers(len(lesion))] + rng.integers(-self.size // 5, self.size // 5 + 1, 3)
        centre = np.where(rng.random(3) < 0.5, centre, lesion[rng.integers(len(lesion))])
        limits = np.array(chosen.lesions.shape) - self.size
        start = np.clip(centre - self.size // 2, 0, limits)
        block = tuple(slice(s, s + self.size) for s in start)
        unit, mask = chosen.unit[(slice(None), *block)].astype(np.float32), chosen.lesions[block]
        for axis in range(3):
            if rng.random() < 0.5:
                unit, mask = np.flip(unit, axis + 1), np.flip(mask, axis)
        present = chosen.present & self._kept(rng)
        gain, shift = 1 + 0.1 * rng.standard_normal((3, 1, 1, 1)), 0.03 * rng.standard_normal((3, 1, 1, 1))
        unit = np.clip(unit * gain + shift, -1, 1) * present[:, None, None, None]
        wanted = np.stack([histogram(u, mask) * p for u, p in zip(unit, present, strict=True)])
        return {
            "x0": np.ascontiguousarray(unit, np.float32),
            "mask": np.ascontiguousarray(mask[None]),
            "histogram": wanted.reshape(len(CONTRASTS) * BINS).astype(np.float32),
            "presence": present.astype(np.float32),
        }

    @staticmethod
    def _kept(rng: np.random.Generator) -> NDArray:
        """Which contrasts this row keeps: often all, often FLAIR alone, sometimes any set that is not empty."""
        draw = rng.random()
        if draw < 0.45:
            return np.ones(3, bool)
        if draw < 0.75:
            return np.array([True, False, False])
        kept = rng.random(3) < 0.5
        kept[rng.integers(3)] = True
        return kept
