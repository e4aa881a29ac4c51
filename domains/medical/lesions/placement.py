"""From a lesion mask to the patches in which lesions are made.

A mask may hold many lesions; each connected one is a lesion of its own in the report. Lesions near each other are made
together, in one patch. Where a chain of them is longer than a patch may be, that chain is cut between lesions. A site
changes the voxels of its own lesions alone, so none is drawn over another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from domains.medical.geometry import spacing_of, to_mm
from domains.medical.lesions.conditioning import SPACING_MM
from shared.errors import UserError

MARGIN_MM = 3.5  # scan around the lesion that the network sees at least; a lesion of 32 mm fits 40 voxels
STRIDE = 8  # patch sizes are multiples of it (stem and two down-samplings)
SMALLEST, LARGEST = 32, 96  # voxels of a patch edge
LONGEST_MM = LARGEST * SPACING_MM - 2 * MARGIN_MM  # a longer lesion fits no patch


@dataclass(frozen=True, eq=False)
class Site:
    """Lesions that are made in one patch.

    shape      of the scan in its RAS frame;  lesions  (n, 3) its voxels in it, a lesion, largest first
    centre_mm  of the patch;  size  of the patch, in voxels of 1 mm
    """

    shape: tuple[int, ...]
    lesions: tuple[NDArray, ...]
    centre_mm: tuple[float, float, float]
    size: tuple[int, int, int]

    @cached_property
    def voxels(self) -> NDArray:
        """(n, 3) all voxels of this site."""
        return np.concatenate(self.lesions)

    @property
    def mask(self) -> NDArray:
        """(RAS shape) bool, the voxels of this site; made at every call, since a scan may have hundreds of sites."""
        out = np.zeros(self.shape, bool)
        out[tuple(self.voxels.T)] = True
        return out


def lesions_of(mask: NDArray) -> list[NDArray]:
    """Each connected lesion (26 neighbours) as a bool array of the shape of the mask, largest first."""
    labels, count = _labelled(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return [labels == 1 + int(i) for i in np.argsort(-sizes, kind="stable")]


def count_lesions(mask: NDArray) -> int:
    """How many connected lesions (26 neighbours) a mask holds."""
    return _labelled(mask)[1]


def sites_of(mask: NDArray, affine: NDArray, *, where: str = "the mask") -> list[Site]:
    """Patches that cover a mask (RAS frame); each lesion belongs to one of them.

    Lesions whose surroundings of 3.5 mm touch share a patch, unless it would be longer than 96 mm: see `_cut`.
    Raises UserError for a lesion that is longer than 89 mm by itself.
    """
    from scipy import ndimage

    spacing = np.asarray(spacing_of(affine))
    reach = np.maximum(1, np.ceil(MARGIN_MM / spacing)).astype(int)
    lesions = _voxels(mask)
    boxes = np.zeros(mask.shape, bool)
    for lesion in lesions:
        boxes[_block(lesion.min(0) - reach, lesion.max(0) + reach, mask.shape)] = True
    groups, _ = ndimage.label(boxes)
    together: dict[int, list[NDArray]] = {}
    for lesion in lesions:
        together.setdefault(int(groups[tuple(lesion[0])]), []).append(lesion)
    sites = []
    for _, group in sorted(together.items()):
        voxels = np.concatenate(group)
        whole = _edges(voxels.min(0), voxels.max(0), spacing).max() <= LARGEST
        for part in [group] if whole else _cut(group, spacing):
            sites.append(_site(mask.shape, part, affine, spacing, where))
    return sites


def _cut(lesions: list[NDArray], spacing: NDArray) -> list[list[NDArray]]:
    """Lesions of a chain that is too long, put into patches of at most 96 mm; the lesions of each patch.

    The largest come first. Each joins the patch that grows least by it, if that costs fewer voxels than a patch of
    its own; so all patches together never cost more than one a lesion.
    """
    low, high = np.empty((0, 3), int), np.empty((0, 3), int)
    parts: list[list[NDArray]] = []
    for lesion in sorted(lesions, key=len, reverse=True):
        first, last = lesion.min(0), lesion.max(0)
        joined_low, joined_high = np.minimum(low, first), np.maximum(high, last)
        joined = _edges(joined_low, joined_high, spacing)
        more = joined.prod(-1) - _edges(low, high, spacing).prod(-1)
        more = np.where(joined.max(-1) <= LARGEST, more, np.iinfo(int).max)
        if len(parts) and more.min() < _edges(first, last, spacing).prod():
            best = int(more.argmin())
            low[best], high[best] = joined_low[best], joined_high[best]
            parts[best].append(lesion)
        else:
            low, high = np.vstack([low, first]), np.vstack([high, last])
            parts.append([lesion])
    return parts


def _site(shape: tuple[int, ...], lesions: list[NDArray], affine: NDArray, spacing: NDArray, where: str) -> Site:
    low, high = np.min([one.min(0) for one in lesions], 0), np.max([one.max(0) for one in lesions], 0)
    size = _edges(low, high, spacing)
    if size.max() > LARGEST:
        longest = float(((high - low + 1) * spacing).max())
        raise UserError(
            f"a lesion of {longest:.0f} mm is longer than {LONGEST_MM:.0f} mm",
            where=where,
            remedy="split it into smaller lesions",
        )
    centre = to_mm(affine, (low + high) / 2)
    return Site(
        shape,
        tuple(sorted(lesions, key=len, reverse=True)),
        (float(centre[0]), float(centre[1]), float(centre[2])),
        (int(size[0]), int(size[1]), int(size[2])),
    )


def _edges(low: NDArray, high: NDArray, spacing: NDArray) -> NDArray:
    """(..., 3) edges, in voxels of 1 mm, of the patch for what spans the voxels from low to high."""
    extent = (high - low + 1) * spacing / SPACING_MM + 2 * MARGIN_MM
    return np.maximum(SMALLEST, np.ceil(extent / STRIDE) * STRIDE).astype(int)


def _labelled(mask: NDArray) -> tuple[NDArray, int]:
    from scipy import ndimage

    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    return labels, int(count)


def _voxels(mask: NDArray) -> list[NDArray]:
    """(n, 3) voxels of each connected lesion, in the order of their first voxel."""
    labels, count = _labelled(mask)
    places = np.argwhere(labels)
    numbers = labels[tuple(places.T)]
    ends = np.cumsum(np.bincount(numbers, minlength=count + 1)[1:])
    return np.split(places[np.argsort(numbers, kind="stable")], ends[:-1]) if count else []


def _block(low: NDArray, high: NDArray, shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(max(int(a), 0), min(int(b) + 1, n)) for a, b, n in zip(low, high, shape, strict=True))
