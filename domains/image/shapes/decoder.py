"""What a picture shows, read from its pixels: background, things, their masks and relations, and how far to trust it.

    found = decode(picture)        Found(background, pattern, things, relation words, labels, valid, ...)

1. Background: of the 18 that exist, the one that most pixels agree with.
2. Colours: a pixel belongs to the colour whose line from shade to full it is nearest to; a colour is there when it has
   enough clean pixels. The things of a scene differ in colour, so a colour is a thing.
3. Shape: the soft mask of a colour against every shape, size, tilt and place in half pixels (`templates.py`); pixels
   that a nearer thing hides do not count.
4. Connector: dark pixels between two things against bar, rope and dashes.
5. Trust: a picture is valid when its pixels are explained, its things look like shapes, and its edges are sharp. The
   thresholds are those that real renders pass (tests/image/test_shape_decoder.py) and blurred or mixed ones do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.image.shapes.render import backgrounds, connectors
from domains.image.shapes.scene import (
    BACKGROUNDS,
    COLOUR_TABLE,
    COLOURS,
    CONNECTED,
    CONNECTOR,
    PATTERNS,
    RELATIONS,
    SHADE,
    TEXTURES,
    THINGS,
)
from domains.image.shapes.templates import best_fit, mask_of

SIDE: Final = 32
CLEAN: Final = 45.0  # distance in RGB within which a pixel has a colour, not a mixture
PURE: Final = 25.0  # the same for the texture
WHOLE: Final = 0.06  # shape error of a thing that nothing hides
FEWEST: Final = 7  # clean pixels of a thing
DARK_FEWEST: Final = 3  # of a connector
ALIKE: Final = 0.6  # least cosine of the dark pixels and a connector as drawn
CONNECTED_LABEL: Final = len(COLOURS)
UNEXPLAINED, MISFIT, BLUR = 0.03, 0.25, 0.48  # largest share of strange pixels, mean shape error, share of mixed pixels


@dataclass(frozen=True, eq=False)
class Seen:
    """One thing that was found. mask (32, 32) bool: its visible pixels; box: x0, y0, x1, y1 of the whole thing."""

    shape: str
    colour: str
    texture: str
    size: float
    x: float
    y: float
    box: tuple[float, float, float, float]
    mask: NDArray
    whole: NDArray
    misfit: float


@dataclass(frozen=True, eq=False)
class Found:
    """What a picture shows.

    things     left to right;  connector  (kind, subject, object) or None
    labels     (32, 32) int: 0 background, k + 1 things[k], -1 connector
    strange    share of pixels that neither a colour nor a mixture of neighbours explains;  blur  share of mixed ones
    valid      whether all of this can be trusted
    """

    background: str
    pattern: str
    things: tuple[Seen, ...]
    connector: tuple[str, int, int] | None
    labels: NDArray
    strange: float
    blur: float
    valid: bool

    def holds(self, kind: str, subject: int, object: int) -> bool:
        """Whether a relation holds between two of the things, by their places, masks and connector."""
        a, b = self.things[subject], self.things[object]
        if kind in CONNECTED:
            return self.connector == (kind, subject, object)
        if self.connector is not None and {subject, object} == set(self.connector[1:]):
            return False
        shared = float((a.whole & b.whole).sum())
        within = shared / max(float(a.whole.sum()), 1)
        touch = shared / max(min(float(a.whole.sum()), float(b.whole.sum())), 1)
        if kind == "inside":
            return within >= INSIDE and a.size < b.size
        if kind == "front":
            hidden = b.whole & a.whole & ~b.mask
            return TOUCHING <= touch and within < INSIDE and float(hidden.sum()) >= 0.6 * shared
        dx, dy = b.x - a.x, b.y - a.y
        along, aside = (dx, dy) if kind == "left" else (dy, dx)
        return touch < TOUCHING and along > abs(aside)


INSIDE, TOUCHING = 0.85, 0.04  # share of a thing's area


def decode(picture: NDArray) -> Found:
    """Read one picture (32, 32, 3) uint8."""
    if picture.shape != (SIDE, SIDE, 3):
        raise ValueError(f"a picture of {SIDE} x {SIDE} x 3 is read, got {picture.shape}")
    pixels = picture.astype(np.float32)
    ground, pattern, below = _background(pixels)
    far = np.linalg.norm(pixels - below, axis=-1)  # (S, S) distance to the background
    near = np.concatenate([_colour_distances(pixels), _connector_distance(pixels)[None]])  # (9, S, S)
    label = near.argmin(0)
    clean = (near.min(0) < CLEAN) & (near.min(0) < far)
    present = [k for k in range(len(COLOURS)) if _is_there(clean & (label == k))]
    line = (clean & (label == CONNECTED_LABEL)).sum() >= DARK_FEWEST
    known = [*present, *([CONNECTED_LABEL] if line else [])]
    if not known:
        return Found(ground, pattern, (), None, np.zeros((SIDE, SIDE), int), float((far > CLEAN).mean()), 0.0, False)
    owner = _owners(near, far, label, clean, known)
    for k in present:  # what does not hang together with a clean core is the rim of another thing
        owner[(owner == k) & ~_joined(_core(clean & (label == k)), owner == k)] = -1
    things = []
    for k in present:
        seen = _thing(k, pixels, owner, far, near)
        if seen is not None:
            things.append((k, seen))
    things.sort(key=lambda item: item[1].x)
    labels = np.zeros((SIDE, SIDE), int)
    for index, (k, _) in enumerate(things):
        labels[owner == k] = index + 1
    labels[owner == CONNECTED_LABEL] = -1
    seen_things = tuple(seen for _, seen in things)
    connector = _connector(seen_things, owner == CONNECTED_LABEL, far, near[CONNECTED_LABEL]) if line else None
    strange, blur = _doubt(pixels, below, owner, known, near, far)
    fits = all(seen.misfit <= MISFIT for seen in seen_things)
    line_explained = connector is not None or not line
    valid = (
        1 <= len(seen_things) <= THINGS
        and len(seen_things) == len(present)
        and strange <= UNEXPLAINED
        and blur <= BLUR
        and fits
        and line_explained
    )
    return Found(ground, pattern, seen_things, connector, labels, strange, blur, bool(valid))


# ----------------------------------------------------------------------------------------------------------- the steps


@cache
def _grounds() -> NDArray:
    return backgrounds(SIDE).reshape(-1, SIDE, SIDE, 3)


def _background(pixels: NDArray) -> tuple[str, str, NDArray]:
    grounds = _grounds()
    close = np.linalg.norm(grounds - pixels, axis=-1)  # (18, S, S)
    best = int(np.minimum(close, CLEAN).sum((1, 2)).argmin())
    return tuple(BACKGROUNDS)[best // len(PATTERNS)], PATTERNS[best % len(PATTERNS)], grounds[best]


def _colour_distances(pixels: NDArray) -> NDArray:
    """(8, S, S): distance of every pixel to the line from a colour's shade to the colour."""
    norm = (COLOUR_TABLE**2).sum(1)
    share = np.clip(np.einsum("yxc,kc->kyx", pixels, COLOUR_TABLE) / norm[:, None, None], SHADE, 1)
    return np.linalg.norm(share[..., None] * COLOUR_TABLE[:, None, None] - pixels, axis=-1)


