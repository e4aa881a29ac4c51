"""Random scenes, the same for the same seed, and the splits that keep training and tests apart.

    train     everything but the two kinds below
    test      as train, from other random numbers
    pairs     at least one thing whose shape and colour were never together in training (HELD_PAIRS)
    sizes     at least one thing of a size that training leaves out (HELD_SIZES)

Every seed has its own scenes in every split. Places are drawn until the relation holds with room to spare and no other
two things touch, so that what a caption promises can be seen.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from domains.image.shapes.scene import (
    BACKGROUNDS,
    COLOURS,
    PATTERNS,
    RELATIONS,
    SHAPES,
    TEXTURES,
    THINGS,
    Scenes,
)

Split = Literal["train", "test", "pairs", "sizes"]
SPLITS: Final = ("train", "test", "pairs", "sizes")
HELD_PAIRS: Final = (
    ("circle", "green"),
    ("square", "pink"),
    ("triangle", "yellow"),
    ("star", "blue"),
    ("cross", "purple"),
    ("figure", "red"),
)
HELD_SIZES: Final = (0.35, 0.38)
SIZES: Final = (0.26, 0.5)
CROWDED: Final = 0.34  # largest of three things, or of two that a connector joins
SMALL_FIGURE: Final = 0.4  # a smaller one has no limbs in 32 pixels
HOLDER: Final = (0.5, 0.56)  # sizes of what holds something inside, and of what is inside
HELD: Final = (0.26, 0.28)
COUNTS: Final = (0.3, 0.5, 0.2)  # chance of one, two, three things
RELATED: Final = 0.9  # chance that two or more things have a relation
GAP: Final = 0.05  # least distance of things that do not touch
ROUNDS: Final = 100
PROPOSALS: Final = 1024  # places drawn in a round
PATIENCE: Final = 12  # rounds after which a scene without room loses its third thing; after twice as many, its relation

_HELD: Final = np.zeros((len(SHAPES), len(COLOURS)), bool)
for _shape, _colour in HELD_PAIRS:
    _HELD[SHAPES.index(_shape), tuple(COLOURS).index(_colour)] = True
_FIGURE, _KIND = SHAPES.index("figure"), {name: k for k, name in enumerate(RELATIONS)}


def sample_scenes(seed: int, count: int, split: Split = "train", *, batch: int = 0) -> Scenes:
    """`count` scenes of a split; `batch` numbers the batches of one seed."""
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; choose {', '.join(SPLITS)}")
    rng = np.random.default_rng((seed, SPLITS.index(split), batch))
    out = _words(rng, count, split)
    todo = np.arange(count)
    for step in range(ROUNDS):
        if step == PATIENCE:
            _without_third(out, todo)
        if step == 2 * PATIENCE:
            for name in ("relation", "subject", "object"):
                getattr(out, name)[todo] = -1
        tries = min(64, max(1 + 2 * step, PROPOSALS // len(todo)))  # more for the scenes that are left
        tried = _placed(rng, out.take(np.repeat(todo, tries)), split)
        fits = _fits(tried).reshape(-1, tries)
        found = fits.any(1)
        chosen = (np.arange(len(todo)) * tries + fits.argmax(1))[found]
        for name in ("size", "x", "y", "angle"):
            getattr(out, name)[todo[found]] = getattr(tried, name)[chosen]
        todo = todo[~found]
        if len(todo) == 0:
            return out
    raise RuntimeError(f"{len(todo)} of {count} scenes found no room in {ROUNDS} rounds")


def allowed_in_training(scenes: Scenes) -> NDArray:
    """(B,) whether training may show a scene: no held-out pair and no held-out size."""
    there = scenes.shape >= 0
    pair = there & _HELD[scenes.shape, scenes.colour]
    size = there & (scenes.size >= HELD_SIZES[0]) & (scenes.size <= HELD_SIZES[1])
    return ~(pair | size).any(1)


def _words(rng: np.random.Generator, count: int, split: Split) -> Scenes:
    """Everything but sizes and places."""
    number = 1 + rng.choice(THINGS, count, p=COUNTS)
    related = (number > 1) & (rng.random(count) < RELATED)
    kinds = np.arange(len(RELATIONS)) if split != "sizes" else np.array([_KIND[k] for k in ("left", "above", "front")])
    relation = np.where(related, rng.choice(kinds, count), -1)
    shape = rng.integers(len(SHAPES), size=(count, THINGS))
    if split == "sizes":  # the first thing takes the held-out size, which no figure and no connector has room for
        shape[:, 0] %= _FIGURE
    colour = rng.permuted(np.tile(np.arange(len(COLOURS)), (count, 1)), axis=1)[:, :THINGS]
    inside, front = relation == _KIND["inside"], relation == _KIND["front"]
    shape[inside, 1] %= 2  # circle or square
    thin = shape == _FIGURE
    wide = (relation >= _KIND["holding"]) & thin[:, 0] & thin[:, 1]  # two figures and a bar need more than a picture
    shape[wide, 1] = rng.integers(_FIGURE, size=int(wide.sum()))
    shape = np.where(thin & (inside | front)[:, None], rng.integers(_FIGURE, size=shape.shape), shape)
    if split == "pairs":
        shape[:, 0], colour = _held_pair(rng, shape, colour, inside | front | (relation >= _KIND["holding"]))
    else:
        for _ in range(ROUNDS):
            wrong = _HELD[shape, colour].any(1)
            if not wrong.any():
                break
            colour[wrong] = rng.permuted(np.tile(np.arange(len(COLOURS)), (int(wrong.sum()), 1)), axis=1)[:, :THINGS]
    textures = np.where(rng.random((count, THINGS)) < 0.5, 0, rng.integers(1, len(TEXTURES), size=(count, THINGS)))
    textures[shape == _FIGURE] = 0
    absent = np.arange(THINGS) >= number[:, None]
    rank = rng.permuted(np.tile(np.arange(THINGS), (count, 1)), axis=1)
    swap = (inside | front) & (rank[:, 0] > rank[:, 1])
    rank[swap, 0], rank[swap, 1] = rank[swap, 1], rank[swap, 0]
    rank = np.where(absent, THINGS, rank).argsort(1).argsort(1)  # 0.. without holes
    nothing = np.zeros((count, THINGS), np.float32)
    return Scenes(
        background=rng.integers(len(BACKGROUNDS), size=count),
        pattern=rng.integers(len(PATTERNS), size=count),
        shape=np.where(absent, -1, shape),
        colour=np.where(absent, -1, colour),
        texture=np.where(absent, -1, textures),
        size=nothing.copy(),
        x=nothing.copy(),
        y=nothing.copy(),
        angle=nothing.copy(),
        rank=np.where(absent, -1, rank),
        relation=relation,
        subject=np.where(related, 0, -1),
        object=np.where(related, 1, -1),
    )


def _without_third(scenes: Scenes, rows: NDArray) -> None:
    for name in ("shape", "colour", "texture"):
        getattr(scenes, name)[rows, 2] = -1
    rank = scenes.rank[rows]
    rank = np.where((rank > rank[:, 2:]) & (rank[:, 2:] >= 0), rank - 1, rank)
    rank[:, 2] = -1
    scenes.rank[rows] = rank


def _held_pair(
    rng: np.random.Generator, shape: NDArray, colour: NDArray, no_figure: NDArray
) -> tuple[NDArray, NDArray]:
    """The first thing becomes a pair that training never shows; the others keep their distance from its colour."""
    which = np.where(no_figure, rng.integers(_FIGURE, size=len(shape)), rng.integers(len(SHAPES), size=len(shape)))
    wanted = _HELD.argmax(1)[which]
    rest = np.where(colour == wanted[:, None], colour[:, :1], colour)  # the old first colour replaces a double
    rest[:, 0] = wanted
    return which, rest


def _placed(rng: np.random.Generator, scenes: Scenes, split: Split) -> Scenes:
    """Sizes, places and tilts, drawn for the relation; whether they fit is another question."""
    rows, kind = len(scenes), scenes.relation
    joined, inside = kind >= _KIND["holding"], kind == _KIND["inside"]
    crowd = (scenes.count == THINGS) | joined
    top = np.where(crowd, CROWDED, SIZES[1])[:, None]
    low, high = np.full((rows, THINGS), SIZES[0]), np.broadcast_to(top, (rows, THINGS)).copy()
    figure = scenes.shape == _FIGURE
    low[figure], high[figure] = SMALL_FIGURE, np.maximum(high[figure], SMALL_FIGURE + 0.04)
    low[inside, 0], high[inside, 0] = HELD
    low[inside, 1], high[inside, 1] = HOLDER
    size = low + (high - low) * rng.random((rows, THINGS))
    if split == "sizes":
        size[:, 0] = rng.uniform(*HELD_SIZES, rows)
    else:
        gap = (size > HELD_SIZES[0] - 1e-3) & (size < HELD_SIZES[1] + 1e-3)
        size = np.where(gap, HELD_SIZES[0] - 1e-3 - 0.05 * rng.random((rows, THINGS)), size)
    half = 0.55 * size
    x, y = (half + (1 - 2 * half) * rng.random((rows, THINGS)) for _ in range(2))
    reach = (size[:, 0] + size[:, 1]) / 2
    dx, dy = _offsets(rng, kind, reach)
    drawn = np.isfinite(dx)
    x[:, 1], y[:, 1] = np.where(drawn, x[:, 0] + dx, x[:, 1]), np.where(drawn, y[:, 0] + dy, y[:, 1])
    angle = np.where((scenes.shape == 0) | figure, 0, rng.uniform(-20, 20, (rows, THINGS)))
    values = {"size": size, "x": x, "y": y, "angle": angle}
    return replace(scenes, **{name: value.astype(np.float32) for name, value in values.items()})


def _offsets(rng: np.random.Generator, kind: NDArray, reach: NDArray) -> tuple[NDArray, NDArray]:
    """From the subject's centre to the object's, NaN where anywhere will do; `reach` is half the sum of their sizes."""
    rows = len(kind)
    aside, small = rng.uniform(-1, 1, rows), rng.uniform(-0.05, 0.05, rows)
    far = reach + rng.uniform(GAP, 0.4, rows)
    gap = reach + rng.uniform(0.24, 0.36, rows)
    way, near = rng.uniform(0, 2 * np.pi, rows), reach * rng.uniform(0.45, 0.6, rows)
    cases = {
        "left": (far, 0.45 * far * aside),
        "above": (0.45 * far * aside, far),
        "inside": (0.6 * small, 0.6 * small[::-1]),
        "front": (near * np.cos(way), near * np.sin(way)),
        "holding": (small, -gap),
        "pulling": (-gap, small),
        "pushing": (gap, small),
    }
    dx, dy = np.full(rows, np.nan), np.full(rows, np.nan)
    for name, (across, down) in cases.items():
        here = kind == _KIND[name]
        dx[here], dy[here] = across[here], down[here]
    return dx, dy


def _fits(scenes: Scenes) -> NDArray:
    """(B,) every thing lies in the picture and no two touch, but those that are to be inside or in front."""
    there = scenes.shape >= 0
    half = 0.55 * scenes.size
    framed = (scenes.x >= half) & (scenes.x <= 1 - half) & (scenes.y >= half) & (scenes.y <= 1 - half)
    good = (framed | ~there).all(1)
    touching = (scenes.relation == _KIND["inside"]) | (scenes.relation == _KIND["front"])
    for i in range(THINGS):
        for j in range(i + 1, THINGS):
            apart = np.hypot(scenes.x[:, i] - scenes.x[:, j], scenes.y[:, i] - scenes.y[:, j])
            clear = apart >= (scenes.size[:, i] + scenes.size[:, j]) / 2 + GAP
            both = there[:, i] & there[:, j]
            excused = touching if (i, j) == (0, 1) else np.zeros(len(scenes), bool)
            good &= clear | ~both | excused
    joined = (scenes.relation >= _KIND["holding"]) & there[:, 2]
    return good & (~joined | _off_the_line(scenes))


def _off_the_line(scenes: Scenes) -> NDArray:
    """(B,) the third thing keeps clear of what joins the first two."""
    x0, y0, x1, y1 = scenes.x[:, 0], scenes.y[:, 0], scenes.x[:, 1], scenes.y[:, 1]
    dx, dy = x1 - x0, y1 - y0
    share = ((scenes.x[:, 2] - x0) * dx + (scenes.y[:, 2] - y0) * dy) / np.maximum(dx**2 + dy**2, 1e-6)
    share = np.clip(share, 0, 1)
    far = np.hypot(scenes.x[:, 2] - x0 - share * dx, scenes.y[:, 2] - y0 - share * dy)
    return far >= scenes.size[:, 2] / 2 + 0.16
