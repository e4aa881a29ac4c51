"""What is true of a scene's picture, exactly: masks, instances, depth, edges, boxes and the joints of figures.

Everything comes from the coverages that the renderer paints with, so picture and annotation cannot disagree.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.image.shapes.render import HEAD, STROKES, coverage, near_last
from domains.image.shapes.scene import RELATIONS, SHAPES, THINGS, Scenes

CONNECTOR_INSTANCE: Final = THINGS + 1
KINDS: Final = len(SHAPES) + 2  # of pixels: background, a shape, connector
JOINTS: Final = ("head", "neck", "hip", "left hand", "right hand", "left foot", "right foot")
LIMBS: Final = (
    ("head", "neck"),
    ("neck", "hip"),
    ("left hand", "right hand"),
    ("hip", "left foot"),
    ("hip", "right foot"),
)


def amodal_masks(scenes: Scenes, size: int = 32) -> NDArray:
    """(B, 4, S, S) bool: pixels that each thing, and last the connector, covers by half or more, hidden ones too."""
    return coverage(scenes, size) >= 0.5


def visible_shares(scenes: Scenes, size: int = 32) -> NDArray:
    """(B, 4, S, S) float32: the share of every pixel in which each thing, and last the connector, is seen."""
    cover, rows = coverage(scenes, size), np.arange(len(scenes))
    left = np.ones(cover[:, 0].shape, np.float32)
    order = near_last(scenes)
    for layer in reversed(range(THINGS)):
        k = order[:, layer]
        whole = cover[rows, k]
        cover[rows, k] = whole * left
        left = left * (1 - whole)
    cover[:, THINGS] *= left
    return cover


def instances(scenes: Scenes, size: int = 32) -> NDArray:
    """(B, S, S) int: 0 background, k + 1 things[k], 4 connector: whatever is seen in the largest share of a pixel."""
    seen = visible_shares(scenes, size)
    ground = 1 - seen.sum(1, keepdims=True)
    return np.concatenate([ground, seen], axis=1).argmax(1)


def visible_masks(scenes: Scenes, size: int = 32) -> NDArray:
    """(B, 4, S, S) bool: the pixels of each instance."""
    return instances(scenes, size)[:, None] == np.arange(1, THINGS + 2)[:, None, None]


def semantics(scenes: Scenes, size: int = 32) -> NDArray:
    """(B, S, S) int: 0 background, k + 1 for SHAPES[k], 7 connector."""
    of = np.zeros((len(scenes), THINGS + 2), int)
    of[:, 1 : THINGS + 1] = scenes.shape + 1
    of[:, CONNECTOR_INSTANCE] = len(SHAPES) + 1
    found: NDArray = np.take_along_axis(of, instances(scenes, size).reshape(len(scenes), -1), 1)
    return found.reshape(len(scenes), size, size)


def depth(scenes: Scenes, size: int = 32) -> NDArray:
    """(B, S, S) float32: distance of what is seen, (rank + 1) / 5 for things, 0.8 the connector, 1 the background."""
    of = np.ones((len(scenes), THINGS + 2), np.float32)
    of[:, 1 : THINGS + 1] = (scenes.rank + 1) / (THINGS + 2)
    of[:, CONNECTOR_INSTANCE] = (THINGS + 1) / (THINGS + 2)
    found: NDArray = np.take_along_axis(of, instances(scenes, size).reshape(len(scenes), -1), 1)
    return found.reshape(len(scenes), size, size)


def contours(labels: NDArray) -> NDArray:
    """(..., S, S) bool: the pixels whose right or lower neighbour has another label; one pixel wide, no textures."""
    out = np.zeros(labels.shape, bool)
    out[..., :, :-1] |= labels[..., :, :-1] != labels[..., :, 1:]
    out[..., :-1, :] |= labels[..., :-1, :] != labels[..., 1:, :]
    return out


def edges(scenes: Scenes, size: int = 32) -> NDArray:
    """(B, S, S) float32, 1 on the contours of what is seen."""
    return contours(instances(scenes, size)).astype(np.float32)


def boxes(scenes: Scenes, size: int = 32) -> NDArray:
    """(B, 3, 4) float32: x0, y0, x1, y1 of each whole thing as shares of the side; NaN where there is none."""
    mask = amodal_masks(scenes, size)[:, :THINGS]
    out = np.full((len(scenes), THINGS, 4), np.nan, np.float32)
    there = mask.any((2, 3))
    for axis, (low, high) in ((2, (0, 2)), (3, (1, 3))):  # rows of pixels are hidden along axis 3
        line: NDArray = np.logical_or.reduce(mask, axis)
        out[..., low] = np.where(there, line.argmax(2) / size, np.nan)
        out[..., high] = np.where(there, 1 - line[..., ::-1].argmax(2) / size, np.nan)
    return out


def joints(scenes: Scenes) -> NDArray:
    """(B, 3, 7, 2) float32: x, y of JOINTS of every figure as shares of the side; NaN for other shapes."""
    strokes = {name: ends for name, *ends in STROKES}
    spine, arms, left, right = (strokes[name] for name in ("spine", "arms", "left leg", "right leg"))
    own = np.array([HEAD[:2], spine[:2], spine[2:], arms[:2], arms[2:], left[2:], right[2:]], np.float32)
    centre = np.stack([scenes.x, scenes.y], -1)[:, :, None]
    turn = np.deg2rad(scenes.angle)[:, :, None]
    x = np.cos(turn) * own[:, 0] - np.sin(turn) * own[:, 1]
    y = np.sin(turn) * own[:, 0] + np.cos(turn) * own[:, 1]
    place = centre + scenes.size[:, :, None, None] * np.stack([x, y], -1)
    return np.where((scenes.shape == SHAPES.index("figure"))[:, :, None, None], place, np.nan).astype(np.float32)


def triplets(scenes: Scenes) -> list[tuple[int, str, int] | None]:
    """(subject, relation, object) of every scene, None where it has no relation."""
    rows = zip(scenes.subject, scenes.relation, scenes.object, strict=True)
    return [None if kind < 0 else (int(a), RELATIONS[kind], int(b)) for a, kind, b in rows]
