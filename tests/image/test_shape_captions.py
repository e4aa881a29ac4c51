"""Captions say what is true, come back as what they promise, and refuse what they do not know."""

from __future__ import annotations

import numpy as np
import pytest

from domains.image.shapes.captions import (
    ROLES,
    TERMS,
    VOCABULARY,
    WORDS,
    Asked,
    Noun,
    caption,
    full_promise,
    parse,
    phrase,
    promise,
    roles,
    tokens,
)
from domains.image.shapes.sampling import sample_scenes
from shared.errors import UserError


def content(asked: Asked) -> tuple[object, ...]:
    """A promise without the order in which its nouns are said."""
    pair = asked.relation and (asked.relation[0], asked.nouns[asked.relation[1]], asked.nouns[asked.relation[2]])
    return sorted(map(str, asked.nouns)), pair, asked.background, asked.pattern


def test_a_caption_is_parsed_back_into_what_it_promises() -> None:
    scenes, rng = sample_scenes(0, 400, "test"), np.random.default_rng(0)
    for row in range(len(scenes)):
        asked = promise(scenes[row], rng)
        assert content(parse(phrase(asked, rng))) == content(asked)


def test_a_caption_promises_nothing_that_is_not_so() -> None:
    scenes, rng = sample_scenes(1, 300, "test"), np.random.default_rng(1)
    for row in range(len(scenes)):
        whole, said = full_promise(scenes[row]), promise(scenes[row], rng)
        for noun, true in zip(said.nouns, whole.nouns, strict=True):
            assert all(getattr(noun, k) in (None, getattr(true, k)) for k in ("shape", "colour", "texture", "size"))
        assert said.relation in (None, whole.relation)
        assert said.background in (None, whole.background) and said.pattern in (None, whole.pattern)


def test_paraphrases_say_the_same_in_other_words() -> None:
    asked = parse("a red circle left of a dotted blue square")
    said = {phrase(asked, np.random.default_rng(k)) for k in range(40)}
    assert len(said) > 4 and any("right of" in text for text in said) and any("disc" in text for text in said)
    assert len({str(content(parse(text))) for text in said}) == 1


def test_a_network_reads_roles_that_no_paraphrase_changes() -> None:
    first, second = tokens(["a red circle left of a blue box", "the blue square right of a red disc"])
    assert np.array_equal(first, second)
    other = tokens(["a blue circle left of a red square"])[0]
    assert not np.array_equal(first, other)


def test_attributes_may_be_left_out() -> None:
    scenes, rng = sample_scenes(2, 300), np.random.default_rng(2)
    nouns = [noun for row in range(300) for noun in promise(scenes[row], rng).nouns]
    for attribute, low, high in (("colour", 0.8, 0.98), ("shape", 0.9, 0.99), ("texture", 0.2, 0.7)):
        share = np.mean([getattr(noun, attribute) is not None for noun in nouns])
        assert low < share < high, attribute
    assert parse("a thing") == Asked((Noun(),))


def test_the_vocabulary_is_small_and_every_number_has_one_meaning() -> None:
    assert 50 <= len(WORDS) <= 65 and len(set(WORDS)) == len(WORDS)
    assert VOCABULARY == len(TERMS) + 1 and len(set(TERMS)) == len(TERMS)
    ids = roles(parse("a small striped red star above a green cross and a figure on a plain sky background"))
    assert ids.shape == (ROLES,) and ids.min() >= 0 and ids.max() < VOCABULARY


def test_an_empty_caption_asks_for_nothing() -> None:
    assert parse("") == Asked(()) and not tokens([""]).any()


def test_the_full_caption_of_a_scene_is_plain_english() -> None:
    text = caption(sample_scenes(3, 1)[0])
    assert text.startswith(("a ", "an ")) and text.endswith("background")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a red dragon", "dragon"),
        ("a circle circle", "circle"),
        ("a red", "red"),
        ("a red blue star", "red blue star"),
        ("a star on a red background", "on red background"),
        ("a star and a cross and a circle and a square", "4 things"),
        ("a star left of a cross left of a circle", "two relations"),
        ("a star and", "the end"),
    ],
)
def test_a_caption_outside_the_grammar_is_refused_in_one_sentence(text: str, word: str) -> None:
    with pytest.raises(UserError, match=word):
        parse(text)