def _connector_distance(pixels: NDArray) -> NDArray:
    return np.linalg.norm(pixels - np.array(CONNECTOR, np.float32), axis=-1)


def _is_there(mask: NDArray) -> bool:
    """Enough pixels, four of them in a square: a rim of mixed pixels is no thing."""
    return bool(mask.sum() >= FEWEST and _core(mask).any())


def _owners(near: NDArray, far: NDArray, label: NDArray, clean: NDArray, known: list[int]) -> NDArray:
    """(S, S) colour of every pixel, -1 the background; a mixed pixel belongs to a clean neighbour where it has one."""
    options = np.stack([far, *near[known]])
    sure = np.stack([far < np.minimum(CLEAN, near.min(0)), *(clean & (label == k) for k in known)])
    beside = np.stack([_grown(one) for one in sure])
    local = np.where(sure.any(0) | ~beside.any(0), options, np.where(beside, options, np.inf))
    return np.array([-1, *known])[local.argmin(0)]


def _core(mask: NDArray) -> NDArray:
    """The pixels of a mask that lie in a square of four of it."""
    block = np.pad(mask[1:, 1:] & mask[:-1, 1:] & mask[1:, :-1] & mask[:-1, :-1], 1)
    out: NDArray = block[1:, 1:] | block[:-1, 1:] | block[1:, :-1] | block[:-1, :-1]
    return out


def _joined(seed: NDArray, mask: NDArray) -> NDArray:
    """The pixels of `mask` that hang together with `seed`."""
    while True:
        grown = _grown(seed) & mask
        if (grown == seed).all():
            return seed
        seed = grown


