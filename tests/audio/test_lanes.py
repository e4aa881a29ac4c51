"""What the lanes and the tables of the audio page hand to the server is read exactly, and checked."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings

from domains.audio.controls.controls import Controls
from domains.audio.controls.examples import EXAMPLES
from domains.audio.controls.json_form import text
from domains.audio.controls.spans import Span, Spans
from domains.audio.page import tables
from domains.audio.page.asking import chord, controls_of, reshape
from domains.audio.page.results import equal_volumes
from shared.errors import UserError
from tests.audio.control_examples import controls as drawn_controls

THEME = EXAMPLES["theme"]()


@pytest.mark.parametrize("held", [None, "", "no json", "[1]", "{}", '{"a": ' * 5000, '{"controls": 3}'])
def test_what_are_no_controls_is_refused_in_a_sentence(held: str | None) -> None:
    with pytest.raises(UserError):
        controls_of(held)


def test_wishes_of_the_lanes_are_worked_out_or_refused() -> None:
    def wish(**what: object) -> Controls:
        got = reshape({"controls": text(THEME), **what})
        assert "error" not in got and got["words"].endswith(".")
        return controls_of(got["controls"])

    assert wish(bpm=60).length == 16.0 and wish(bpm=60, follow=False).length == 8.0
    assert wish(bars=2).length == 4.0 and wish(metre="3/4").length == 6.0
    grid = wish(times=2).grid
    assert grid is not None and grid.tempos[0].qpm == 240.0
    assert [each.label for each in wish(strip="Am | F").chords or ()] == ["A:min", "F:maj"]
    rising, falling = THEME.dynamics, wish(shape="tanh").dynamics
    assert rising is not None and falling is not None and falling.points[0][1] > falling.points[-1][1]
    for bad in ({"bpm": "fast"}, {"bars": math.nan}, {"metre": "4"}, {"shape": "round"}, {"strip": "H"}, {}):
        assert reshape({"controls": text(THEME), **bad})["error"].startswith("Please check: ")
    assert reshape({})["error"] and chord("H")["error"] and chord("Bbm")["label"] == "A#:min"


@given(drawn_controls())
@settings(max_examples=60, deadline=None)
def test_a_table_that_is_read_again_is_what_it_shows(controls: Controls) -> None:
    for unit in tables.UNITS:
        rows = tables.rows_of(controls, unit)
        for name in tables.HEADERS:
            try:
                again = tables.with_rows(controls, name, rows[name], unit)
            except UserError:  # drawn so near to one another that four digits do not tell them apart
                continue
            shown = tables.rows_of(again, unit)[name]
            assert len(shown) == len(rows[name])
            for one, other in zip(shown, rows[name], strict=True):
                for a, b in zip(one, other, strict=True):
                    assert a == (pytest.approx(b, abs=2e-3) if isinstance(b, float) else b)


def test_typed_rows_change_their_own_control_alone() -> None:
    def typed(name: str, *rows: list[object], unit: str = "quarter notes") -> Controls:
        return tables.with_rows(THEME, name, [*rows, ["", "", ""]], unit)

    notes = typed("notes", ["0", "1", "C4"], [1, 0.5, "Bb3"], ["1,5", "0.25", 61]).melody or ()
    assert [(note.start, note.end, note.pitch) for note in notes] == [
        (0.0, 0.5, 60),
        (0.5, 0.75, 58),
        (0.75, 0.875, 61),
    ]
    assert typed("notes").melody is None and typed("notes").dynamics == THEME.dynamics
    assert typed("points", ["1.5", "−20"], unit="seconds").dynamics.points == ((1.5, -20.0),)  # type: ignore[union-attr]
    assert [each.label for each in typed("chords", [0, 4, "Am"]).chords or ()] == ["A:min"]
    assert typed("spans", ["melody", 0, 8]).spans == Spans(melody=(Span(0.0, 4.0),))
    off = replace(THEME, spans=Spans(dynamics=()))
    assert tables.with_rows(off, "spans", [], "seconds").spans.dynamics == ()


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        ("notes", ["x", 1, "C4"], "notes, row 1: start is 'x'"),
        ("notes", [0, 1, "H4"], "notes, row 1: the pitch is 'H4'"),
        ("notes", [0, 0, "C4"], "notes, row 1"),
        ("points", [0, "inf"], "points, row 1: dB is 'inf'"),
        ("chords", [0, 4, "Zm"], "chords, row 1"),
        ("spans", ["drums", 0, 4], "spans, row 1: 'drums' is no lane"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(name: str, row: list[object], said: str) -> None:
    with pytest.raises(UserError) as error:
        tables.with_rows(THEME, name, [row], "seconds")
    assert str(error.value).startswith(said)


def test_players_are_equally_loud_without_raising_any() -> None:
    volumes = equal_volumes([(-14.0, -1.0), (-20.0, -6.0), (None, None)])
    assert volumes[1] == 1.0 and 20 * math.log10(volumes[0]) == pytest.approx(-6.0)
    assert max(volumes) <= 1.0


def test_the_lanes_text_survives_a_browser() -> None:
    """JavaScript writes 8.0 as 8: the same number."""
    shorter = json.loads(text(THEME).replace(".0,", ",").replace(".0}", "}"))
    assert controls_of(json.dumps(shorter)) == THEME
