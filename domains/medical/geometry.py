"""Voxel frames: exact reorientation to RAS, crops at a declared spacing, and the way back.

An affine `A` (4, 4) takes a voxel index to millimetres: `mm = A[:3, :3] @ ijk + A[:3, 3]`, with +x to the patient's
right, +y to the front, +z to the top. The *RAS frame* of a grid is the same grid with its axes permuted and flipped
so that each index grows towards R, A and S as nearly as the grid allows. An oblique scan stays oblique: nothing is
interpolated, only relabelled, and the way back is exact to the bit.

A patch is a block with its own spacing whose axes are those of the RAS voxel frame (not of the world), so resampling
is separable: one small matrix of weights an axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Two spacings closer than this share of a voxel are the same spacing: over 256 voxels they differ by a quarter voxel.
SAME_SPACING = 1e-3


def spacing_of(affine: NDArray) -> tuple[float, float, float]:
    """Edge lengths of a voxel in mm: the column lengths of the affine."""
    x, y, z = (float(v) for v in np.linalg.norm(np.asarray(affine, float)[:3, :3], axis=0))
    return x, y, z


def to_mm(affine: NDArray, voxel: Sequence[float] | NDArray) -> NDArray:
    """Voxel indices (..., 3) to millimetres (..., 3)."""
    affine = np.asarray(affine, float)
    return np.asarray(voxel, float) @ affine[:3, :3].T + affine[:3, 3]


def to_voxel(affine: NDArray, mm: Sequence[float] | NDArray) -> NDArray:
    """Millimetres (..., 3) to fractional voxel indices (..., 3)."""
    affine = np.asarray(affine, float)
    return np.linalg.solve(affine[:3, :3], (np.asarray(mm, float) - affine[:3, 3]).T).T


@dataclass(frozen=True, eq=False)
class Frame:
    """The permutation and flips between the axes of a file and its RAS frame.

    axes    file axis that becomes RAS axis 0, 1, 2
    flips   True where that file axis runs towards L, P or I
    shape   shape in the file
    affine  affine of the RAS array, (4, 4): it gives every voxel the same millimetres as the affine of the file
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    shape: tuple[int, int, int]
    affine: NDArray

    def to_ras(self, array: NDArray) -> NDArray:
        """(file shape) -> (RAS shape), a view: no number changes and nothing is copied."""
        if array.shape != self.shape:
            raise ValueError(f"the array has shape {array.shape}, the frame {self.shape}")
        turn = tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flips)
        return array.transpose(self.axes)[turn]

    def from_ras(self, array: NDArray) -> NDArray:
        """(RAS shape) -> (file shape), a view: the exact inverse of `to_ras`."""
        if array.shape != self.ras_shape:
            raise ValueError(f"the array has shape {array.shape}, the RAS frame {self.ras_shape}")
        turn = tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flips)
        return array[turn].transpose(tuple(int(i) for i in np.argsort(self.axes)))

    @property
    def ras_shape(self) -> tuple[int, int, int]:
        a, b, c = (self.shape[axis] for axis in self.axes)
        return a, b, c


def ras_frame(shape: Sequence[int], affine: NDArray) -> Frame:
    """The RAS frame of a grid of any of the 48 orientations.

    Each file axis is given the anatomical axis it follows best, the best match of all being fixed first.
    """
    size = (int(shape[0]), int(shape[1]), int(shape[2]))
    affine = np.asarray(affine, float)
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    closeness = np.abs(columns)
    axes = [0, 0, 0]
    for _ in range(3):
        world, axis = (int(i) for i in np.unravel_index(np.argmax(closeness), (3, 3)))
        axes[world] = axis
        closeness[world, :] = -1
        closeness[:, axis] = -1
    flips = [bool(columns[world, axis] < 0) for world, axis in enumerate(axes)]
    ras = np.eye(4)
    origin = np.zeros(3)  # file index of the voxel that becomes (0, 0, 0)
    for world, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        ras[:3, world] = -affine[:3, axis] if flip else affine[:3, axis]
        origin[axis] = size[axis] - 1 if flip else 0
    ras[:3, 3] = to_mm(affine, origin)
    return Frame((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]), size, ras)


def same_grid(shape: Sequence[int], affine: NDArray, other_shape: Sequence[int], other_affine: NDArray) -> bool:
    """True when the shapes are equal and no corner of the two grids lies more than 1/20 of a voxel apart."""
    return tuple(shape) == tuple(other_shape) and grid_distance(shape, affine, other_affine) <= 0.05 * min(
        spacing_of(affine)
    )


def grid_distance(shape: Sequence[int], affine: NDArray, other: NDArray) -> float:
    """Largest distance in mm between the same corner of two grids of one shape."""
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij"), -1).reshape(-1, 3)
    return float(np.linalg.norm(to_mm(affine, corners) - to_mm(other, corners), axis=1).max())


@dataclass(frozen=True, eq=False)
class Patch:
    """A block cut from a volume in its RAS frame.

    values   (size) float32
    start    RAS voxel index of patch voxel (0, 0, 0), fractional when the patch was resampled
    step     patch spacing over voxel spacing, an axis
    affine   patch index to mm, (4, 4)
    """

    values: NDArray
    start: tuple[float, float, float]
    step: tuple[float, float, float]
    affine: NDArray


