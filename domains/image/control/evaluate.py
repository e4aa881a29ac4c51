"""How well pictures do what was asked, exactly: the caption's promises, the edges, masks, order in depth, validity.

A picture is read by the decoder of the shape world, which knows nothing of the caption, and compared promise by
promise. Rates come with a 95 % bootstrap interval over pictures, the ceiling (the same scenes rendered) and the floor
(the same pictures with the captions of others, and pictures that were asked for nothing).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from domains.image.shapes.annotations import contours
from domains.image.shapes.captions import LARGER, SMALLER, Asked, Noun, parse
from domains.image.shapes.decoder import Found, Seen, decode
from domains.image.shapes.scene import Scene

ATTRIBUTES: Final = ("count", "shape", "colour", "texture", "size", "relation", "background", "pattern")
NEAR: Final = 0.03  # by which a size word may be missed: a pixel
PLACED: Final = 0.25  # least IoU of a thing that is found where it was asked for
RESAMPLES: Final = 1000


@dataclass(frozen=True)
class Promise:
    """One thing that a caption says: the attribute, of which noun (None: of the whole), asked, found, right or not."""

    attribute: str
    noun: int | None
    asked: str
    found: str
    right: bool


@dataclass(frozen=True, eq=False)
class Fidelity:
    """One picture against what was asked.

    found     what the decoder sees;  valid  whether it trusts its reading
    promises  of the caption, each right or wrong
    edges     (32, 32) float32, the contours of the picture;  edge_f1  their agreement with those asked for, within one
              pixel; None where none were asked for
    """

    asked: Asked
    found: Found
    promises: tuple[Promise, ...]
    edges: NDArray
    edge_f1: float | None
    valid: bool

    @property
    def kept(self) -> int:
        """How many promises hold."""
        return sum(promise.right for promise in self.promises)


def fidelity(picture: NDArray, caption: str | Asked, edges: NDArray | None = None) -> Fidelity:
    """Measure a picture (32, 32, 3) uint8 against its caption and, where given, the edges (32, 32) in 0..1."""
    asked = parse(caption) if isinstance(caption, str) else caption
    found = decode(picture)
    own = contours(found.labels)
    score = None if edges is None else edge_f1(own, edges > 0.5)
    return Fidelity(asked, found, promises(asked, found), own.astype(np.float32), score, found.valid)


# ------------------------------------------------------------------------------------------------------- the promises


def promises(asked: Asked, found: Found) -> tuple[Promise, ...]:
    """Every promise of a caption, checked on the pairing of nouns and things that keeps most of them."""
    if not asked.nouns:
        return ()
    things = list(range(len(found.things)))
    places: list[int | None] = [*things, *([None] * max(0, len(asked.nouns) - len(things)))]
    pairings = set(permutations(places, len(asked.nouns)))
    tried = [_checked(asked, found, pairing) for pairing in sorted(pairings, key=str)]
    best = max(tried, key=lambda rows: sum(_weight(row) for row in rows if row.right))
    said = _numbered(len(found.things))
    count = Promise("count", None, _numbered(len(asked.nouns)), said, len(found.things) == len(asked.nouns))
    return (count, *best)


def _weight(row: Promise) -> float:
    return {"colour": 1.2, "shape": 1.1}.get(row.attribute, 1.0)  # ties go to the colour, then to the shape


def _checked(asked: Asked, found: Found, pairing: tuple[int | None, ...]) -> tuple[Promise, ...]:
    rows: list[Promise] = []
    for index, (noun, place) in enumerate(zip(asked.nouns, pairing, strict=True)):
        rows += _of_noun(index, noun, None if place is None else found.things[place])
    if asked.relation is not None:
        kind, subject, target = asked.relation
        a, b = pairing[subject], pairing[target]
        right = a is not None and b is not None and found.holds(kind, a, b)
        rows.append(Promise("relation", None, kind, kind if right else "not so", right))
    for attribute, wanted, has in (
        ("background", asked.background, found.background),
        ("pattern", asked.pattern, found.pattern),
    ):
        if wanted is not None:
            rows.append(Promise(attribute, None, wanted, has, wanted == has))
    return tuple(rows)


def _of_noun(index: int, noun: Noun, seen: Seen | None) -> list[Promise]:
    rows = []
    for attribute in ("shape", "colour", "texture"):
        wanted = getattr(noun, attribute)
        if wanted is not None:
            has = "nothing" if seen is None else getattr(seen, attribute)
            rows.append(Promise(attribute, index, wanted, has, wanted == has))
    if noun.size is not None:
        right = seen is not None and (seen.size < SMALLER + NEAR if noun.size == "small" else seen.size > LARGER - NEAR)
        has = "nothing" if seen is None else f"{seen.size:.2f} of the side"
        rows.append(Promise("size", index, noun.size, has, right))
    return rows


def _numbered(count: int) -> str:
    return f"{count} thing{'' if count == 1 else 's'}"


# ------------------------------------------------------------------------------------------------ edges, masks, order


def edge_f1(found: NDArray, asked: NDArray, tolerance: int = 1) -> float:
    """F1 of two edge maps (S, S) bool: an edge pixel counts where the other map has one within `tolerance` pixels.

    Two empty maps agree (1); an empty and a full one do not (0).
    """
    if not found.any() or not asked.any():
        return float(found.any() == asked.any())
    precision, recall = (
        (found & _wide(asked, tolerance)).sum() / found.sum(),
        (asked & _wide(found, tolerance)).sum() / asked.sum(),
    )
    return 0.0 if precision + recall == 0 else float(2 * precision * recall / (precision + recall))


def _wide(mask: NDArray, by: int) -> NDArray:
    height, width = mask.shape
    padded = np.pad(mask, by)
    shifts = [padded[y : y + height, x : x + width] for y in range(2 * by + 1) for x in range(2 * by + 1)]
    out: NDArray = np.any(shifts, axis=0)
    return out


def mask_iou(found: Found, scene: Scene, visible: NDArray) -> float:
    """Mean over the things of a scene of the IoU of visible masks, matched by colour; a thing that is not found has 0.

    visible  (3 or more, S, S) bool, annotations.visible_masks of the scene
    """
    by_colour = {seen.colour: seen.mask for seen in found.things}
    scores = []
    for k, thing in enumerate(scene.things):
        mask = by_colour.get(thing.colour)
        both = 0 if mask is None else (mask & visible[k]).sum()
        scores.append(0.0 if mask is None else float(both / max((mask | visible[k]).sum(), 1)))
    return float(np.mean(scores))


def order_kept(found: Found, scene: Scene, visible: NDArray) -> bool | None:
    """Whether the nearer of two overlapping things is seen in front; None for scenes without such a pair.

    Things are matched by their place, for a caption need not name a colour: each of the pair is the thing found whose
    mask agrees best with its own. False where one of them is not found, or both are the same.
    visible  (3 or more, S, S) bool, annotations.visible_masks of the scene
    """
    relation = scene.relation
    if relation is None or relation.kind not in ("front", "inside"):
        return None
    a, b = (_at(found, visible[k]) for k in (relation.subject, relation.object))
    if a is None or b is None or a == b:
        return False
    near, far = found.things[a], found.things[b]
    shared = near.whole & far.whole
    return bool((shared & near.mask).sum() > (shared & far.mask).sum())


def _at(found: Found, mask: NDArray) -> int | None:
    """The thing whose visible pixels are most nearly these, if a quarter of both together is common."""
    scores = [float((seen.mask & mask).sum() / max((seen.mask | mask).sum(), 1)) for seen in found.things]
    return max(range(len(scores)), key=scores.__getitem__) if max(scores, default=0.0) >= PLACED else None


# ------------------------------------------------------------------------------------------------------- many pictures


@dataclass(frozen=True)
class Rate:
    """A rate with its 95 % bootstrap interval, and of how many cases."""

    value: float
    low: float
    high: float
    cases: int


def rates(measured: Sequence[Fidelity], seed: int = 0) -> dict[str, Rate]:
    """Share of right promises by attribute, `valid`, `whole` (every promise of a picture), `edges` (mean F1)."""
    table: dict[str, list[tuple[float, int]]] = {}
    for one in measured:
        for attribute in ATTRIBUTES:
            rows = [row.right for row in one.promises if row.attribute == attribute]
            table.setdefault(attribute, []).append((sum(rows), len(rows)))
        table.setdefault("valid", []).append((float(one.valid), 1))
        table.setdefault("whole", []).append((float(one.kept == len(one.promises)), int(bool(one.promises))))
        table.setdefault("edges", []).append((one.edge_f1 or 0.0, int(one.edge_f1 is not None)))
    found = {name: bootstrap(np.array(rows, float), seed) for name, rows in table.items()}
    return {name: rate for name, rate in found.items() if rate.cases}


def bootstrap(rows: NDArray, seed: int = 0) -> Rate:
    """Sum of the first column over that of the second, (n, 2), with the interval over resampled rows."""
    total = rows[:, 1].sum()
    if total == 0:
        return Rate(float("nan"), float("nan"), float("nan"), 0)
    rng = np.random.default_rng(seed)
    sums = rows[rng.integers(len(rows), size=(RESAMPLES, len(rows)))].sum(1)  # (R, 2)
    low, high = np.quantile(sums[:, 0] / np.maximum(sums[:, 1], 1), (0.025, 0.975))
    return Rate(float(rows[:, 0].sum() / total), float(low), float(high), int(total))


def diversity(measured: Sequence[Fidelity]) -> float:
    """Entropy of what a caption leaves open, as a share of the largest possible: colour of the first thing and ground.

    Of pictures of one caption that names neither; 1 is every colour and background equally often.
    """
    names = [(one.found.things[0].colour if one.found.things else "none", one.found.background) for one in measured]
    out = []
    for column, kinds in ((0, 8), (1, 6)):
        _, counts = np.unique([name[column] for name in names], return_counts=True)
        share = counts / counts.sum()
        out.append(float(-(share * np.log(share)).sum() / np.log(min(kinds, len(names)))))
    return float(np.mean(out))


def to_json(found: Mapping[str, Rate]) -> dict[str, Any]:
    """Rates in plain numbers."""
    return {name: {key: round(value, 4) for key, value in vars(rate).items()} for name, rate in found.items()}
