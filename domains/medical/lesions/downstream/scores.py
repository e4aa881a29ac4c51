"""How good a segmentation is: Dice where there is a lesion, lesions found, and false alarms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FOUND = 0.25  # share of a lesion that must be marked for it to count as found
SMALLEST_ALARM = 5  # marked pixels in one piece, away from every lesion, that count as a false alarm


@dataclass(frozen=True, eq=False)
class Scores:
    """dice (N,) nan for patches without a lesion; found (N,) nan likewise; alarms (N,) pieces away from a lesion."""

    dice: NDArray
    found: NDArray
    alarms: NDArray


def scores(said: NDArray, truth: NDArray) -> Scores:
    """Scores of masks (N, H, W) bool against the truth (N, H, W) bool, one lesion a patch."""
    dice = np.array([dice_of(a, b) if b.any() else np.nan for a, b in zip(said, truth, strict=True)])
    found = np.array([a[b].mean() >= FOUND if b.any() else np.nan for a, b in zip(said, truth, strict=True)])
    return Scores(dice, found, np.array([alarms(a, b) for a, b in zip(said, truth, strict=True)]))


def dice_of(said: NDArray, truth: NDArray) -> float:
    """2 |A and B| / (|A| + |B|); 1 when both are empty."""
    total = int(said.sum()) + int(truth.sum())
    return 2 * int((said & truth).sum()) / total if total else 1.0


def alarms(said: NDArray, truth: NDArray) -> int:
    """Connected pieces (with diagonals) of at least SMALLEST_ALARM pixels that touch no true pixel."""
    from scipy import ndimage

    labels, count = ndimage.label(said, np.ones((3,) * said.ndim))
    if not count:
        return 0
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    touching = np.bincount(labels[truth], minlength=count + 1)[1:]
    return int(((sizes >= SMALLEST_ALARM) & (touching == 0)).sum())
