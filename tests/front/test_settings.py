"""Settings: one declaration, checked on construction, the same after a round trip through JSON."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import UserError
from shared.front.option import LARGEST_SEED, Option
from shared.front.settings import REQUIRED, Settings, option
from tests.front.sample_app import Walk

NEEDED = {"start": "example:origin", "out": "here"}


def test_defaults_are_those_of_the_declaration() -> None:
    settings = Walk.build(NEEDED)
    assert (settings.steps, settings.stride, settings.law, settings.weights) == (40, 1.0, "normal", (1.0, 1.0))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("steps", 0, "--steps: 0 is out of range; allowed: 1 to 5000 steps"),
        ("steps", 2.5, "2.5 is not a whole number"),
        ("steps", True, "True is not a whole number"),
        ("stride", math.nan, "nan is not a finite number"),
        ("stride", 11, "11 is out of range; allowed: 0.1 to 10 mm"),
        ("law", "gauss", "'gauss' is not a choice; allowed: one of normal, uniform"),
        ("closed", 1, "1 is neither true nor false"),
        ("seed", -1, "-1 is out of range; allowed: 0 to 4294967295"),
        ("start", "scan.nii", "'scan.nii' has another ending; allowed: .csv"),
        ("start", "example:moon", "'example:moon' is not an example"),
        ("title", "x" * 5000, "has 5000 characters"),
        ("weights", (1.0, 3.0), "3.0 is out of range"),
        ("weights", (1.0,), "1 weights for 2 axes"),
        ("weights", "1", "is not a list"),
        ("marks", ["middle"], "'middle' is not a choice"),
        ("layers", {"a": "b.png"}, "'b.png' has another ending"),
        ("out", "a\0b", "is not a path"),
    ],
)
def test_a_bad_value_is_one_sentence_with_option_value_and_range(name: str, value: Any, said: str) -> None:
    with pytest.raises(UserError) as caught:
        Walk.build({**NEEDED, name: value})
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_option_is_named_with_its_help() -> None:
    with pytest.raises(UserError, match="missing --out; give --out: Folder for the results"):
        Walk.build({"start": "example:origin"})


def test_what_is_there_is_checked_before_what_is_missing() -> None:
    with pytest.raises(UserError, match="0 is out of range"):
        Walk.build({"steps": 0})
    with pytest.raises(UserError, match="1 weights for 2 axes"):
        Walk.build({"start": "example:origin", "weights": (1.0,)})


def test_a_rule_refuses_a_value_wherever_it_comes_from_and_is_not_asked_about_the_default() -> None:
    asked: list[str] = []

    def short(word: str) -> None:
        asked.append(word)
        if len(word) > 3:
            raise UserError(f"{word!r} is long", where="--word", remedy="shorten it")

    @dataclass(frozen=True, kw_only=True)
    class Word(Settings):
        word: str = option("short enough", kind="str", rule=short, help="A word.")
        out: str = option(REQUIRED, kind="folder", help="Folder.")

    assert asked == [], "declaring an option must import nothing"
    assert Word.build({"word": "abc", "out": "a"}).word == "abc"
    for attempt in ({"word": "abcd", "out": "a"}, {"word": "abcd"}):
        with pytest.raises(UserError, match="'abcd' is long"):
            Word.build(attempt)
        with pytest.raises(UserError, match="'abcd' is long"):
            Word.from_json(attempt)


def test_an_integral_float_of_a_slider_is_a_whole_number() -> None:
    settings = Walk.build({**NEEDED, "steps": 7.0})
    assert settings.steps == 7 and isinstance(settings.steps, int)


values = st.fixed_dictionaries(
    {
        "start": st.sampled_from(["example:origin", "a.csv", "dir/B.CSV.GZ"]),
        "steps": st.integers(1, 5000),
        "stride": st.floats(0.1, 10),
        "law": st.sampled_from(["normal", "uniform"]),
        "closed": st.booleans(),
        "title": st.text(max_size=50),
        "seed": st.integers(0, LARGEST_SEED),
        "weights": st.tuples(st.floats(0, 2), st.floats(0, 2)),
        "marks": st.lists(st.sampled_from(["start", "end"]), max_size=3),
        "layers": st.none() | st.dictionaries(st.text(max_size=5), st.just("x.csv"), max_size=3),
        "limit": st.none() | st.integers(1, 10**9),
        "out": st.just("here"),
    }
)


@given(values)
def test_json_round_trip_gives_equal_settings(drawn: dict[str, Any]) -> None:
    settings = Walk.build(drawn)
    assert Walk.from_json(json.loads(json.dumps(settings.to_json()))) == settings


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
anything = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(max_size=3), scalars, max_size=2)


@given(st.dictionaries(st.sampled_from([o.name for o in Walk.options()] + ["other"]), anything))
def test_any_json_gives_settings_or_a_user_error(data: dict[str, Any]) -> None:
    try:
        settings = Walk.from_json(data)
    except UserError as error:
        assert "\n" not in str(error).replace("\\n", "")
    else:
        assert Walk.from_json(settings.to_json()) == settings


def test_unknown_keys_are_refused_by_name() -> None:
    with pytest.raises(UserError, match="unknown options 'colour', 'speed'; the options are start, steps"):
        Walk.from_json({**NEEDED, "speed": 1, "colour": 2})


def test_settings_of_another_version_are_refused() -> None:
    with pytest.raises(UserError, match="settings of version 2, this release reads version 1"):
        Walk.from_json({**NEEDED, "version": 2})


def test_a_sidecar_is_read_and_overrides_win(tmp_path: Path) -> None:
    file = tmp_path / "walk.json"
    file.write_text(json.dumps({"operation": "sample_walk", "settings": {**NEEDED, "steps": 9, "seed": 4}}))
    settings = Walk.from_json(file, seed=5)
    assert (settings.steps, settings.seed) == (9, 5)


@pytest.mark.parametrize(
    ("content", "said"), [(b"{", "is not JSON"), (b"[1]", "no JSON object"), (b"\xff", "is not JSON")]
)
def test_a_settings_file_that_cannot_be_read_is_one_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "walk.json"
    file.write_bytes(content)
    with pytest.raises(UserError, match=said):
        Walk.from_json(file)
    with pytest.raises(UserError, match="No such file"):
        Walk.from_json(tmp_path / "absent.json")


@pytest.mark.parametrize(
    "declaration",
    [
        {"default": REQUIRED},
        {"default": "a", "kind": "choice"},
        {"default": "a", "low": 1},
        {"default": 1, "suffixes": (".x",)},
        {"default": 0, "kind": "seed", "many": True},
        {"default": 1, "kind": "number"},
        {"default": 1, "bare": True},
    ],
)
def test_a_declaration_that_contradicts_itself_fails_at_import(declaration: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        option(help="x", **declaration)


def test_a_default_out_of_its_own_range_fails_at_import() -> None:
    with pytest.raises(UserError, match="out of range"):
        option(0, low=1, help="x")


def test_options_carry_their_field_names_in_order() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Two(Settings):
        b: int = option(1, help="First.")
        a_word: str = option("", help="Second.")

    assert [(o.name, o.flag, o.label) for o in Two.options()] == [("b", "--b", "B"), ("a_word", "--a-word", "A word")]
    assert all(isinstance(o, Option) for o in Two.options())
