"""What is asked of a clip: refused in a sentence when impossible, kept to the bit in JSON, drawn on its frames."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings

from domains.audio.controls.beats import BeatGrid, Metre, Tempo
from domains.audio.controls.chords import QUALITIES, Chord
from domains.audio.controls.controls import Controls
from domains.audio.controls.dynamics import Dynamics
from domains.audio.controls.frames import HOP, RATE, beat_curve, frame_times, rasterise
from domains.audio.controls.json_form import from_json, read_controls, text, to_json
from domains.audio.controls.notes import Key, Note, Track, skyline
from domains.audio.controls.roll import piano_roll, roll_notes
from domains.audio.controls.spans import Span, Spans
from domains.audio.controls.tags import Tags
from shared.errors import UserError
from tests.audio.control_examples import controls


def refusal(make) -> str:
    with pytest.raises(UserError) as caught:
        make()
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------------- refusals

IMPOSSIBLE = {
    "note that ends before it starts": (lambda: Note(1.0, 0.5, 60), "starts at 1 s and ends at 0.5 s"),
    "note that is not a number": (lambda: Note(math.nan, 1.0, 60), "not a finite number"),
    "pitch out of range": (lambda: Note(0, 1, 128), "0 to 127"),
    "pitch between two keys": (lambda: Note(0, 1, 60.5), "whole number"),
    "silent note": (lambda: Note(0, 1, 60, 0), "1 to 127"),
    "level above full scale": (lambda: Dynamics(((0.0, 3.0),)), "from -80 to 0 dB"),
    "curve without a point": (lambda: Dynamics(()), "no point"),
    "two levels at once": (lambda: Dynamics(((1.0, -3.0), (1.0, -4.0))), "two points are at 1 s"),
    "metre of no note": (lambda: Metre(0, 4, 3), "4/3 is no metre"),
    "metre of no beat": (lambda: Metre.named("0/4"), "from 1 to 32"),
    "metre in words": (lambda: Metre.named("waltz"), "'waltz' is no metre"),
    "tempo of no music": (lambda: Tempo(0.0, 5.0), "from 10 to 960"),
    "grid without a tempo": (lambda: BeatGrid(()), "tempos begin nowhere"),
    "two tempos at once": (lambda: BeatGrid((Tempo(0, 90), Tempo(0, 91))), "same quarter"),
    "grid that starts bars ago": (lambda: BeatGrid.steady(120, "4/4", -2.5), "less than one bar"),
    "beats in disorder": (lambda: BeatGrid.through([0.0, 1.0, 0.5]), "not in order"),
    "unknown chord": (lambda: Chord.named("H:maj", 0, 1), "'H'"),
    "unknown mood": (lambda: Tags(mood="hungry"), "'hungry'"),
    "unknown key": (lambda: Key.named("H major"), "'H major'"),
    "no length": (lambda: Controls(length=0.0), "from 0.05 to 1800"),
    "endless clip": (lambda: Controls(length=1801.0), "from 0.05 to 1800"),
    "two notes at once": (lambda: Controls(length=2.0, melody=(Note(0, 1, 60), Note(0.5, 1, 62))), "melody[1]"),
    "note beyond the clip": (
        lambda: Controls(length=2.0, melody=(Note(1, 2.1, 60),)),
        "ends at 2.1 s, the clip at 2 s",
    ),
    "chords that overlap": (lambda: Controls(length=2.0, chords=(Chord(0, 1, 0), Chord(0.9, 2, 1))), "chords[1]"),
    "curve beyond the clip": (lambda: Controls(length=2.0, dynamics=Dynamics(((3.0, -9.0),))), "ends at 3 s"),
    "spans that overlap": (
        lambda: Controls(length=2.0, spans=Spans(rhythm=(Span(0, 1), Span(0.5, 2)))),
        "spans.rhythm[1]: starts at 0.5 s",
    ),
    "span beyond the clip": (lambda: Controls(length=2.0, spans=Spans(melody=(Span(1, 3),))), "spans.melody[0]"),
    "grid after the clip": (lambda: Controls(length=2.0, grid=BeatGrid.steady(120, start=2.0)), "grid.start"),
}


@pytest.mark.parametrize(("make", "said"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_is_impossible_is_refused_with_value_and_place(make, said: str) -> None:
    assert said in refusal(make)


def test_parts_are_put_in_order_and_neighbours_may_touch() -> None:
    asked = Controls(length=2.0, melody=(Note(1, 2, 64), Note(0, 1, 60)), spans=Spans(chords=(Span(1, 2), Span(0, 1))))
    assert [note.pitch for note in asked.melody or ()] == [60, 64]
    assert asked.spans.chords == (Span(0, 1), Span(1, 2))


# -------------------------------------------------------------------------------------------------------------- JSON


@given(controls())
@settings(max_examples=60, deadline=None)
def test_json_keeps_every_bit(asked: Controls) -> None:
    assert from_json(json.loads(text(asked))) == asked
    assert from_json({"controls": to_json(asked), "operation": "any"}) == asked


BROKEN = {
    "another format": ({"format": "midi"}, "'midi'"),
    "a typing error": ({"melodie": []}, "'melodie'"),
    "no length": ({"length": None}, "length is None"),
    "a note with a typing error": ({"melody": [{"begin": 0}]}, "melody[0]: has the unknown entry 'begin'"),
    "a note without an end": ({"melody": [{"start": 0, "pitch": 60, "velocity": 1}]}, "melody[0]: has no end"),
    "a bad second note": (
        {"melody": [{"start": n, "end": n + 1, "pitch": 60 + 99 * n, "velocity": 1} for n in range(2)]},
        "melody[1]: the pitch is 159",
    ),
    "words for levels": ({"dynamics": [[0, "loud"]]}, "dynamics[0]: the level is 'loud'"),
    "a level without a time": ({"dynamics": [[0]]}, "dynamics[0]: is no pair"),
    "a list for a grid": ({"grid": []}, "grid: is no JSON object"),
    "a metre for a number": (
        {"grid": {"tempos": [{"quarter": 0, "qpm": 90}], "metres": [{"bar": 0, "metre": 4}]}},
        "4",
    ),
    "a span that ends early": ({"spans": {"melody": [[1, 0]]}}, "spans.melody[0]"),
    "a span of nothing": ({"spans": {"harmony": []}}, "'harmony'"),
}


@pytest.mark.parametrize(("change", "said"), BROKEN.values(), ids=BROKEN)
def test_broken_json_is_refused_with_the_place(change: dict, said: str, tmp_path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"format": "audio-controls", "version": 1, "length": 2.0, **change}))
    sentence = refusal(lambda: read_controls(file))
    assert said in sentence and sentence.startswith("mine.json") and "\n" not in sentence


# -------------------------------------------------------------------------------------------------------------- grid


def test_beats_and_bars_of_a_compound_metre_are_counted_in_dotted_quarters() -> None:
    grid = BeatGrid.steady(90, "6/8")
    np.testing.assert_allclose(grid.beats(4.0), np.arange(6) * 60 / 90, atol=1e-12)
    np.testing.assert_allclose(grid.downbeats(4.0), np.arange(3) * 120 / 90, atol=1e-12)
    assert grid.bars_last(4) == pytest.approx(8 * 60 / 90)


def test_a_loop_has_the_samples_that_bars_and_tempo_say() -> None:
    length = BeatGrid.steady(97).bars_last(4)
    assert [Controls(length=length).samples(rate) for rate in (22050, 44100, 48000)] == [218227, 436454, 475052]


def test_tempo_and_metre_change_where_they_should() -> None:
    grid = BeatGrid((Tempo(0, 60), Tempo(4, 120)), (Metre(0, 4, 4), Metre(1, 3, 4)), start=0.5)
    np.testing.assert_allclose(grid.downbeats(9.0), [0.5, 4.5, 6.0, 7.5])
    np.testing.assert_allclose(grid.beats(6.0), [0.5, 1.5, 2.5, 3.5, 4.5, 5.0, 5.5])
    for quarter in (-0.5, 0.0, 3.9, 4.0, 7.25):
        assert grid.quarter_at(grid.seconds_at(quarter)) == pytest.approx(quarter)


@pytest.mark.parametrize("downbeat", range(4))
def test_a_grid_through_beats_has_just_these_beats_and_the_chosen_downbeat(downbeat: int) -> None:
    beats = np.array([0.3, 0.82, 1.3, 1.85, 2.4, 2.9, 3.35, 3.9])
    grid = BeatGrid.through(beats.tolist(), "4/4", downbeat)
    found = grid.beats(4.0)
    np.testing.assert_allclose(found[found > 0.29], beats, atol=1e-9)
    assert np.min(np.abs(grid.downbeats(4.0) - beats[downbeat])) < 1e-9


def test_a_moved_grid_beats_at_moved_times_and_forgets_bars_that_are_over() -> None:
    grid = BeatGrid((Tempo(0, 100), Tempo(5, 130)), (Metre(0, 3, 4), Metre(2, 4, 4)), start=-0.2)
    for shift in (-7.3, -2.0, 0.0, 1.4):
        moved, kept = grid.later(shift).beats(10.0), grid.beats(10.0 - shift) + shift
        np.testing.assert_allclose(moved[moved > shift - 1e-9], kept[kept > -1e-9], atol=1e-9)


def test_another_tempo_moves_everything_and_crop_keeps_what_remains() -> None:
    asked = Controls(
        length=8.0,
        melody=(Note(0, 2, 60), Note(2, 5, 62)),
        dynamics=Dynamics(((0.0, -30.0), (8.0, -10.0))),
        grid=BeatGrid.steady(60),
        chords=(Chord(4, 8, 7),),
        spans=Spans(melody=(Span(1, 7),)),
    )
    twice = asked.at_tempo(120)
    assert twice.length == 4.0 and twice.melody == (Note(0, 1, 60), Note(1, 2.5, 62))
    assert twice.grid == BeatGrid.steady(120) and twice.spans.melody == (Span(0.5, 3.5),)
    part = asked.crop(1.0, 3.0)
    assert part.melody == (Note(0, 1, 60), Note(1, 2, 62)) and part.chords == ()
    np.testing.assert_allclose(part.dynamics.at([0, 1, 2]) if part.dynamics else 0, [-27.5, -25, -22.5])
    assert part.grid and part.grid.beats(2.0).tolist() == [0.0, 1.0]


# ------------------------------------------------------------------------------------------------------------ frames


def test_frames_follow_the_spectrogram_and_say_what_is_asked_at_their_centre() -> None:
    asked = Controls(
        length=512 * HOP / RATE,
        melody=(Note(0.0, 1.0, 61), Note(1.0, 2.0, 72)),
        dynamics=Dynamics(((0.0, -40.0), (5.0, -10.0))),
        grid=BeatGrid.steady(120),
        chords=(Chord(0.0, 2.0, 9, "min7"),),
        spans=Spans(dynamics=(Span(1.0, 2.0),)),
    )
    curves, times = rasterise(asked), frame_times(512)
    assert curves.melody.shape == (512, 12) and curves.melody.dtype == np.float32
    change = int(np.ceil(RATE / HOP))  # the first frame whose centre lies at or after 1 s
    assert curves.melody[change - 1].argmax() == 1 and curves.melody[change].argmax() == 0
    assert not curves.melody[times >= 2.0].any() and curves.bound("melody").all()
    np.testing.assert_array_equal(curves.bound("dynamics"), (times >= 1.0) & (times < 2.0))
    np.testing.assert_allclose(
        curves.dynamics[:, 0], np.where(curves.bound("dynamics"), -40 + 6 * times, 0.0), atol=1e-4
    )
    assert (curves.chords[100].nonzero()[0] == [9, 12 + list(QUALITIES).index("min7")]).all()
    beats = times[curves.rhythm[:, 0] > 0.5]
    assert set(np.round(beats * 2)) == set(range(12)) and not (curves.rhythm[:, 1] > curves.rhythm[:, 0]).any()


def test_a_control_that_is_not_given_is_zero_and_unmasked() -> None:
    curves = rasterise(Controls(length=1.0, melody=(Note(0, 1, 60),), spans=Spans(melody=())))
    assert not curves.mask.any()
    assert not any(curves.of(kind).any() for kind in ("melody", "dynamics", "rhythm", "chords"))


def test_a_beat_is_a_peak_where_it_is_even_between_frames() -> None:
    times = frame_times(200)
    for at in (0.5, 1.0031, 1.777):
        curve = beat_curve(np.array([at]), times)
        assert (curve * times).sum() / curve.sum() == pytest.approx(at, abs=5e-4) and curve.max() > 0.85


def test_drawn_shapes_rise_by_the_asked_span_and_measured_curves_stay_within_the_bound() -> None:
    for kind in ("linear", "tanh", "cosine"):
        curve = Dynamics.shape(kind, 6.0, middle=-25, span=12)
        np.testing.assert_allclose(curve.at([0.0, 3.0, 6.0]), [-31, -25, -19], atol=1e-9)
        assert Dynamics.shape(kind, 6.0, middle=-25, span=12, falling=True).at(0.0) == pytest.approx(-19)
    x = np.linspace(0, 60, 5000)
    y = -30 + 10 * np.sin(x) + 3 * np.sin(9 * x)
    kept = Dynamics.through(x, y, within=0.25)
    assert np.abs(kept.at(x) - y).max() <= 0.25 and len(kept.points) < 1200


# -------------------------------------------------------------------------------------------------------------- roll


def test_notes_on_the_grid_survive_the_piano_roll() -> None:
    grid = BeatGrid((Tempo(0, 90), Tempo(4, 140)), start=0.25)
    at = grid.seconds_at
    notes = (
        Note(at(0), at(1), 60, 90),
        Note(at(1), at(1.25), 60, 40),  # repeated at once: two notes, not one
        Note(at(0.5), at(3), 67, 127),
        Note(at(4), at(5.5), 36, 1),
    )
    assert roll_notes(piano_roll(notes, grid, at(8)), grid) == tuple(sorted(notes))
    fine = piano_roll((Note(0.25, 0.26, 50),), grid, 4.0, steps=12)
    assert fine.velocity.sum() == pytest.approx(80 / 127) and fine.onset[0, 50]


def test_the_top_line_of_chords_is_a_melody_that_legato_does_not_break() -> None:
    chords = [Note(0, 1, p) for p in (60, 64, 67)] + [Note(0.98, 2, 65), Note(0.98, 2, 48), Note(1.5, 1.8, 50)]
    assert skyline(chords) == (Note(0, 1, 67), Note(1, 2, 65))
    assert Track("t", tuple(chords)).notes == tuple(sorted(chords))


def test_tags_are_found_in_free_text_and_what_is_not_understood_is_named() -> None:
    assert Tags.read("Some upbeat hip hop, with a flute") == (
        Tags("hip_hop", "happy"),
        ("some", "with", "a", "flute"),
    )
