"""Every shape in every size, tilt and place: which one a soft mask looks like.

    error = sum w (m - t)^2 / sum w t,    w = 0 where another thing hides the pixel

over templates t of the renderer's own coverage, in steps of 0.5 pixels of size and place and 10 degrees of tilt. All
templates and places are compared at once, as two matrix products: sum w m^2 - 2 (w m) t + w t^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.image.shapes.render import stencil
from domains.image.shapes.scene import SHAPES

WINDOW: Final = 22  # pixels
SMALLEST, LARGEST, STEP = 7.5, 18.5, 0.5  # sizes in pixels of a picture of 32
TILTS: Final = (-20.0, -10.0, 0.0, 10.0, 20.0)
UPRIGHT: Final = ("circle", "figure")
SEEN: Final = 0.55  # share of a template that must count


@dataclass(frozen=True)
class Fit:
    """The best template: shape, size and centre in pixels, tilt, and its squared error as a share of its area."""

    shape: str
    size: float
    x: float
    y: float
    angle: float
    error: float


@dataclass(frozen=True, eq=False)
class Bank:
    """All templates: which (K, 5) shape, size, tilt and centre in the window; flat (K, W W) coverage; area (K,)."""

    which: NDArray
    flat: NDArray
    square: NDArray
    area: NDArray


@cache
def bank() -> Bank:
    """The templates, made once: their centres stand in the middle of the window, and half a pixel beside it."""
    which, flat = [], []
    sizes = np.arange(SMALLEST, LARGEST + STEP / 2, STEP)
    for index, name in enumerate(SHAPES):
        tilts = (0.0,) if name in UPRIGHT else TILTS
        grid = np.array([(s, a, x, y) for s in sizes for a in tilts for x in (0, 0.5) for y in (0, 0.5)], np.float32)
        middle = WINDOW / 2 + grid[:, 2:]
        made = stencil(name, middle[:, 0], middle[:, 1], grid[:, 0], grid[:, 1], WINDOW)
        which.append(np.column_stack([np.full(len(grid), index), grid]))
        flat.append(made.reshape(len(grid), -1))
    all_flat = np.concatenate(flat)
    return Bank(np.concatenate(which), all_flat, all_flat**2, all_flat.sum(1))


def best_fit(soft: NDArray, counts: NDArray, reach: int = 2) -> Fit:
    """The template nearest to a soft mask (S, S) in 0..1, over the pixels that count (S, S) bool.

    reach   pixels around the middle of what is seen in which the centre is looked for
    """
    known = bank()
    rows, columns = np.nonzero(soft > 0.5)
    middle_y, middle_x = (int((v.min() + v.max() + 1) // 2) for v in (rows, columns))
    pad = WINDOW // 2 + reach
    m = np.pad(np.where(counts, soft, 0).astype(np.float32), pad)
    w = np.pad(counts.astype(np.float32), pad)  # outside the picture nothing counts
    shifts = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
    top, left = middle_y + pad - WINDOW // 2, middle_x + pad - WINDOW // 2
    crops = np.stack([m[top + dy : top + dy + WINDOW, left + dx : left + dx + WINDOW] for dy, dx in shifts])
    weights = np.stack([w[top + dy : top + dy + WINDOW, left + dx : left + dx + WINDOW] for dy, dx in shifts])
    crops, weights = crops.reshape(len(shifts), -1), weights.reshape(len(shifts), -1)
    total = (np.where(counts, soft, 0) ** 2).sum()
    error = total - 2 * known.flat @ crops.T + known.square @ weights.T  # (K, shifts)
    seen = known.flat @ weights.T
    share = np.where(seen >= SEEN * known.area[:, None], error / np.maximum(seen, 1e-6), np.inf)
    k, s = np.unravel_index(int(share.argmin()), share.shape)
    index, size, tilt, x, y = known.which[k]
    dy, dx = shifts[s]
    return Fit(
        SHAPES[int(index)],
        float(size),
        float(middle_x + dx + x),
        float(middle_y + dy + y),
        float(tilt),
        float(max(share[k, s], 0)),
    )


def mask_of(fit: Fit, side: int) -> NDArray:
    """(side, side) bool: the pixels that a fit covers by half or more."""
    place = [np.array([value], np.float32) for value in (fit.x + WINDOW, fit.y + WINDOW, fit.size, fit.angle)]
    made = stencil(fit.shape, *place, side + 2 * WINDOW)[0]
    out: NDArray = made[WINDOW : WINDOW + side, WINDOW : WINDOW + side] >= 0.5
    return out
