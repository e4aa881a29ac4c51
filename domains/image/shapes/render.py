"""Scenes as pictures: every thing's coverage by 4 x 4 sub-samples a pixel, laid over one another from far to near.

    picture = (1 - c_k) picture + c_k colour_k,    c = share of the pixel's 16 sub-samples that the thing covers

All scenes of a batch are drawn at once. A thing is computed in a window around its centre only, all things of one
shape together, from half-planes, boxes and distances to segments; there is no loop over pixels or scenes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.image.shapes.scene import (
    BACKGROUND_TABLE,
    COLOUR_TABLE,
    CONNECTOR,
    PATTERNS,
    RELATIONS,
    SECOND,
    SHADE,
    SHAPES,
    TEXTURES,
    THINGS,
    Scenes,
)

SAMPLES: Final = 4  # a pixel and axis
REACH: Final = 1.16  # widest extent of a thing of size 1, tilted
SMALL: Final = 0.36  # smaller things are computed in a smaller window
CHUNK: Final = 8  # whole pictures worked on at a time: their sub-samples stay in the processor's cache
PERIOD: Final = 0.125  # of stripes and dots
CELLS: Final = 4  # squares of a checkered background along a side
BAR, ROPE, SAG, DASH = 0.085, 0.06, 0.12, 0.14  # widths, depth of the rope's arc, period of the dashes
# A figure of height 1 around its centre: head (x, y, radius), strokes (x0, y0, x1, y1) of half-width STROKE.
HEAD: Final = (0.0, -0.33, 0.17)
STROKE: Final = 0.075
STROKES: Final = (
    ("spine", 0.0, -0.2, 0.0, 0.12),
    ("arms", -0.27, -0.07, 0.27, -0.07),
    ("left leg", 0.0, 0.12, -0.19, 0.42),
    ("right leg", 0.0, 0.12, 0.19, 0.42),
)


def render(scenes: Scenes, size: int = 32) -> NDArray:
    """Pictures (B, size, size, 3) uint8."""
    return np.clip(np.rint(paint(scenes, coverage(scenes, size))), 0, 255).astype(np.uint8)


def paint(scenes: Scenes, cover: NDArray) -> NDArray:
    """Pictures (B, S, S, 3) float32 in 0..255 of given coverages (B, 4, S, S)."""
    size, rows = cover.shape[-1], np.arange(len(scenes))
    canvas = backgrounds(size)[scenes.background, scenes.pattern]  # (B, S, S, 3), a copy
    joined = scenes.relation >= RELATIONS.index("holding")
    if joined.any():
        over = cover[joined, THINGS, :, :, None]
        canvas[joined] = canvas[joined] * (1 - over) + over * np.array(CONNECTOR, np.float32)
    order = near_last(scenes)
    for layer in range(THINGS):
        k = order[:, layer]
        there = scenes.shape[rows, k] >= 0
        if not there.any():
            continue
        who, k = rows[there], k[there]
        over = cover[who, k][..., None]
        shade = texture(scenes.texture[who, k], scenes.x[who, k], scenes.y[who, k], size)[..., None]
        colour = COLOUR_TABLE[scenes.colour[who, k]][:, None, None]
        canvas[who] += over * (shade * colour - canvas[who])
    return canvas


def near_last(scenes: Scenes) -> NDArray:
    """(B, 3) things from the farthest to the nearest; absent ones first."""
    return np.argsort(np.where(scenes.shape >= 0, -scenes.rank, -THINGS), axis=1, kind="stable")


def backgrounds(size: int) -> NDArray:
    """All backgrounds (6, 3, S, S, 3) float32: colours by patterns."""
    place = (np.arange(size) + 0.5) / size
    cell = np.floor(place * CELLS).astype(int)
    tone = np.ones((len(PATTERNS), size, size), np.float32)
    tone[PATTERNS.index("gradient")] = (1 + (SECOND - 1) * place)[:, None]
    tone[PATTERNS.index("checkered")] = np.where((cell[:, None] + cell) % 2, SECOND, 1)
    return BACKGROUND_TABLE[:, None, None, None] * tone[None, ..., None]


def coverage(scenes: Scenes, size: int = 32) -> NDArray:
    """(B, 4, S, S) float32: how much of each pixel each thing covers, hidden parts too; last, the connector."""
    out = np.zeros((len(scenes), THINGS + 1, size, size), np.float32)
    margin = size // 2 + 2
    padded = np.zeros((len(scenes), THINGS, size + 2 * margin, size + 2 * margin), np.float32)
    small = scenes.size <= SMALL
    for index, name in enumerate(SHAPES):
        for row, k in _groups((scenes.shape == index) & small, (scenes.shape == index) & ~small):
            width = 2 * int(np.ceil(REACH * float(scenes.size[row, k].max()) * size / 2 + 0.5))
            x, y = scenes.x[row, k] * size, scenes.y[row, k] * size  # pixels
            left, top = np.floor(x).astype(int) - width // 2, np.floor(y).astype(int) - width // 2
            inside = stencil(name, x - left, y - top, scenes.size[row, k] * size, scenes.angle[row, k], width)
            rows = (top + margin)[:, None, None] + np.arange(width)[:, None]
            columns = (left + margin)[:, None, None] + np.arange(width)
            padded[row[:, None, None], k[:, None, None], rows, columns] = inside
    out[:, :THINGS] = padded[:, :, margin : margin + size, margin : margin + size]
    joined = np.nonzero(scenes.relation >= RELATIONS.index("holding"))[0]
    if len(joined):
        a, b = scenes.subject[joined], scenes.object[joined]
        ends = np.stack([scenes.x[joined, a], scenes.y[joined, a], scenes.x[joined, b], scenes.y[joined, b]], 1)
        out[joined, THINGS] = connectors(scenes.relation[joined], ends, size)
    return out


def _groups(*masks: NDArray) -> Iterator[tuple[NDArray, NDArray]]:
    """Indices (rows, columns) of the true entries of each mask, at most 32 at a time."""
    for mask in masks:
        rows, columns = np.nonzero(mask)
        for first in range(0, len(rows), 4 * CHUNK):
            yield rows[first : first + 4 * CHUNK], columns[first : first + 4 * CHUNK]


def stencil(name: str, x: NDArray, y: NDArray, size: NDArray, angle: NDArray, width: int) -> NDArray:
    """Coverage (n, width, width) float32 of n things of one shape.

    x, y, size  (n,) centre and width in pixels of the window;  angle  (n,) degrees
    """
    fine = ((np.arange(width * SAMPLES) + 0.5) / SAMPLES).astype(np.float32)
    u, v = (fine - x[:, None]) / size[:, None], (fine - y[:, None]) / size[:, None]  # (n, W), in units of the thing
    turn = np.deg2rad(angle).astype(np.float32)
    c, s = np.cos(turn)[:, None, None], np.sin(turn)[:, None, None]
    across, down = u[:, None, :].astype(np.float32), v[:, :, None].astype(np.float32)
    if name == "circle":
        inside = across**2 + down**2 <= 0.25
    elif name in ("triangle", "star"):
        inside = _planes(name, across, down, turn)
    else:
        p, q = c * across + s * down, c * down - s * across  # along the thing's own axes, (n, W, W)
        if name == "square":
            inside = np.maximum(np.abs(p), np.abs(q)) <= 0.45
        elif name == "cross":
            p, q = np.abs(p), np.abs(q)
            inside = (np.maximum(p, q) <= 0.5) & (np.minimum(p, q) <= 0.17)
        else:
            inside = _figure(p, q)
    return _pooled(inside)


def _planes(name: str, across: NDArray, down: NDArray, turn: NDArray) -> NDArray:
    """Triangle: within all three lines. Five-pointed star: outside of at most one of the five lines of its sides."""
    count, reach, lift = (3, 0.33, 0.1) if name == "triangle" else (5, 0.19, 0.03)
    misses: NDArray = np.zeros((), np.uint8)
    for k in range(count):
        way = turn + np.pi / 2 + 2 * np.pi * k / count  # the first normal points down: the tip is up
        cx, cy = np.cos(way).astype(np.float32)[:, None, None], np.sin(way).astype(np.float32)[:, None, None]
        middle = lift * np.stack([-np.sin(turn), np.cos(turn)]).astype(np.float32)  # the box sits on the centre
        offset = reach + cx * middle[0][:, None, None] + cy * middle[1][:, None, None]
        misses = misses + (cx * across + (cy * down - offset) > 0).astype(np.uint8)
    return misses <= (0 if name == "triangle" else 1)


def _figure(p: NDArray, q: NDArray) -> NDArray:
    inside = (p - HEAD[0]) ** 2 + (q - HEAD[1]) ** 2 <= HEAD[2] ** 2
    for _, x0, y0, x1, y1 in STROKES:
        along_x, along_y = x1 - x0, y1 - y0
        share = np.clip(((p - x0) * along_x + (q - y0) * along_y) / (along_x**2 + along_y**2), 0, 1)
        inside |= (p - x0 - share * along_x) ** 2 + (q - y0 - share * along_y) ** 2 <= STROKE**2
    return inside


def texture(kind: NDArray, x: NDArray, y: NDArray, size: int) -> NDArray:
    """(n, S, S) factor of the colour, 1 to SHADE: level stripes or a grid of square dots, centred on (x, y)."""
    fine = (np.arange(size * SAMPLES) + 0.5) / (size * SAMPLES)

    def dark(centre: NDArray) -> NDArray:
        inside = (fine - centre[:, None]) / PERIOD % 1 < 0.5
        return inside.reshape(len(centre), size, SAMPLES).mean(2, dtype=np.float32)

    rows, columns = dark(y + PERIOD / 4)[:, :, None], dark(x + PERIOD / 4)[:, None, :]
    columns = np.where((kind == TEXTURES.index("striped"))[:, None, None], 1, columns)
    factor = 1 - (1 - SHADE) * rows * columns
    return np.where((kind == TEXTURES.index("solid"))[:, None, None], np.float32(1), factor).astype(np.float32)


def connectors(kind: NDArray, ends: NDArray, size: int) -> NDArray:
    """Coverage (n, S, S) of bar (holding), rope (pulling) or dashes (pushing) between two centres.

    kind  (n,) index into RELATIONS;  ends  (n, 4): x, y of the subject, x, y of the object
    """
    if len(kind) > CHUNK:
        parts = [slice(first, first + CHUNK) for first in range(0, len(kind), CHUNK)]
        return np.concatenate([connectors(kind[part], ends[part], size) for part in parts])
    fine = ((np.arange(size * SAMPLES) + 0.5) / (size * SAMPLES)).astype(np.float32)
    x0, y0, x1, y1 = (ends[:, i].astype(np.float32)[:, None, None] for i in range(4))
    dx, dy = x1 - x0, y1 - y0
    length = np.maximum(np.hypot(dx, dy), 1e-6)
    across, down = fine[None, None, :] - x0, fine[None, :, None] - y0
    along = (across * dx + down * dy) / length  # distance from the subject along the line
    beside = (down * dx - across * dy) / length
    within = (along >= 0) & (along <= length)
    share = along / length
    hang = np.sign(dx) * SAG * 4 * share * (1 - share)  # beside > 0 is below for a line to the right
    rope = np.abs(beside - hang) <= ROPE / 2
    line = np.abs(beside) <= BAR / 2
    dashes = (along - length / 2 + 0.75 * DASH) / DASH % 1 < 0.5  # a gap in the middle
    which = kind[:, None, None]
    drawn = np.where(which == RELATIONS.index("pulling"), rope, line)
    drawn &= within & ((which != RELATIONS.index("pushing")) | dashes)
    return _pooled(drawn)


def _pooled(inside: NDArray) -> NDArray:
    """Share of each pixel's sub-samples (n, S, S) float32; inside  (n, 4 S, 4 S) bool."""
    n, fine, _ = inside.shape
    rows = inside.view(np.uint8).reshape(n, fine // SAMPLES, SAMPLES, fine).sum(2, dtype=np.uint8)
    parts = rows.reshape(n, fine // SAMPLES, fine // SAMPLES, SAMPLES)
    return (parts[..., 0] + parts[..., 1] + parts[..., 2] + parts[..., 3]).astype(np.float32) / SAMPLES**2