def crop_at_spacing(
    values: NDArray,
    affine: NDArray,
    centre_mm: Sequence[float],
    size: Sequence[int],
    spacing_mm: float | Sequence[float],
    *,
    fill: float = 0.0,
) -> Patch:
    """A patch of `size` voxels with `spacing_mm`, centred (to half a voxel) at `centre_mm`.

    values, affine   the volume in its RAS frame
    fill             value outside the volume (0: the background of a skull-stripped scan)

    On an axis whose spacing equals that of the patch the patch lands on whole voxels, and the numbers are those of the
    volume. Elsewhere they are interpolated linearly; where the patch is coarser, its voxel is the mean over its length.
    """
    centre = to_voxel(affine, centre_mm)
    wanted = np.broadcast_to(np.asarray(spacing_mm, float), (3,))
    start, step = [], []
    for axis, (have, want) in enumerate(zip(spacing_of(affine), wanted, strict=True)):
        ratio = 1.0 if abs(want / have - 1) < SAME_SPACING else float(want / have)
        first = float(centre[axis]) - ratio * (size[axis] - 1) / 2
        start.append(float(np.floor(first + 0.5)) if ratio == 1.0 else first)
        step.append(ratio)
    block = np.asarray(values)
    for axis in range(3):
        block = _resample_axis(block, axis, start[axis], step[axis], int(size[axis]), fill)
    patch_affine = np.eye(4)
    patch_affine[:3, :3] = np.asarray(affine, float)[:3, :3] * step
    patch_affine[:3, 3] = to_mm(affine, start)
    block = np.ascontiguousarray(block, dtype=np.float32)
    return Patch(block, (start[0], start[1], start[2]), (step[0], step[1], step[2]), patch_affine)


def _resample_axis(block: NDArray, axis: int, start: float, step: float, size: int, fill: float) -> NDArray:
    """Samples of `block` at `start + step * arange(size)` along one axis; outside the block it is `fill`."""
    count = block.shape[axis]
    places = start + step * np.arange(size)
    if step == 1.0 and start == np.floor(start):
        low = int(start)
        inside = slice(max(low, 0), min(max(low + size, 0), count))
        kept = block[(slice(None),) * axis + (inside,)]
        before = min(max(-low, 0), size)
        pad = [(0, 0)] * 3
        pad[axis] = (before, size - before - kept.shape[axis])
        return np.pad(kept, pad, constant_values=fill) if pad[axis] != (0, 0) else kept
    reach = 1 + step / 2
    low = int(np.clip(np.floor(places[0] - reach), 0, count - 1))
    high = int(np.clip(np.ceil(places[-1] + reach) + 1, low + 1, count))
    offset = places[:, None] - np.arange(low, high)
    if step <= 1:
        weights = np.maximum(0, 1 - np.abs(offset))  # (size, nodes)
    else:  # the mean, over the length of a patch voxel, of the volume interpolated linearly
        weights = (_ramp(offset + step / 2) - _ramp(offset - step / 2)) / step
    covered = weights.sum(1)  # below 1 where the block ends
    kept = np.moveaxis(block[(slice(None),) * axis + (slice(low, high),)], axis, 0).astype(np.float32, copy=False)
    out = np.tensordot(weights.astype(np.float32), kept, axes=(1, 0))
    if fill:
        out += (fill * (1 - covered)).astype(np.float32)[:, None, None]
    return np.moveaxis(out, 0, axis)


def _ramp(x: NDArray) -> NDArray:
    """Integral of the triangle max(0, 1 - |x|) from -inf to x."""
    x = np.clip(x, -1, 1)
    return np.where(x < 0, (1 + x) ** 2 / 2, 1 - (1 - x) ** 2 / 2)


def paste_back(patch: Patch, values: NDArray, mask: NDArray) -> NDArray:
    """The volume with the voxels of `mask` taken from the patch; every other voxel is untouched.

    patch    block cut by `crop_at_spacing`, its values perhaps replaced (`dataclasses.replace(patch, values=new)`)
    values   (RAS shape) the volume in its RAS frame, any float dtype
    mask     (RAS shape) bool; every voxel must lie inside the patch (its border counts), else ValueError

    Returns a new float32 array. Linear interpolation; exact where the patch has the spacing of the volume.
    """
    out = np.array(values, dtype=np.float32, order="K")
    where = np.argwhere(mask)  # (n, 3)
    if not len(where):
        return out
    limits = np.asarray(patch.values.shape, float) - 1
    places = (where - np.asarray(patch.start)) / np.asarray(patch.step)
    slack = 0.5 + 1e-6  # a voxel of the patch reaches half a voxel beyond its centre
    if (places < -slack).any() or (places > limits + slack).any():
        low, high = where.min(0).tolist(), where.max(0).tolist()
        raise ValueError(f"the mask spans voxels {low} to {high}, past the patch of {patch.values.shape} voxels")
    places = np.clip(places, 0, limits)
    whole = np.minimum(np.floor(places), np.maximum(limits - 1, 0)).astype(np.intp)
    share = (places - whole).astype(np.float32)
    total = np.zeros(len(where), np.float32)
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(corner, share, 1 - share), axis=1, dtype=np.float32)
        node = np.minimum(whole + corner, limits.astype(np.intp))
        total += weight * patch.values[node[:, 0], node[:, 1], node[:, 2]]
    out[where[:, 0], where[:, 1], where[:, 2]] = total
    return out
