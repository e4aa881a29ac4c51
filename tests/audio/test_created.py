"""Created controls are the protocol's, item for item: themes that are whole and in key, curves, grooves, and parts."""

from __future__ import annotations

import numpy as np
import pytest

from domains.audio.controls import created
from domains.audio.controls.beats import BeatGrid, Metre
from domains.audio.controls.dynamics import SHAPES
from domains.audio.controls.examples import ODE, tune
from domains.audio.controls.themes import THEMES, theme_melody
from domains.audio.score import roll
from domains.audio.score.plan import plan


def test_a_rest_in_a_tune_is_time_without_a_note() -> None:
    notes = tune([(60, 1.0), (None, 0.5), (62, 1.0)], BeatGrid.steady(60))
    assert [(note.start, note.end, note.pitch) for note in notes] == [(0.0, 1.0, 60), (1.5, 2.5, 62)]


@pytest.mark.parametrize("name", THEMES)
def test_a_theme_fills_whole_bars_keeps_to_its_key_and_to_the_sixteenths(name: str) -> None:
    theme = THEMES[name]
    assert theme.bars == round(theme.bars) == theme.cuts[1][0] + theme.cuts[1][1]
    bar, place = Metre.named(theme.metre).quarters, 0.0
    for _, length in theme.notes:
        assert (place % bar) + length <= bar + 1e-9, f"a note crosses the bar line at {place}"
        place += length
    pitches = [pitch for pitch, _ in theme.notes if pitch is not None]
    strange = sum(pitch % 12 not in theme.key.pitch_classes for pitch in pitches)
    assert strange <= 0.15 * len(pitches), "more than leading tones lie outside of the key"
    assert all(pitch in roll.LANES[0].pitches for pitch in pitches)
    assert all(length * 4 == round(length * 4) for _, length in theme.notes)


def test_the_ode_is_the_theme_of_the_example_in_its_own_key() -> None:
    assert [note.pitch for note in theme_melody("ode", 0).melody or ()] == [pitch + 2 for pitch, _ in ODE]
    assert theme_melody("ode", 0).length == pytest.approx(6.0)


def test_two_cuts_of_ten_themes_begin_on_bar_lines_and_last_about_six_seconds() -> None:
    made = created.melodies()
    assert len(made) == 20 and len(THEMES) == 10
    for name, one in made.items():
        assert 5.0 < one.length < 7.0, name
        assert one.melody and one.grid is not None and one.grid.start == pytest.approx(0.0), name
        assert plan(one, strict=True).notes == (), name  # nothing of it lies off the sixteenths or is out of range
    assert len({tuple(note.pitch for note in one.melody or ()) for one in made.values()}) == 20


def test_curves_are_every_shape_up_and_flipped_over_the_four_ranges_around_the_middle() -> None:
    made = created.curves(-27.0)
    assert len(made) == 24
    times = np.linspace(0.0, created.LENGTH, 61)
    for kind in SHAPES:
        for span in created.RANGES:
            up, down = (made[f"{kind} {way} {span:g} dB"].dynamics for way in ("up", "down"))
            assert up is not None and down is not None
            rise = up.at(times)
            assert rise[-1] - rise[0] == pytest.approx(span) and (np.diff(rise) > -1e-9).all()
            assert rise.mean() == pytest.approx(-27.0)
            assert np.allclose(rise + down.at(times), -54.0)


def test_grooves_fill_their_bars_and_are_stretched_with_their_grid() -> None:
    for metre, _, bar in created.GROOVES.values():
        assert all(len(pattern) == 4 * Metre.named(metre).quarters for pattern in bar.values())
    made = created.rhythms()
    assert len(made) == 20
    for name in created.GROOVES:
        slow, strokes = made[f"{name} x 0.8"]
        fast, _ = made[f"{name} x 1.2"]
        assert slow.grid is not None and fast.grid is not None
        assert fast.grid.tempos[0].qpm / slow.grid.tempos[0].qpm == pytest.approx(1.5)
        assert [note.pitch for note in strokes if note.start == 0.0 and note.pitch == created.KICK]
        assert all(note.end <= slow.length for note in strokes)
        places = np.array([slow.grid.quarter_at(note.start) * 4 for note in strokes])
        assert np.allclose(places, np.rint(places))
        asked = plan(slow, drums=strokes, strict=True)
        assert (asked.asked["drums"] * asked.bound[3]).sum() == len(strokes)  # all of them bind, each on its own


def test_a_part_binds_for_one_to_four_and_a_half_seconds_inside_the_clip_and_changes_nothing_else() -> None:
    rng, whole = np.random.default_rng(0), created.melodies()["minuet 1"]
    lengths = []
    for _ in range(200):
        part = created.in_part(whole, "melody", rng)
        (span,) = part.bound("melody")
        lengths.append(span.end - span.start)
        assert 0.0 <= span.start and span.end <= whole.length
        assert part.melody == whole.melody and part.bound("rhythm") == whole.bound("rhythm")
    assert 1.0 <= min(lengths) < 1.3 and 4.2 < max(lengths) <= 4.5
