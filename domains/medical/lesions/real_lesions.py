"""The real lesions of the training patients, in groups by how bright they are, and the presets learned from them.

Groups are those of k-means over the quantile functions of the first contrast against the surroundings: distances
between quantile functions are those of moving intensity (1-Wasserstein). A preset is one lesion, the most central of
its group, not a mean: a mean of many lesions is wider than any of them, and a small lesion that is asked for it can
only answer with grain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.medical.lesions.conditioning import CONTRASTS, histogram
from domains.medical.lesions.evaluate import nearest
from domains.medical.lesions.operations import PRESETS
from domains.medical.lesions.patches import Subject
from domains.medical.lesions.presets import POINTS, Preset, asked_at, eroded, surroundings
from domains.medical.lesions.quality import seam

SMALLEST: Final = 30  # voxels: below, a lesion belongs to no group
CORE: Final = 8  # voxels that the core of a preset needs
ROOM: Final = 0.9  # a preset's own seam is not among the strongest tenth: one at the end of the range leaves no room
MARGIN: Final = 8  # voxels around a lesion


@dataclass(frozen=True, eq=False)
class RealLesion:
    """unit (3, D, H, W) float32, mask and tissue (D, H, W) bool of one lesion; the name of its subject."""

    unit: NDArray
    mask: NDArray
    tissue: NDArray
    subject: str

    @property
    def against(self) -> NDArray:
        """(3, POINTS) quantiles of its values less the median of the tissue around it."""
        here = surroundings(self.unit, self.mask, self.tissue)
        levels = (np.arange(POINTS) + 0.5) / POINTS
        return np.quantile(self.unit[:, self.mask].astype(np.float64), levels, axis=1).T - here.around[:, None]

    @property
    def seams(self) -> NDArray:
        """(3,) step at the border, as the quality report measures it."""
        return np.array([seam(values, self.mask) for values in self.unit])


def lesions_of_subjects(subjects: Sequence[Subject], smallest: int = SMALLEST) -> list[RealLesion]:
    """Each lesion of at least `smallest` voxels."""
    out = []
    for one in subjects:
        brain = one.unit[0] != one.unit[0].flat[0]  # the corner of a scan is background
        for part in one.components:
            if len(part) < smallest:
                continue
            low, high = np.maximum(part.min(0) - MARGIN, 0), part.max(0) + MARGIN + 1
            block = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
            mask = np.zeros(one.lesions[block].shape, bool)
            mask[tuple((part - low).T)] = True
            unit = one.unit[(slice(None), *block)].astype(np.float32)
            out.append(RealLesion(unit, mask, brain[block] & ~one.lesions[block], one.name))
    return out


def groups_of(lesions: Sequence[RealLesion]) -> list[str]:
    """The group of each lesion, named as the presets: by brightness of the first contrast."""
    rows = np.stack([one.against[0] for one in lesions])
    labels = kmeans(rows, len(PRESETS))
    return [PRESETS[k] for k in labels]


def presets_of(lesions: Sequence[RealLesion], groups: Sequence[str]) -> dict[str, Preset]:
    """Of each group the lesion with the least summed distance to the others, over all contrasts, of those that have a
    core and whose border is not among the strongest in any contrast."""
    out = {}
    seams = np.array([one.seams for one in lesions])
    strongest = np.quantile(seams, ROOM, axis=0)
    for name in PRESETS:
        members = [one for one, group in zip(lesions, groups, strict=True) if group == name]
        rows = np.stack([one.against for one in members])
        apart = np.abs(rows[:, None] - rows[None]).mean(3).sum((1, 2))
        fit = [bool(eroded(one.mask).sum() >= CORE and (one.seams <= strongest).all()) for one in members]
        if not any(fit):
            raise ValueError(f"no lesion of the group {name} has a core of {CORE} voxels and room in its seam")
        central = members[int(np.where(fit, apart, np.inf).argmin())]
        out[name] = Preset.of(central.unit, central.mask, central.tissue)
    return out


def ceiling(lesions: Sequence[RealLesion], groups: Sequence[str], presets: dict[str, Preset]) -> float:
    """What the best model could reach: the share of real lesions nearest to the preset of their own group."""
    lead = CONTRASTS[0]
    wanted = [
        {name: asked_at(preset, one.unit, one.mask, one.tissue).whole[lead] for name, preset in presets.items()}
        for one in lesions
    ]
    return nearest(groups, [histogram(one.unit[0], one.mask) for one in lesions], wanted)


def kmeans(rows: NDArray, count: int, seed: int = 0, rounds: int = 50) -> NDArray:
    """The cluster (n,) of each row (n, d), numbered by the mean of its centre (Lloyd, 8 restarts)."""
    from scipy.cluster.vq import kmeans2

    best: tuple[float, NDArray, NDArray] | None = None
    for restart in range(8):
        centres, labels = kmeans2(rows, count, iter=rounds, minit="++", rng=np.random.default_rng((seed, restart)))
        spread = float(((rows - centres[labels]) ** 2).sum())
        if len(np.unique(labels)) == count and (best is None or spread < best[0]):
            best = spread, centres, labels
    if best is None:
        raise ValueError(f"{len(rows)} lesions do not fall into {count} clusters")
    _, centres, labels = best
    order = np.argsort(centres.mean(1))
    return np.asarray(np.argsort(order)[labels])
