"""What a made patch becomes in the scan: the lesion on the scan's own grid, and at 1 mm as the network sees it.

A patch is made a little wider than the lesion, so that each voxel of the scan's grid finds made values around it. Only
the lesion's own voxels are written, and their border runs inside the made patch. So a lesion is judged after it was
pasted, on the grid of the scan; for what needs 1 mm the scan with it is cut anew, and the lesion is the voxels of which
it fills half. On a scan of 1 mm both are the patch itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from domains.medical.geometry import Patch, crop_at_spacing, paste_back, to_mm
from domains.medical.lesions.conditioning import SPACING_MM, Scale
from domains.medical.lesions.quality import InScan

HALF = 0.5  # share of a patch voxel that a lesion fills where it counts as lesion


@dataclass(frozen=True, eq=False)
class Pasted:
    """One contrast around a site after the lesions were put in, in network units.

    patch           (D, H, W) at 1 mm
    before, after   a block of the scan's own grid without and with them, which begins at the voxel `low`
    """

    patch: NDArray
    before: NDArray
    after: NDArray
    low: NDArray


def pasted(
    values: NDArray, affine: NDArray, patch: Patch, made: NDArray, voxels: NDArray, scale: Scale, fill: float
) -> Pasted:
    """The neighbourhood of a site as it is written.

    values, affine   the scan in its RAS frame;  fill  its value outside the grid
    patch            cut from it at 1 mm;  made  (D, H, W) the same patch with the lesions, network units
    voxels           (n, 3) of the scan that are written
    """
    start, step, size = np.asarray(patch.start), np.asarray(patch.step), np.asarray(made.shape)
    reach = 2 + step  # at least what a resampled voxel reads on either side
    low = np.floor(start - reach).astype(int)
    block = _block(values, low, np.ceil(start + step * (size - 1) + reach).astype(int) + 1, fill)
    inside = np.zeros(block.shape, bool)
    inside[tuple((voxels - low).T)] = True
    x, y, z = (float(v) for v in start - low)
    # Units without a limit: what is outside the mask keeps its value until it was resampled.
    before = (block - scale.centre) / scale.half_range
    after = paste_back(replace(patch, values=made, start=(x, y, z)), before, inside)
    seen = _cut(after, affine, low, patch, (fill - scale.centre) / scale.half_range)
    return Pasted(np.clip(seen, -1, 1), np.clip(before, -1, 1), np.clip(after, -1, 1), low)


def in_scan(made: Mapping[str, Pasted], voxels: NDArray, spacing: tuple[float, float, float]) -> InScan:
    """One lesion, voxels (n, 3) of the RAS frame, out of what was pasted, with a millimetre and more around it."""
    rim = np.ceil(1 / np.asarray(spacing)).astype(int) + 1
    start, stop = voxels.min(0) - rim, voxels.max(0) + rim + 1
    mask = np.zeros(stop - start, bool)
    mask[tuple((voxels - start).T)] = True
    low = next(iter(made.values())).low
    here = tuple(slice(a, b) for a, b in zip(start - low, stop - low, strict=True))
    before, after = ({name: getattr(one, key)[here] for name, one in made.items()} for key in ("before", "after"))
    return InScan(before, after, mask, spacing)


def lesion_in(patch: Patch, affine: NDArray, voxels: NDArray) -> NDArray:
    """(D, H, W) bool: where a lesion, voxels (n, 3) of the RAS frame, lies in a patch.

    That is where it fills half of a voxel; one too thin to do so anywhere is the voxels that it fills most.
    """
    low = voxels.min(0)
    block = np.zeros(np.ptp(voxels, axis=0) + 1, np.float32)
    block[tuple((voxels - low).T)] = 1
    share = _cut(block, affine, low, patch, 0.0)
    return np.asarray(share >= min(HALF, 0.999 * float(share.max())))


def _block(values: NDArray, low: NDArray, high: NDArray, fill: float) -> NDArray:
    """float32 voxels from `low` up to `high` of a scan; those beyond its grid are `fill`."""
    first, last = np.maximum(low, 0), np.minimum(high, values.shape)
    inner = np.asarray(values[tuple(slice(a, b) for a, b in zip(first, last, strict=True))], np.float32)
    return np.pad(inner, list(zip(first - low, high - last, strict=True)), constant_values=fill)


def _cut(block: NDArray, affine: NDArray, low: NDArray, patch: Patch, fill: float) -> NDArray:
    """What `patch` shows, cut from a block of the scan that begins at the voxel `low`."""
    here = np.array(affine, float)
    here[:3, 3] = to_mm(affine, low)
    size = patch.values.shape
    middle = to_mm(affine, np.asarray(patch.start) + np.asarray(patch.step) * (np.asarray(size) - 1) / 2)
    return crop_at_spacing(block, here, middle.tolist(), size, SPACING_MM, fill=fill).values
