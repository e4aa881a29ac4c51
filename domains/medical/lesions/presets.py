"""Textures of real lesions, by name: how far one stood out from the tissue around it, at its edge and in its core.

A lesion is bright or dark against its surroundings, not on the scale of a scan, and most of a small one is edge. So a
preset keeps two distributions a contrast, in network units (conditioning.Scale), of one real lesion:

    edge   values of voxels that touch the outside, less the median of the outside voxels that touch the lesion
    core   values of the others, less the median of the tissue within RING_MM of the lesion

and becomes a histogram for a mask in a scan: both set upon the same two medians there, in the shares of edge and core
that the mask has. The step at the border is then that of the real lesion, whatever the size and the scanner.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from domains.medical.lesions.conditioning import CONTRASTS, Texture, histogram, jittered
from shared.errors import UserError

SHIPPED: Final = Path(__file__).parent / "checkpoints" / "presets.json"
RING_MM: Final = (1.5, 4.5)  # distance from the lesion of the tissue around it
POINTS: Final = 64  # quantiles that are kept of a distribution
FEWEST: Final = 10  # voxels for a median; with fewer the brain's own median, 0, stands in


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Where a lesion lies, a number a contrast in the order of CONTRASTS.

    touching   median of the tissue that touches it;  around  median of the tissue within RING_MM
    edge       share of its voxels that touch the outside
    """

    touching: NDArray
    around: NDArray
    edge: float


def surroundings(unit: NDArray, mask: NDArray, tissue: NDArray) -> Surroundings:
    """What stands around a lesion.

    unit   (3, D, H, W) network units on 1 mm;  mask  (D, H, W) bool, not empty
    tissue (D, H, W) bool: what counts as surroundings, brain without other lesions
    """
    from scipy import ndimage

    distance = ndimage.distance_transform_edt(~mask)
    shell = (distance > 0) & (distance <= 1) & tissue
    ring = (distance > RING_MM[0]) & (distance <= RING_MM[1]) & tissue
    return Surroundings(_medians(unit, shell), _medians(unit, ring), 1 - float(eroded(mask).sum() / mask.sum()))


def eroded(mask: NDArray) -> NDArray:
    """The core of a lesion: voxels all of whose six neighbours belong to it."""
    from scipy import ndimage

    return np.asarray(ndimage.binary_erosion(mask))


def _medians(unit: NDArray, where: NDArray) -> NDArray:
    if where.sum() < FEWEST:
        return np.zeros(len(unit))
    return np.asarray(np.median(unit[:, where], axis=1), np.float64)


@dataclass(frozen=True, eq=False)
class Preset:
    """edge, core: contrast -> (n,) values of one real lesion against what stands around it, sorted, network units."""

    edge: Mapping[str, NDArray]
    core: Mapping[str, NDArray]

    @classmethod
    def of(cls, unit: NDArray, mask: NDArray, tissue: NDArray) -> Preset:
        """Read a real lesion; arguments as in `surroundings`. A lesion without a core is all edge."""
        here, inner = surroundings(unit, mask, tissue), eroded(mask)
        edge, core = {}, {}
        for i, name in enumerate(CONTRASTS):
            edge[name] = _quantiles(unit[i][mask & ~inner] - here.touching[i])
            core[name] = _quantiles(unit[i][inner] - here.around[i]) if inner.any() else edge[name]
        return cls(edge, core)

    @property
    def contrast(self) -> float:
        """Mean of the core in the first contrast against its surroundings, by which presets are ordered."""
        return float(np.mean(self.core[CONTRASTS[0]]))

    def to_json(self) -> dict[str, dict[str, list[float]]]:
        """Plain numbers, four decimals."""
        return {
            part: {name: [round(float(v), 4) for v in values] for name, values in getattr(self, part).items()}
            for part in ("edge", "core")
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Preset:
        """The inverse of `to_json`; KeyError, TypeError or ValueError for anything else."""
        edge, core = (
            {name: np.asarray(data[part][name], np.float64).reshape(-1) for name in CONTRASTS}
            for part in ("edge", "core")
        )
        if not all(values.size and np.isfinite(values).all() for values in (*edge.values(), *core.values())):
            raise ValueError("a preset holds numbers")
        return cls(edge, core)


def _quantiles(values: NDArray) -> NDArray:
    """POINTS quantiles at the middles of equal shares."""
    return np.quantile(np.asarray(values, np.float64), (np.arange(POINTS) + 0.5) / POINTS)


def _histogram(values: NDArray) -> NDArray:
    return histogram(values, np.ones(len(values), bool))


def load_presets(path: Path = SHIPPED) -> dict[str, Preset]:
    """The presets that ship with the suite, faint to bright; UserError when the file is absent or damaged."""
    remedy = "restore it, or make it: suite train medical/lesion-reference"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return {name: Preset.from_json(one) for name, one in data["presets"].items()}
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=str(path), remedy=remedy) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"is damaged ({type(error).__name__})", where=str(path), remedy=remedy) from error


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked of the lesion voxels of one patch.

    whole    contrast -> (16,) histogram of all of them: what the network is told and the report compares with
    layers   parts of the mask (D, H, W) with the histogram of each: what the guidance pulls towards
    """

    whole: Texture
    layers: tuple[tuple[NDArray, Texture], ...]


def asked_at(
    texture: Texture | Preset,
    unit: NDArray,
    mask: NDArray,
    tissue: NDArray,
    contrasts: Sequence[str] = CONTRASTS,
    rng: np.random.Generator | None = None,
) -> Asked:
    """What a texture asks for at a place: given histograms as they are, a preset upon what stands around the lesion.

    unit, mask, tissue   as in `surroundings`;  rng   moves each histogram by up to 10 % of each bin, as in the paper
    """

    def moved(bins: NDArray) -> NDArray:
        return np.asarray(bins, np.float32) if rng is None else jittered(np.asarray(bins), rng)

    if not isinstance(texture, Preset):
        whole = {name: moved(texture[name]) for name in contrasts}
        return Asked(whole, ((mask, whole),))
    here = surroundings(unit, mask, tissue)
    inner = eroded(mask)
    edge, core = (
        {name: moved(_histogram(values[name] + level[CONTRASTS.index(name)])) for name in contrasts}
        for values, level in ((texture.edge, here.touching), (texture.core, here.around))
    )
    whole = {name: (here.edge * edge[name] + (1 - here.edge) * core[name]).astype(np.float32) for name in contrasts}
    return Asked(whole, ((mask & ~inner, edge), (inner, core)))
