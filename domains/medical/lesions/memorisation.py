"""Has the model copied a training lesion? Correlation with every training patch, from fingerprints alone.

A patch is a block of 16^3 voxels of 1 mm, made mean-free and of unit norm; the normalised cross-correlation (NCC) of
two patches is then their inner product. Training scans are not shipped, so a training patch is kept as a random
projection to 1024 numbers, whose inner products estimate those of the patches (Johnson and Lindenstrauss, 1984).

Flips cost nothing: along an axis a patch is the sum of an even and an odd part, and a mirror changes the sign of the
odd part only. A patch is split into its 8 parities (512 numbers each), every parity has a Gaussian matrix of its own,
and the NCC with a mirrored patch is a signed sum of 8 inner products. Shifts are applied to the query.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

EDGE = 16  # mm: a lesion of the median size with its surroundings
SHIFT = 3  # mm to either side, so that cells of 7 mm leave no position out
CELL = 2 * SHIFT + 1
KEPT = 128  # numbers for each of the 8 parities
WINDOW = EDGE + 2 * SHIFT
_PARITIES = tuple(product((0, 1), repeat=3))
# (8 flips, 8 parities): -1 where the flip mirrors an odd axis of the parity
SIGNS = np.array(
    [[(-1) ** sum(f * p for f, p in zip(flip, odd, strict=True)) for odd in _PARITIES] for flip in _PARITIES]
)


def gaussian_projection(seed: int = 0) -> Tensor:
    """(8, 512, KEPT) standard normal numbers over sqrt(KEPT), float16: stored with the fingerprints made by it."""
    draw = np.random.default_rng(seed).standard_normal((8, EDGE**3 // 8, KEPT))
    return torch.from_numpy(draw / np.sqrt(KEPT)).half()


def cells_of(lesion: NDArray) -> tuple[NDArray, NDArray]:
    """The lattice of 7^3 cells over a lesion (bool, D, H, W): centre (n, 3) of each cell that holds a voxel of it, and
    which cell each voxel of `np.argwhere(lesion)` is in. The lattice is centred on the bounding box.

    Training patches lie at the centres of all cells, so a patch around any voxel of the lesion is a shift away.
    """
    places = np.argwhere(lesion)
    low, extent = places.min(0), np.ptp(places, axis=0) + 1
    origin = low - (-extent % CELL) // 2
    cells, index = np.unique((places - origin) // CELL, axis=0, return_inverse=True)
    return cells * CELL + origin + SHIFT, index.ravel()


def centres_of(lesion: NDArray) -> NDArray:
    """(n, 3) voxels to compare a made lesion at: a cell's lesion voxel nearest to their mean; fullest cell first."""
    places = np.argwhere(lesion)
    index = cells_of(lesion)[1]
    out = []
    for cell in np.argsort(-np.bincount(index), kind="stable"):
        own = places[index == cell]
        out.append(own[np.square(own - own.mean(0)).sum(1).argmin()])
    return np.array(out)


def window(values: NDArray, centre: NDArray) -> Tensor:
    """(22, 22, 22) float32 block around a voxel; beyond the border the nearest voxel is repeated."""
    start = np.asarray(centre) - EDGE // 2 - SHIFT
    axes = [np.clip(np.arange(s, s + WINDOW), 0, n - 1) for s, n in zip(start, values.shape, strict=True)]
    return torch.from_numpy(np.ascontiguousarray(values[np.ix_(*axes)], np.float32))


def shifted(block: Tensor) -> Tensor:
    """(22, 22, 22) -> (343, 16, 16, 16): every shift by up to 3 voxels along each axis, a view."""
    return block.unfold(0, EDGE, 1).unfold(1, EDGE, 1).unfold(2, EDGE, 1).reshape(-1, EDGE, EDGE, EDGE)


def central(block: Tensor) -> Tensor:
    """(22, 22, 22) -> (16, 16, 16): the patch without a shift."""
    inner = slice(SHIFT, SHIFT + EDGE)
    return block[inner, inner, inner]


def unit_norm(patches: Tensor) -> Tensor:
    """(n, 16, 16, 16) patches made mean-free and of unit norm; a constant patch becomes zero."""
    flat = patches.reshape(len(patches), -1)
    flat = flat - flat.mean(1, keepdim=True)
    return (flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-3)).reshape(patches.shape)


def parities(patches: Tensor) -> Tensor:
    """(n, 16, 16, 16) -> (n, 8, 512): even and odd part along each axis, an orthonormal change of basis."""
    parts = patches[:, None]  # (n, 1, 16, 16, 16)
    for axis in (2, 3, 4):
        low, high = parts.narrow(axis, 0, EDGE // 2), parts.narrow(axis, EDGE // 2, EDGE // 2).flip(axis)
        parts = torch.stack((low + high, low - high), 2).flatten(1, 2) * 0.5**0.5
    return parts.flatten(2)


def fingerprints(patches: Tensor, projection: Tensor) -> Tensor:
    """(n, 16, 16, 16) -> (n, 8, KEPT) float32 of unit norm, so that a patch and its copy have exactly 1."""
    kept = torch.einsum("npv,pvk->npk", parities(unit_norm(patches)), projection.float())
    # The norm of a projected patch is 1 to a few percent; a constant patch has none to divide by.
    return kept / kept.flatten(1).norm(dim=1).clamp_min(0.1)[:, None, None]


def highest_ncc(block: Tensor, known: Tensor, projection: Tensor) -> Tensor:
    """(N,) estimated NCC of a block (22, 22, 22) with each known fingerprint (N, 8, KEPT), the highest over 343 shifts
    and 8 flips. Zero where nothing is known."""
    query = fingerprints(shifted(block), projection)  # (343, 8, KEPT)
    inner = torch.einsum("spk,npk->psn", query, known.float())  # (8, 343, N)
    best = torch.full((inner.shape[2],), -1.0)
    for signs in torch.from_numpy(SIGNS).float():
        best = torch.maximum(best, torch.einsum("p,psn->sn", signs, inner).amax(0))
    return best


def exact_ncc(block: Tensor, patch: Tensor) -> float:
    """The highest NCC of a block (22, 22, 22) with one patch (16, 16, 16) over shifts and flips, computed in full."""
    query = unit_norm(shifted(block)).flatten(1)
    flips = [patch.flip([axis for axis, f in enumerate(flip) if f]) for flip in _PARITIES]
    return float((query @ unit_norm(torch.stack(flips)).flatten(1).T).max())
