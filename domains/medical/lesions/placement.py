"""From a lesion mask to the patches in which lesions are made.

A mask may hold many lesions; each connected one is a lesion of its own in the report. Lesions whose patches would
overlap are made together, so that none is drawn over another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domains.medical.geometry import spacing_of, to_mm
from domains.medical.lesions.conditioning import SPACING_MM
from shared.errors import UserError

MARGIN_MM = 3.5  # scan around the lesion that the network sees at least; a lesion of 32 mm fits 40 voxels
STRIDE = 8  # patch sizes are multiples of it (stem and two down-samplings)
SMALLEST, LARGEST = 32, 96  # voxels of a patch edge


@dataclass(frozen=True, eq=False)
class Site:
    """Lesions that are made in one patch.

    mask       (RAS shape) bool, all voxels of this site;  centre_mm, size  of the patch, size in voxels of 1 mm
    """

    mask: NDArray
    centre_mm: tuple[float, float, float]
    size: tuple[int, int, int]


def lesions_of(mask: NDArray) -> list[NDArray]:
    """Each connected lesion (26 neighbours) as a bool array of the shape of the mask, largest first."""
    from scipy import ndimage

    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return [labels == 1 + int(i) for i in np.argsort(-sizes, kind="stable")]


def sites_of(mask: NDArray, affine: NDArray, *, where: str = "the mask") -> list[Site]:
    """Patches that cover a mask (RAS frame), none of which reaches into another's lesions.

    Raises UserError for a lesion whose patch would be longer than 96 mm.
    """
    from scipy import ndimage

    spacing = np.asarray(spacing_of(affine))
    reach = np.maximum(1, np.ceil(MARGIN_MM / spacing)).astype(int)
    boxes = np.zeros(mask.shape, bool)
    for low, high in _bounds(mask, np.ones((3, 3, 3))):
        boxes[_block(low - reach, high + reach, mask.shape)] = True
    groups, count = ndimage.label(boxes)
    if count > 1 and _too_long(_bounds(boxes, None), spacing):  # a chain of boxes: cut it lesion by lesion
        groups, count = ndimage.label(mask, np.ones((3, 3, 3)))
    return [
        _site(mask & (groups == g), affine, spacing, where) for g in range(1, count + 1) if (mask & (groups == g)).any()
    ]


def _site(mask: NDArray, affine: NDArray, spacing: NDArray, where: str) -> Site:
    low, high = _bounds(mask, None)[0] if mask.any() else (np.zeros(3), np.zeros(3))
    places = np.argwhere(mask)
    low, high = places.min(0), places.max(0)
    extent = (high - low + 1) * spacing / SPACING_MM + 2 * MARGIN_MM
    size = np.maximum(SMALLEST, np.ceil(extent / STRIDE) * STRIDE).astype(int)
    if size.max() > LARGEST:
        longest = float(((high - low + 1) * spacing).max())
        raise UserError(
            f"a lesion of {longest:.0f} mm is longer than {LARGEST - 2 * MARGIN_MM:.0f} mm",
            where=where,
            remedy="split it into smaller lesions",
        )
    centre = to_mm(affine, (low + high) / 2)
    return Site(
        mask, (float(centre[0]), float(centre[1]), float(centre[2])), (int(size[0]), int(size[1]), int(size[2]))
    )


def _bounds(mask: NDArray, structure: NDArray | None) -> list[tuple[NDArray, NDArray]]:
    """First and last voxel of the bounding box of each connected part."""
    from scipy import ndimage

    labels, _ = ndimage.label(mask, structure)
    return [
        (np.array([s.start for s in block]), np.array([s.stop - 1 for s in block]))
        for block in ndimage.find_objects(labels)
    ]


def _block(low: NDArray, high: NDArray, shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(max(int(a), 0), min(int(b) + 1, n)) for a, b, n in zip(low, high, shape, strict=True))


def _too_long(bounds: list[tuple[NDArray, NDArray]], spacing: NDArray) -> bool:
    return any(((high - low + 1) * spacing).max() > LARGEST * SPACING_MM for low, high in bounds)
