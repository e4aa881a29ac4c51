"""Captions: scenes in words, what a caption promises, and that promise as numbers for a network.

    a small striped red circle left of a blue square and a green star on a checkered white background

Grammar: NOUN [RELATION NOUN] [and NOUN] ... [on BACKGROUND], NOUN = [size] [texture] [colour] shape. Any attribute may
be left out; a noun without a shape is a "thing". Paraphrases have other words for a shape and say a relation from
either end. `parse` takes every caption of this grammar, written by people too, and refuses other words by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

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
    Scene,
    Thing,
)
from shared.errors import UserError

SHAPE_WORDS: Final = {
    "circle": "circle",
    "disc": "circle",
    "square": "square",
    "box": "square",
    "triangle": "triangle",
    "star": "star",
    "cross": "cross",
    "plus": "cross",
    "figure": "figure",
    "person": "figure",
}
ANY_SHAPE: Final = "thing"
TEXTURE_WORDS: Final = {"solid": "solid", "striped": "striped", "dotted": "dotted", "spotted": "dotted"}
SIZE_WORDS: Final = ("small", "large")
SMALLER, LARGER = 0.31, 0.42  # "small" is below the first, "large" above the second
PATTERN_WORDS: Final = {"plain": "plain", "gradient": "gradient", "checkered": "checkered"}
# words -> (kind, whether the noun before them is the subject)
RELATION_WORDS: Final = {
    "left of": ("left", True),
    "right of": ("left", False),
    "above": ("above", True),
    "below": ("above", False),
    "inside": ("inside", True),
    "around": ("inside", False),
    "in front of": ("front", True),
    "behind": ("front", False),
    "holding": ("holding", True),
    "held by": ("holding", False),
    "pulling": ("pulling", True),
    "pulled by": ("pulling", False),
    "pushing": ("pushing", True),
    "pushed by": ("pushing", False),
}
SILENT: Final = ("a", "an", "the")  # read over
WORDS: Final = (
    *SHAPE_WORDS,
    ANY_SHAPE,
    *COLOURS,
    *TEXTURE_WORDS,
    *SIZE_WORDS,
    *BACKGROUNDS,
    *PATTERN_WORDS,
    *dict.fromkeys(word for words in RELATION_WORDS for word in words.split()),
    "and",
    "on",
    "background",
)
# A network reads the promise, one place a role: who is red and who holds whom need not be learned from word order.
TERMS: Final = (*SHAPES, ANY_SHAPE, *COLOURS, *TEXTURES, *SIZE_WORDS, *RELATIONS, *BACKGROUNDS, *PATTERNS)
VOCABULARY: Final = len(TERMS) + 1  # 0 is "not said"
ROLES: Final = (
    4 * THINGS + 3
)  # (size, texture, colour, shape) of subject, object and third; relation; background, pattern
_NUMBER: Final = {term: k for k, term in enumerate(TERMS, 1)}
_KNOWN: Final = frozenset(WORDS)


@dataclass(frozen=True)
class Noun:
    """One thing that is asked for; None leaves the attribute open."""

    shape: str | None = None
    colour: str | None = None
    texture: str | None = None
    size: str | None = None


@dataclass(frozen=True)
class Asked:
    """What a caption promises. relation: (kind, index of the subject, index of the object)."""

    nouns: tuple[Noun, ...]
    relation: tuple[str, int, int] | None = None
    background: str | None = None
    pattern: str | None = None


# ------------------------------------------------------------------------------------------------------ scene to words


def promise(scene: Scene, rng: np.random.Generator, *, omit: float = 0.1) -> Asked:
    """What a caption of the scene says; `omit` is the chance that it leaves out a colour, or the relation.

    Half the textures, sizes and backgrounds go without saying, and half as many shapes as colours.
    """
    nouns = tuple(_noun(thing, rng.random(4), omit) for thing in scene.things)
    relation = None
    if scene.relation is not None and rng.random() >= omit:
        relation = (scene.relation.kind, scene.relation.subject, scene.relation.object)
    background = scene.background if rng.random() < 0.5 else None
    pattern = scene.pattern if background is not None and rng.random() < 0.6 else None
    return Asked(nouns, relation, background, pattern)


def full_promise(scene: Scene) -> Asked:
    """Everything that a caption can say of a scene."""
    nouns = tuple(Noun(thing.shape, thing.colour, thing.texture, size_word(thing)) for thing in scene.things)
    held = scene.relation
    relation = None if held is None else (held.kind, held.subject, held.object)
    return Asked(nouns, relation, scene.background, scene.pattern)


def size_word(thing: Thing) -> str | None:
    """small, large, or None in between."""
    return SIZE_WORDS[0] if thing.size < SMALLER else SIZE_WORDS[1] if thing.size > LARGER else None


def phrase(asked: Asked, rng: np.random.Generator | None = None) -> str:
    """The caption of a promise: without `rng` the plainest one, with it a random paraphrase."""
    order = list(range(len(asked.nouns)))
    joint = ""
    if asked.relation is not None:
        kind, subject, target = asked.relation
        ways = [(words, first) for words, (of, first) in RELATION_WORDS.items() if of == kind]
        words, first = ways[0 if rng is None else int(rng.integers(len(ways)))]
        pair = [subject, target] if first else [target, subject]
        order = pair + [k for k in order if k not in pair]
        joint = words
    elif rng is not None:
        order = [int(k) for k in rng.permutation(len(order))]
    names = [_with_article(_noun_words(asked.nouns[k], rng)) for k in order]
    text = f"{names[0]} {joint} {names[1]}" if joint else names[0]
    for name in names[2 if joint else 1 :]:
        text += f" and {name}"
    ground = " ".join(word for word in (asked.pattern, asked.background) if word)
    return f"{text} on {_with_article(ground + ' background')}" if ground else text


def caption(scene: Scene, rng: np.random.Generator | None = None, *, omit: float = 0.1) -> str:
    """A caption of a scene; without `rng` the full one."""
    return phrase(full_promise(scene)) if rng is None else phrase(promise(scene, rng, omit=omit), rng)


def _noun(thing: Thing, chance: NDArray, omit: float) -> Noun:
    return Noun(
        thing.shape if chance[0] >= omit / 2 else None,
        thing.colour if chance[1] >= omit else None,
        thing.texture if chance[2] < (0.6 if thing.texture != "solid" else 0.3) else None,
        size_word(thing) if chance[3] < 0.4 else None,
    )


def _noun_words(noun: Noun, rng: np.random.Generator | None) -> str:
    def word(table: dict[str, str], value: str | None) -> str | None:
        known = [name for name, of in table.items() if of == value]
        return None if not known else known[0 if rng is None else int(rng.integers(len(known)))]

    parts = (noun.size, word(TEXTURE_WORDS, noun.texture), noun.colour, word(SHAPE_WORDS, noun.shape) or ANY_SHAPE)
    return " ".join(part for part in parts if part)


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


# --------------------------------------------------------------------------------------------------- words to promises


def words_of(text: str) -> list[str]:
    """The words that count, lower case; UserError names the first that the vocabulary lacks."""
    words = [w for w in text.lower().replace(",", " ").replace(".", " ").split() if w not in SILENT]
    unknown = [word for word in words if word not in _KNOWN]
    if unknown:
        raise UserError(
            f"the word {unknown[0]!r} is not known", where="caption", remedy=f"use these words: {', '.join(WORDS)}"
        )
    return words


def tokens(captions: Sequence[str]) -> NDArray:
    """(B, 15) int64, `roles` of every caption; an empty one is zeros alone and asks for nothing."""
    return np.stack([roles(parse(text)) for text in captions])


def roles(asked: Asked) -> NDArray:
    """(15,) int64: the number of the term in each role, 0 where nothing is said; the subject comes first."""
    order = list(range(len(asked.nouns)))
    said: list[str | None] = []
    if asked.relation is not None:
        pair = list(asked.relation[1:])
        order = pair + [k for k in order if k not in pair]
    for k in order:
        noun = asked.nouns[k]
        said += [noun.size, noun.texture, noun.colour, noun.shape or ANY_SHAPE]
    said += [None] * (4 * (THINGS - len(order)))
    said += [asked.relation and asked.relation[0], asked.background, asked.pattern]
    return np.array([_NUMBER[term] if term else 0 for term in said], np.int64)


def parse(text: str) -> Asked:
    """What a caption promises; UserError says which word does not fit where. The empty caption promises nothing."""
    words = words_of(text)
    if not words:
        return Asked(())
    background, pattern, words = _ground(words)
    nouns: list[Noun] = []
    relation = None
    joint = ""
    while True:
        noun, words = _read_noun(words)
        nouns.append(noun)
        if joint:
            kind, first = RELATION_WORDS[joint]
            if relation is not None:
                raise UserError("two relations", where="caption", remedy="say one; join other things with 'and'")
            here = len(nouns) - 1
            relation = (kind, here - 1, here) if first else (kind, here, here - 1)
        if not words:
            break
        joint, words = _read_joint(words)
    if len(nouns) > THINGS:
        raise UserError(f"{len(nouns)} things", where="caption", remedy=f"a picture has room for {THINGS}")
    return Asked(tuple(nouns), relation, background, pattern)


def _ground(words: list[str]) -> tuple[str | None, str | None, list[str]]:
    if "on" not in words:
        return None, None, words
    at = words.index("on")
    ground = words[at + 1 :]
    fits = [w for w in ground if w in BACKGROUNDS or w in PATTERN_WORDS]
    if ground[-1:] != ["background"] or len(fits) != len(ground) - 1 or not 1 <= len(fits) <= 2:
        raise UserError(
            f"'on {' '.join(ground)}' is no background",
            where="caption",
            remedy="write it as in 'on a checkered white background'",
        )
    colour = next((w for w in fits if w in BACKGROUNDS), None)
    pattern = next((PATTERN_WORDS[w] for w in fits if w in PATTERN_WORDS), None)
    return colour, pattern, words[:at]


def _read_noun(words: list[str]) -> tuple[Noun, list[str]]:
    said: dict[str, str] = {}
    for k, word in enumerate(words):
        if word in SHAPE_WORDS or word == ANY_SHAPE:
            shape = SHAPE_WORDS.get(word)
            return Noun(shape, said.get("colour"), said.get("texture"), said.get("size")), words[k + 1 :]
        kind = "colour" if word in COLOURS else "texture" if word in TEXTURE_WORDS else "size"
        if (kind == "size" and word not in SIZE_WORDS) or kind in said:
            break
        said[kind] = TEXTURE_WORDS.get(word, word)
    raise UserError(
        f"no thing can be read in '{' '.join(words) or 'the end'}'",
        where="caption",
        remedy="name things as in 'a large striped red circle'",
    )


def _read_joint(words: list[str]) -> tuple[str, list[str]]:
    if words[0] == "and":
        return "", words[1:]
    for joint in RELATION_WORDS:
        parts = joint.split()
        if words[: len(parts)] == parts:
            return joint, words[len(parts) :]
    raise UserError(
        f"'{words[0]}' joins no two things", where="caption", remedy=f"use and, {', '.join(RELATION_WORDS)}"
    )
