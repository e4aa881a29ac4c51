"""A lesion mask drawn by hand: a ball that is put at a point or drawn along a line, in mm, in all three dimensions.

A voxel belongs to a stroke when its centre lies within half the diameter of the line through the stroke's points:

    min over segments of |S (v - closest point)| <= diameter / 2,      S = voxel edges in mm

so a stroke is a tube with round ends, a single point a ball, and a mask drawn in one plane has a thickness in the other
two. The voxels under the points always belong to it, however thin the line.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST_POINTS = 4000  # of one stroke: more than a hand draws


def stroke(
    shape: Sequence[int], spacing: Sequence[float], points: NDArray | Sequence[Sequence[float]], diameter_mm: float
) -> NDArray:
    """The voxels of a stroke, (shape) bool.

    points       (n, 3) voxel indices, fractional ones allowed, n from 1 to MOST_POINTS; those outside are moved to the
                 nearest voxel of the grid
    diameter_mm  of the ball, above 0
    """
    edges = np.asarray(spacing, float)
    path = np.clip(np.asarray(points, float).reshape(-1, 3), 0, np.asarray(shape) - 1)
    if not 1 <= len(path) <= MOST_POINTS or not diameter_mm > 0:
        raise ValueError(f"a stroke of {len(path)} points and {diameter_mm} mm")
    out = np.zeros(tuple(shape), bool)
    near = np.rint(path).astype(np.intp)
    out[near[:, 0], near[:, 1], near[:, 2]] = True
    path = _thinned(path, edges, diameter_mm / 16)
    ends = np.vstack([path[1:], path[-1:]])
    radius = diameter_mm / 2
    for start, end in zip(path, ends, strict=True):
        low = np.maximum(np.floor(np.minimum(start, end) - radius / edges), 0).astype(int)
        high = np.minimum(np.ceil(np.maximum(start, end) + radius / edges), np.asarray(shape) - 1).astype(int)
        block = tuple(slice(int(a), int(b) + 1) for a, b in zip(low, high, strict=True))
        grid = np.stack(np.meshgrid(*[np.arange(s.start, s.stop) for s in block], indexing="ij"), -1)
        out[block] |= _distance(grid * edges, start * edges, end * edges) <= radius + 1e-9
    return out


def volume_ml(mask: NDArray, affine: NDArray) -> float:
    """Volume of a mask in mL, from the size of a voxel."""
    return float(np.count_nonzero(mask)) * abs(float(np.linalg.det(np.asarray(affine, float)[:3, :3]))) / 1000


def _distance(where: NDArray, start: NDArray, end: NDArray) -> NDArray:
    """Distance of points (..., 3) from the segment between two points (3,)."""
    along = end - start
    length = float(along @ along)
    share = np.clip((where - start) @ along / length, 0, 1) if length else np.zeros(where.shape[:-1])
    return np.linalg.norm(where - start - share[..., None] * along, axis=-1)


def _thinned(path: NDArray, edges: NDArray, step: float) -> NDArray:
    """The path without points nearer than `step` mm to the one kept before; first and last are kept."""
    kept = [path[0]]
    for point in path[1:]:
        if np.linalg.norm((point - kept[-1]) * edges) >= step:
            kept.append(point)
    if len(path) > 1 and (kept[-1] != path[-1]).any():
        kept.append(path[-1])
    return np.asarray(kept)