def _thing(k: int, pixels: NDArray, owner: NDArray, far: NDArray, near: NDArray) -> Seen | None:
    mine = owner == k
    if mine.sum() < FEWEST:
        return None
    rest, others = far, (owner >= 0) & ~mine  # distance to whatever else a pixel may be
    for j in np.unique(owner[others]):
        rest = np.where(_grown(owner == j), np.minimum(rest, near[j]), rest)
    soft = np.where(_grown(mine), rest / np.maximum(rest + near[k], 1e-6), 0)
    soft = np.where(mine & (near[k] < CLEAN), 1.0, soft).astype(np.float32)
    fit = best_fit(soft)
    if fit.error > WHOLE and (_grown(mine) & others).any():  # it touches others: they may hide a part of it
        partly = best_fit(soft, ~(others | (_grown(others) & ~mine)), reach=4)
        fit = partly if 2 * partly.error < fit.error else fit
    whole = mask_of(fit, SIDE)
    x0, y0, x1, y1 = _box(whole)
    texture = _texture(k, pixels, mine & (near[k] < PURE))
    return Seen(
        fit.shape,
        tuple(COLOURS)[k],
        texture,
        fit.size / SIDE,
        fit.x / SIDE,
        fit.y / SIDE,
        (x0 / SIDE, y0 / SIDE, x1 / SIDE, y1 / SIDE),
        mine,
        whole,
        fit.error,
    )


def _texture(k: int, pixels: NDArray, mine: NDArray) -> str:
    """Solid where the brightness hardly varies; stripes where rows explain its variation; dots otherwise."""
    colour = COLOUR_TABLE[k]
    share = (pixels @ colour) / float(colour @ colour)
    values = share[mine]
    if len(values) == 0 or values.std() < 0.07:
        return TEXTURES[0]
    rows = np.nonzero(mine)[0]
    sums, counts = np.bincount(rows, values, SIDE), np.bincount(rows, minlength=SIDE)
    explained = np.var((sums / np.maximum(counts, 1))[rows]) / np.var(values)
    return TEXTURES[1] if explained > 0.72 else TEXTURES[2]


def _connector(things: tuple[Seen, ...], dark: NDArray, far: NDArray, near: NDArray) -> tuple[str, int, int] | None:
    """The pair and kind whose drawing agrees best with the dark pixels, if any agrees well: the cosine of the two."""
    pairs = [(i, j) for i in range(len(things)) for j in range(len(things)) if i != j]
    tried = [(kind, i, j) for kind in CONNECTED for i, j in pairs if _may_join(kind, things[i], things[j])]
    if not tried:
        return None
    kinds = np.array([RELATIONS.index(kind) for kind, _, _ in tried])
    ends = np.array([(things[i].x, things[i].y, things[j].x, things[j].y) for _, i, j in tried])
    free = ~np.any([_grown(thing.mask) for thing in things], axis=0)
    drawn = connectors(kinds, ends, SIDE) * free
    soft = np.where(_grown(dark) & free, far / np.maximum(far + near, 1e-6), 0)
    size = np.sqrt((drawn**2).sum((1, 2)) * (soft**2).sum())
    score = (drawn * soft).sum((1, 2)) / np.maximum(size, 1e-6)
    best = int(score.argmax())
    return tried[best] if score[best] >= ALIKE else None


def _may_join(kind: str, a: Seen, b: Seen) -> bool:
    """A bar goes up from its holder, a rope to the left of its puller, dashes to the right of their pusher."""
    dx, dy = b.x - a.x, b.y - a.y
    return {"holding": -dy > abs(dx), "pulling": -dx > abs(dy), "pushing": dx > abs(dy)}[kind]


def _doubt(
    pixels: NDArray, below: NDArray, owner: NDArray, known: list[int], near: NDArray, far: NDArray
) -> tuple[float, float]:
    """(share of strange pixels, mixed pixels for each pixel of contour)."""
    own = np.where(owner < 0, far, near[owner.clip(0), np.arange(SIDE)[:, None], np.arange(SIDE)])
    mixed = own > CLEAN
    at = owner.copy()
    edge = np.zeros_like(mixed)
    edge[:, :-1] |= at[:, :-1] != at[:, 1:]
    edge[:, 1:] |= at[:, :-1] != at[:, 1:]
    edge[:-1] |= at[:-1] != at[1:]
    edge[1:] |= at[:-1] != at[1:]
    strange = mixed & ~_grown(edge)
    return float(strange.mean()), float((mixed & edge).sum() / max(int(edge.sum()), 1))


def _grown(mask: NDArray) -> NDArray:
    """A mask and its eight neighbours."""
    wide = np.pad(mask, 1)
    rows = wide[:-2] | wide[1:-1] | wide[2:]
    out: NDArray = rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]
    return out


def _box(mask: NDArray) -> tuple[float, float, float, float]:
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    if len(rows) == 0:
        return 0.0, 0.0, 0.0, 0.0
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
