"""Controls as a whole get another tempo, metre or number of bars; chords are read as musicians write them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domains.audio.controls import edits
from domains.audio.controls.beats import BeatGrid
from domains.audio.controls.chords import QUALITIES, Chord
from domains.audio.controls.controls import Controls
from domains.audio.controls.examples import EXAMPLES
from domains.audio.controls.json_form import read_controls
from domains.audio.controls.spelling import strip, symbol
from domains.audio.operations import CONTROL_EXAMPLES
from shared.errors import UserError

FOUR = BeatGrid.steady(120.0)


def test_tapped_beats_become_one_tempo_where_a_hand_meant_one_and_stay_as_tapped_otherwise() -> None:
    theme = EXAMPLES["theme"]()
    off = [0.01, -0.015, 0.0, 0.02, -0.01, 0.0]
    steady = edits.with_beats(theme, [2.7 + 0.6 * n + late for n, late in enumerate(off)])
    assert steady.melody == theme.melody and steady.grid is not None and len(steady.grid.tempos) == 1
    assert steady.grid.tempos[0].qpm == pytest.approx(100, rel=0.01)
    assert np.abs(steady.grid.downbeats(8.0) - 2.7).min() < 0.02 and steady.grid.start <= 0
    slowing = [1.0, 1.5, 2.05, 2.65, 3.3, 4.0, 4.75]
    free = edits.with_beats(theme, slowing)
    assert free.grid is not None
    assert free.grid.beats(8.0)[:9] == pytest.approx([0.0, 0.5, *slowing])
    assert free.grid.downbeats(8.0)[:2] == pytest.approx([1.0, 3.3 - 0.0])
    for bad, words in (([1.0], "two beats"), ([2.0, 1.0, 3.0, 4.0], "order"), ([1.0, 99.0], "beat")):
        with pytest.raises(UserError, match=words):
            edits.with_beats(theme, bad)


@pytest.mark.parametrize("name", CONTROL_EXAMPLES)
def test_every_example_is_whole_bars_long_and_can_be_named_like_a_file(name: str) -> None:
    controls = read_controls(f"example:{name}")
    assert controls == EXAMPLES[name]() and set(EXAMPLES) == set(CONTROL_EXAMPLES)
    assert controls.grid is not None
    bars = len(list(controls.grid.bars(controls.length)))
    assert bars >= 4 and controls.length == pytest.approx(controls.grid.bars_last(bars), abs=1e-12)


def test_the_tempo_stretches_the_music_or_leaves_it_where_it_is() -> None:
    theme = EXAMPLES["theme"]()
    slower, still = edits.with_tempo(theme, 60.0), edits.with_tempo(theme, 60.0, follow=False)
    assert slower.length == 16.0 and slower.melody and slower.melody[1].start == 1.0
    assert still.length == 8.0 and still.melody == theme.melody
    assert slower.grid is not None and slower.grid == still.grid
    assert edits.with_tempo(Controls(length=4.0), 90.0).grid == BeatGrid.steady(90.0)
    with pytest.raises(UserError, match="tempo"):
        edits.with_tempo(theme, 5000.0, follow=False)


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_a_tempo_heard_as_its_double_is_mended_while_beats_stay_where_they_were(factor: float) -> None:
    grid = BeatGrid.through([0.1, 0.6, 1.1, 1.7, 2.3, 2.9], "4/4", downbeat=1)
    controls = Controls(length=3.0, grid=grid)
    made = edits.times_tempo(controls, factor).grid
    assert made is not None and made.tempos[0].qpm == grid.tempos[0].qpm * factor
    sparse, dense = sorted((grid.beats(3.0), made.beats(3.0)), key=len)
    assert all(np.abs(dense - beat).min() < 1e-9 for beat in sparse)


def test_bars_cut_the_clip_at_a_bar_line_or_leave_what_is_new_empty() -> None:
    theme = EXAMPLES["theme"]()
    short, long = edits.with_bars(theme, 2), edits.with_bars(theme, 6)
    assert short.length == 4.0 and short.melody and short.melody[-1].end == 4.0
    assert long.length == 12.0 and long.melody == theme.melody
    assert edits.with_metre(theme, "3/4").length == 6.0
    with pytest.raises(UserError, match="bars"):
        edits.with_bars(theme, 0)


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("C", "C:maj"),
        ("am7", "A:min7"),
        ("Bb", "A#:maj"),
        ("F♯dim", "F#:dim"),
        ("Dm7b5", "D:hdim7"),
        ("Gsus", "G:sus4"),
        ("EbM7", "D#:maj7"),
        ("A:min7", "A:min7"),
        ("Co7", "C:dim7"),
    ],
)
def test_a_chord_is_read_as_it_is_written(said: str, label: str) -> None:
    assert symbol(said, 0.0, 1.0).label == label


@given(st.integers(0, 11), st.sampled_from(list(QUALITIES)))
def test_every_label_reads_as_itself(root: int, quality: str) -> None:
    chord = Chord(0.0, 1.0, root, quality)
    assert symbol(chord.label, 0.0, 1.0) == chord


def test_a_strip_shares_a_bar_repeats_and_leaves_bars_free() -> None:
    chords = strip("Am | F G | - | % |", FOUR, 8.0)
    assert [(chord.start, chord.end, chord.label) for chord in chords] == [
        (0.0, 2.0, "A:min"),
        (2.0, 3.0, "F:maj"),
        (3.0, 4.0, "G:maj"),
        (6.0, 8.0, "G:maj"),
    ]
    assert [(chord.start, chord.end) for chord in strip("C | C | F", FOUR, 8.0)] == [(0.0, 4.0), (4.0, 6.0)]


@pytest.mark.parametrize("said", ["H", "Xm", "C | % | % | % | %", "%", "Cmaj9"])
def test_what_is_no_chord_is_refused_in_a_sentence(said: str) -> None:
    with pytest.raises(UserError, match=r"chord|repeats"):
        strip(said, FOUR, 8.0)
