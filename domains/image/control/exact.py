"""An exact scene for a caption: what the caption leaves open is drawn, what it says holds.

Random scenes of the world (sampling.py) with as many things and the same relation are proposed; where nothing but words
differs, the words of the caption are put in place of those that were drawn. The first scene in which every promise
holds, sizes and distinct colours among them, is taken: the same for the same caption and seed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from domains.image.shapes.captions import Asked, Noun, parse, size_word
from domains.image.shapes.sampling import sample_scenes
from domains.image.shapes.scene import COLOURS, Scene, Thing
from shared.errors import UserError

ROUNDS: Final = 24
PROPOSALS: Final = 256  # scenes drawn in a round
HOLDERS: Final = ("circle", "square")  # what something can be inside


def scene_for(caption: str, seed: int) -> Scene:
    """A scene that keeps what a caption promises; raises UserError for a caption that no scene of the world keeps."""
    asked = parse(caption)
    _refuse_equal_colours(asked)
    for batch in range(ROUNDS):
        scenes = sample_scenes(seed, PROPOSALS, "test", batch=batch)
        for row in range(PROPOSALS):
            made = kept(asked, scenes[row])
            if made is not None:
                return made
    raise UserError(
        "no scene of the world is like this",
        where="caption",
        remedy="only circles and squares hold something, figures stand free, joined or crowded things are not large",
    )


def kept(asked: Asked, scene: Scene) -> Scene | None:
    """The scene with the words of a promise in place of its own, None where that breaks the rules of the world."""
    things = list(scene.things)
    order = list(range(len(things)))
    if asked.nouns and len(asked.nouns) != len(things):
        return None
    if asked.relation is not None:
        kind, subject, target = asked.relation
        if scene.relation is None or scene.relation.kind != kind:
            return None
        pair = {subject: scene.relation.subject, target: scene.relation.object}
        rest = iter(k for k in order if k not in pair.values())
        order = [pair[k] if k in pair else next(rest) for k in range(len(things))]
    elif len(asked.nouns) > 1 and scene.relation is not None:
        return None  # things that are only named together are drawn apart
    holder = scene.relation.object if scene.relation is not None and scene.relation.kind == "inside" else None
    for noun, k in zip(asked.nouns, order, strict=False):
        worded = _worded(noun, things[k], holder=k == holder)
        if worded is None:
            return None
        things[k] = worded
    things = _distinct(things, {k for noun, k in zip(asked.nouns, order, strict=False) if noun.colour})
    background, pattern = asked.background or scene.background, asked.pattern or scene.pattern
    return replace(scene, background=background, pattern=pattern, things=tuple(things))


def _worded(noun: Noun, thing: Thing, *, holder: bool) -> Thing | None:
    """A thing with the words of a noun; None where its size would have to be another, or it cannot be that."""
    shape, texture = noun.shape or thing.shape, noun.texture or thing.texture
    if noun.size is not None and size_word(thing) != noun.size:
        return None
    if (shape == "figure") != (thing.shape == "figure") or (holder and shape not in HOLDERS):
        return None
    if shape == "figure" and texture != "solid":
        return None
    return replace(thing, shape=shape, colour=noun.colour or thing.colour, texture=texture)


def _distinct(things: list[Thing], fixed: set[int]) -> list[Thing]:
    """Other colours for things that were not given one and now have the colour of another."""
    taken = [things[k].colour for k in fixed]
    out = []
    for k, thing in enumerate(things):
        colour = thing.colour
        if k not in fixed:
            free = [name for name in COLOURS if name not in taken]
            colour = colour if colour in free else free[0]
            taken.append(colour)
        out.append(replace(thing, colour=colour))
    return out


def _refuse_equal_colours(asked: Asked) -> None:
    named = [noun.colour for noun in asked.nouns if noun.colour]
    if len(set(named)) < len(named):
        twice = next(colour for colour in named if named.count(colour) > 1)
        raise UserError(
            f"two things are {twice}", where="caption", remedy="give the things of a scene different colours"
        )
