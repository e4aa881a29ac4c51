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
LEAST, MOST = 0.7, 3.0  # areas of the templates that are tried, in areas of what is seen: a part may be hidden


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
    return Bank(np.concatenate(which), all_flat, all_flat.sum(1))


def best_fit(soft: NDArray, counts: NDArray | None = None, reach: int = 2) -> Fit:
    """The template nearest to a soft mask (S, S) in 0..1.

    counts  (S, S) bool, the pixels that count; None: all, and outside the picture there is nothing
    reach   pixels around the middle of what is seen in which the centre is looked for
    """
    known = bank()
    rows, columns = np.nonzero(soft > 0.5)
    middle_y, middle_x = (int((v.min() + v.max() + 1) // 2) for v in (rows, columns))
    top, left = middle_y + reach, middle_x + reach  # in the padded picture: half a window before the middle
    shifts = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]

    def crops(values: NDArray) -> NDArray:
        wide = np.pad(values.astype(np.float32), WINDOW // 2 + reach)
        parts = [wide[top + dy : top + dy + WINDOW, left + dx : left + dx + WINDOW] for dy, dx in shifts]
        return np.stack(parts).reshape(len(shifts), -1).T  # (W W, shifts)

    shown = np.where(counts, soft, 0) if counts is not None else soft
    area = float(shown.sum())
    near = (known.area >= area * (LEAST if counts is None else 1.0)) & (known.area <= area * MOST)
    near = near if near.any() else np.ones(len(near), bool)
    flat, whole = known.flat[near], known.area[near][:, None]
    error = (shown**2).sum() - 2 * flat @ crops(shown)  # (K, shifts)
    if counts is None:
        share = (error + (flat**2).sum(1)[:, None]) / whole
    else:
        weights = crops(counts)  # outside the picture nothing counts
        seen = flat @ weights
        share = np.where(seen >= SEEN * whole, (error + flat**2 @ weights) / np.maximum(seen, 1e-6), np.inf)
    k, s = np.unravel_index(int(share.argmin()), share.shape)
    k = np.nonzero(near)[0][k]
    index, size, tilt, x, y = known.which[k]
    dy, dx = shifts[s]
    return Fit(
        SHAPES[int(index)],
        float(size),
        float(middle_x + dx + x),
        float(middle_y + dy + y),
        float(tilt),
        float(max(share.min(), 0)),
    )


def mask_of(fit: Fit, side: int) -> NDArray:
    """(side, side) bool: the pixels that a fit covers by half or more."""
    place = (fit.x + WINDOW, fit.y + WINDOW, fit.size, fit.angle)
    x, y, size, angle = (np.array([value], np.float32) for value in place)
    made = stencil(fit.shape, x, y, size, angle, side + 2 * WINDOW)[0]
    out: NDArray = made[WINDOW : WINDOW + side, WINDOW : WINDOW + side] >= 0.5
    return out
