"""What the lesion network is told: contrasts, a scan's own intensity scale, and the wanted texture as a histogram.

Everything here works on numbers in the network's unit: x = (v - median) / (WIDTH IQR / 1.349) over the brain, clipped
to [-1, 1], so that -1 and 1 lie WIDTH robust standard deviations from the median brain voxel of that scan.
Histogram control: LeFusion (Zhang et al. 2025), section "histogram-based texture control".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import UserError

CONTRASTS = ("FLAIR", "T1", "T2")
BINS = 16
WIDTH = 5.0
JITTER = 0.1  # of each bin, as in the paper
SPACING_MM = 1.0

Texture = Mapping[str, NDArray]
"""Contrast name -> (16,) shares that sum to 1."""


def brain_mask(values: NDArray) -> NDArray:
    """(i, j, k) bool: what is not background.

    Background is the value that more than a tenth of the voxels share exactly (0 in a skull-stripped scan). Without
    one, everything above the mean counts as head.
    """
    found, counts = np.unique(values[::2, ::2, ::2], return_counts=True)
    common = int(counts.argmax())
    if counts[common] > 0.1 * counts.sum():
        return np.asarray(values != found[common])
    return np.asarray(values > values.mean())


@dataclass(frozen=True)
class Scale:
    """The intensity scale of one scan: unit = (value - centre) / half_range."""

    centre: float
    half_range: float

    @classmethod
    def of(cls, values: NDArray, brain: NDArray, *, where: str = "the image") -> Scale:
        """From the median and the interquartile range of the brain voxels."""
        inside = values[brain]
        if inside.size < 100:
            raise UserError(
                f"only {inside.size} voxels differ from the background", where=where, remedy="choose a brain scan"
            )
        low, centre, high = (float(v) for v in np.percentile(inside, (25, 50, 75)))
        if high <= low:
            raise UserError(
                f"half of the brain voxels hold the value {centre:g}",
                where=where,
                remedy="choose a scan with grey values, not a label map",
            )
        return cls(centre, WIDTH * (high - low) / 1.349)

    def to_unit(self, values: NDArray) -> NDArray:
        """Values to network units, clipped to [-1, 1], float32."""
        return np.clip((np.asarray(values, np.float32) - self.centre) / self.half_range, -1, 1).astype(np.float32)

    def from_unit(self, unit: NDArray) -> NDArray:
        """Network units to values, float32."""
        return (np.asarray(unit, np.float32) * self.half_range + self.centre).astype(np.float32)


def histogram(unit: NDArray, mask: NDArray) -> NDArray:
    """(16,) float32 shares of the mask's voxels in 16 equal bins over [-1, 1]; zeros for an empty mask."""
    inside = unit[mask]
    if not inside.size:
        return np.zeros(BINS, np.float32)
    place = np.clip(((inside + 1) * (BINS / 2)).astype(np.int64), 0, BINS - 1)
    counts: NDArray = np.bincount(place, minlength=BINS) / inside.size
    return counts.astype(np.float32)


def jittered(wanted: NDArray, rng: np.random.Generator) -> NDArray:
    """A histogram near the wanted one: each bin moved by at most 10 % of itself, then made to sum to 1 again."""
    push = rng.standard_normal(BINS)
    push -= push.mean()
    moved = np.maximum(wanted * (1 + JITTER * push / max(np.abs(push).max(), 1e-12)), 0)
    return (moved / moved.sum()).astype(np.float32)


def mean_of(wanted: NDArray) -> float:
    """Mean intensity in network units that a histogram asks for."""
    centres = (np.arange(BINS) + 0.5) / (BINS / 2) - 1
    return float((wanted * centres).sum() / max(float(wanted.sum()), 1e-12))


def condition(texture: Texture, contrasts: Sequence[str]) -> tuple[NDArray, NDArray]:
    """The two vectors that the network takes: histograms (48,), zeros for an absent contrast, and presence (3,)."""
    histograms = np.zeros((len(CONTRASTS), BINS), np.float32)
    presence = np.zeros(len(CONTRASTS), np.float32)
    for i, name in enumerate(CONTRASTS):
        if name in contrasts:
            histograms[i], presence[i] = texture[name], 1
    return histograms.reshape(-1), presence


def read_texture(path: str | Path, contrasts: Sequence[str]) -> dict[str, NDArray]:
    """A texture from JSON: {"FLAIR": [16 numbers], ...}; shares or counts, normalised here."""
    remedy = f'give {{"{contrasts[0]}": [{BINS} numbers that are not negative]}}'
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=str(path), remedy="check the path") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError("is not JSON", where=str(path), remedy=remedy) from error
    if not isinstance(data, dict):
        raise UserError("holds no object", where=str(path), remedy=remedy)
    missing = [name for name in contrasts if name not in data]
    if missing:
        raise UserError(f"has no histogram for {', '.join(missing)}", where=str(path), remedy=remedy)
    texture = {}
    for name in contrasts:
        try:
            bins = np.asarray(data[name], np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{name} is not a list of numbers", where=str(path), remedy=remedy) from error
        with np.errstate(over="ignore"):
            total = float(bins.sum())  # infinite, too, for numbers near the end of double precision
        if bins.shape != (BINS,) or (bins < 0).any() or not np.isfinite(total) or total <= 0:
            raise UserError(f"the histogram of {name} is out of range", where=str(path), remedy=remedy)
        texture[name] = (bins / total).astype(np.float32)
    return texture
