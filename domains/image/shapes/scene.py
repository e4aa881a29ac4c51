"""What a picture of the shape world shows: a background, one to three things on it, and how two of them relate.

All lengths and places are shares of the picture's side, x to the right and y down, so that a scene has no resolution.
`Scene` is one scene for people; `Scenes` is many as arrays, for the renderer.

Limits that keep every promise of a caption visible in 32 pixels: a thing is at least 0.26 wide; the things of a scene
have different colours; a stick figure is solid and at least 0.4 tall; only circles and squares hold something inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

SHAPES: Final = ("circle", "square", "triangle", "star", "cross", "figure")
COLOURS: Final = {
    "red": (225, 35, 35),
    "orange": (250, 140, 10),
    "yellow": (245, 220, 30),
    "green": (30, 160, 60),
    "cyan": (20, 200, 210),
    "blue": (45, 75, 225),
    "purple": (140, 45, 190),
    "pink": (250, 100, 180),
}
TEXTURES: Final = ("solid", "striped", "dotted")
BACKGROUNDS: Final = {  # pale, so that no thing has the colour of its background
    "white": (248, 248, 248),
    "silver": (192, 192, 196),
    "cream": (250, 230, 180),
    "mint": (185, 235, 200),
    "sky": (175, 212, 250),
    "lilac": (222, 195, 245),
}
PATTERNS: Final = ("plain", "gradient", "checkered")
RELATIONS: Final = ("left", "above", "inside", "front", "holding", "pulling", "pushing")
CONNECTED: Final = ("holding", "pulling", "pushing")  # a bar up, a rope to the left, dashes to the right
CONNECTOR: Final = (52, 52, 52)  # colour of bar, rope and dashes
SHADE: Final = 0.6  # of a texture's dark parts
SECOND: Final = 0.86  # of a background's second tone: its other squares, or its lower end
THINGS: Final = 3  # at most

COLOUR_TABLE: Final = np.array(list(COLOURS.values()), np.float32)  # (8, 3)
BACKGROUND_TABLE: Final = np.array(list(BACKGROUNDS.values()), np.float32)  # (6, 3)


@dataclass(frozen=True)
class Thing:
    """One thing: words, width (the height of a figure), centre, tilt in degrees, and rank (0 is nearest)."""

    shape: str
    colour: str
    texture: str
    size: float
    x: float
    y: float
    angle: float = 0.0
    rank: int = 0

    def __post_init__(self) -> None:
        for word, known in ((self.shape, SHAPES), (self.colour, COLOURS), (self.texture, TEXTURES)):
            if word not in known:
                raise ValueError(f"{word!r} is none of {', '.join(known)}")
        if not 0 < self.size <= 1:
            raise ValueError(f"a size is a share of the picture in (0, 1], got {self.size}")


@dataclass(frozen=True)
class Relation:
    """How two things relate: `kind` of RELATIONS, from things[subject] to things[object]."""

    kind: str
    subject: int
    object: int

    def __post_init__(self) -> None:
        if self.kind not in RELATIONS:
            raise ValueError(f"{self.kind!r} is none of {', '.join(RELATIONS)}")


@dataclass(frozen=True)
class Scene:
    """A background (colour and pattern), one to three things, and at most one relation."""

    background: str
    pattern: str
    things: tuple[Thing, ...]
    relation: Relation | None = None

    def __post_init__(self) -> None:
        if self.background not in BACKGROUNDS or self.pattern not in PATTERNS:
            raise ValueError(f"no background {self.pattern!r} {self.background!r}")
        if not 1 <= len(self.things) <= THINGS:
            raise ValueError(f"a scene has 1 to {THINGS} things, got {len(self.things)}")


@dataclass(frozen=True, eq=False)
class Scenes:
    """B scenes as arrays: indices into the words above, -1 where there is nothing.

    background, pattern, relation, subject, object  (B,) int;  shape, colour, texture, rank  (B, 3) int
    size, x, y, angle  (B, 3) float32, angle in degrees
    """

    background: NDArray
    pattern: NDArray
    shape: NDArray
    colour: NDArray
    texture: NDArray
    size: NDArray
    x: NDArray
    y: NDArray
    angle: NDArray
    rank: NDArray
    relation: NDArray
    subject: NDArray
    object: NDArray

    def __len__(self) -> int:
        return len(self.background)

    @property
    def count(self) -> NDArray:
        """(B,) things in each scene."""
        return (self.shape >= 0).sum(1)

    def take(self, rows: NDArray) -> Scenes:
        """Some of the scenes: indices or a mask (n,)."""
        return Scenes(**{name: value[rows] for name, value in vars(self).items()})

    def __getitem__(self, row: int) -> Scene:
        names, colours = tuple(BACKGROUNDS), tuple(COLOURS)
        things = tuple(
            Thing(
                SHAPES[self.shape[row, k]],
                colours[self.colour[row, k]],
                TEXTURES[self.texture[row, k]],
                float(self.size[row, k]),
                float(self.x[row, k]),
                float(self.y[row, k]),
                float(self.angle[row, k]),
                int(self.rank[row, k]),
            )
            for k in range(THINGS)
            if self.shape[row, k] >= 0
        )
        kind = int(self.relation[row])
        relation = None if kind < 0 else Relation(RELATIONS[kind], int(self.subject[row]), int(self.object[row]))
        return Scene(names[self.background[row]], PATTERNS[self.pattern[row]], things, relation)


def stacked(scenes: Sequence[Scene]) -> Scenes:
    """Scenes as arrays."""
    colours, rows = tuple(COLOURS), len(scenes)
    words = {name: np.full((rows, THINGS), -1) for name in ("shape", "colour", "texture", "rank")}
    numbers = {name: np.zeros((rows, THINGS), np.float32) for name in ("size", "x", "y", "angle")}
    whole = {name: np.full(rows, -1) for name in ("background", "pattern", "relation", "subject", "object")}
    for row, scene in enumerate(scenes):
        whole["background"][row] = tuple(BACKGROUNDS).index(scene.background)
        whole["pattern"][row] = PATTERNS.index(scene.pattern)
        if scene.relation is not None:
            whole["relation"][row] = RELATIONS.index(scene.relation.kind)
            whole["subject"][row], whole["object"][row] = scene.relation.subject, scene.relation.object
        for k, thing in enumerate(scene.things):
            words["shape"][row, k] = SHAPES.index(thing.shape)
            words["colour"][row, k] = colours.index(thing.colour)
            words["texture"][row, k] = TEXTURES.index(thing.texture)
            words["rank"][row, k] = thing.rank
            for name, values in numbers.items():
                values[row, k] = getattr(thing, name)
    return Scenes(**whole, **words, **numbers)
