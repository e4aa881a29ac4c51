"""The paper's metrics on cases whose score is known by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from domains.audio.controls.beats import BeatGrid
from domains.audio.controls.controls import Controls
from domains.audio.controls.dynamics import Dynamics
from domains.audio.controls.frames import count, rasterise
from domains.audio.controls.notes import Key, Note
from domains.audio.controls.spans import Span, Spans
from domains.audio.evaluate import (
    METRICS,
    Heard,
    beat_f1,
    bootstrap,
    chance,
    correlation,
    in_key_share,
    level_error,
    listen,
    melody_accuracy,
    metric,
    off_grid,
    score,
    table,
)
from tests.audio.sounds import band, song

SWELL = Dynamics(((0.0, -40.0), (4.0, -10.0)))
ASKED = Controls(
    length=4.0,
    melody=tuple(Note(n * 0.5, n * 0.5 + 0.5, 60 + n) for n in range(8)),
    dynamics=SWELL,
    grid=BeatGrid.steady(120),
    key=Key(0),
)
FRAMES = count(ASKED.samples(22050))


def perfect(asked: Controls) -> Heard:
    """What one hears when everything is as asked."""
    curves = rasterise(asked)
    grid = asked.grid or BeatGrid.steady(120)
    levels = curves.dynamics[:, 0].astype(np.float64)
    return Heard(curves.melody, levels, grid.beats(4.0), grid.downbeats(4.0), grid.beats(4.0))


def test_what_is_just_as_asked_has_perfect_scores() -> None:
    scores = score(ASKED, perfect(ASKED))
    assert (scores.melody, scores.beat, scores.downbeat, scores.off_grid) == (1.0, 1.0, 1.0, 0.0)
    assert scores.dynamics_micro == pytest.approx(1.0) and scores.level_error == pytest.approx(0.0, abs=1e-9)
    assert scores.in_key == pytest.approx(5 / 8, abs=0.01)  # C D E F G of the eight semitones from C


def test_melody_accuracy_counts_frames_with_an_asked_class_alone_and_silence_as_wrong() -> None:
    asked, heard = np.eye(12, dtype=np.float32)[[0, 1, 2, 3]], np.eye(12, dtype=np.float32)[[0, 1, 0, 3]]
    asked = np.concatenate([asked, np.zeros((4, 12), dtype=np.float32)])
    heard = np.concatenate([heard, heard])
    assert melody_accuracy(asked, heard) == 0.75
    heard[0] = 0  # argmax of silence is C, which was asked
    assert melody_accuracy(asked, heard) == 0.5
    assert melody_accuracy(asked, heard, np.arange(8) == 1) == 1.0
    assert melody_accuracy(asked, heard, np.arange(8) > 3) is None


def test_correlation_sees_the_shape_and_the_level_error_the_level() -> None:
    asked = np.linspace(-40, -10, 100)
    assert correlation(asked, asked - 6) == pytest.approx(1.0) and level_error(asked, asked - 6) == pytest.approx(36.0)
    assert correlation(asked, -asked) == pytest.approx(-1.0)
    assert correlation(asked, np.full(100, -20.0)) is None and level_error(asked[:0], asked[:0]) is None


def test_macro_r_sees_levels_that_micro_r_does_not() -> None:
    loud, quiet = (replace(ASKED, dynamics=Dynamics(((0.0, a), (4.0, b)))) for a, b in ((-20, -10), (-50, -40)))
    heard = perfect(loud)
    clips = [score(loud, heard), score(quiet, heard)]
    assert metric("dynamics_micro", clips) == pytest.approx(1.0)
    assert metric("dynamics_macro", clips) < 0.5  # type: ignore[operator]


def test_beats_are_matched_one_to_one_within_seventy_milliseconds() -> None:
    beats = np.arange(0.0, 4.0, 0.5)
    assert beat_f1(beats, beats + 0.069) == 1.0 and beat_f1(beats, beats + 0.071) == 0.0
    assert beat_f1(beats, beats[::2]) == pytest.approx(2 / 3)
    assert beat_f1(beats, np.arange(0.0, 4.0, 0.25)) == pytest.approx(2 / 3)
    assert beat_f1(beats, np.zeros(0)) == 0.0 and beat_f1(np.zeros(0), beats) is None
    assert beat_f1(beats[:4], beats[:4]) == 1.0  # beats before the fifth second count: clips are short


def test_scores_look_inside_the_spans_alone() -> None:
    half = replace(ASKED, spans=Spans(*((Span(0.0, 2.0),) for _ in range(3))))
    right = perfect(ASKED)
    late = np.arange(FRAMES) * 256 / 22050 >= 2.0
    wrong = Heard(
        np.where(late[:, None], np.roll(right.melody, 5, axis=1), right.melody),
        np.where(late, -79.0, right.levels),
        np.append(right.beats[right.beats < 2.0], [2.2, 3.3]),
        right.downbeats[right.downbeats < 2.0],
        np.append(right.onsets[right.onsets < 2.0], 2.06),
    )
    scores = score(half, wrong)
    assert (scores.melody, scores.beat, scores.downbeat, scores.off_grid) == (1.0, 1.0, 1.0, 0.0)
    assert scores.level_error == pytest.approx(0.0, abs=1e-9)
    assert score(ASKED, wrong).melody == pytest.approx(0.5, abs=0.02)
    border = np.append(right.beats[1:4], 0.0) - 0.03  # a hit just outside the border still is one
    assert beat_f1(ASKED.grid.beats(4.0), np.sort(border), (Span(0.0, 2.0),)) == 1.0 if ASKED.grid else False


def test_what_was_not_asked_for_has_no_score() -> None:
    scores = score(Controls(length=4.0), perfect(ASKED))
    assert all(metric(name, [scores]) is None for name in METRICS)
    assert set(table([scores, scores]).values()) == {None}


def test_shares_and_deviations_are_at_chance_for_noise() -> None:
    rng = np.random.default_rng(0)
    melody = np.eye(12, dtype=np.float32)[rng.integers(0, 12, 20_000)]
    assert in_key_share(melody, Key(4, "minor")) == pytest.approx(7 / 12, abs=0.02)
    assert in_key_share(np.zeros((5, 12), dtype=np.float32), Key(0)) is None
    assert off_grid(rng.random(20_000) * 60, BeatGrid.steady(120)) == pytest.approx(0.125 / 4, abs=0.001)
    assert off_grid(np.zeros(0), BeatGrid.steady(120)) is None


def test_the_row_of_chance_compares_every_clip_with_another() -> None:
    other = replace(ASKED, melody=tuple(replace(note, pitch=note.pitch + 1) for note in ASKED.melody or ()))
    clips = chance([ASKED, other], [perfect(ASKED), perfect(other)])
    assert [clip.melody for clip in clips] == [0.0, 0.0] and [clip.beat for clip in clips] == [1.0, 1.0]


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    inside = 0
    for n in range(100):
        low, high = bootstrap(list(rng.standard_normal(40)), lambda drawn: float(np.mean(drawn)), draws=300, seed=n)
        inside += low <= 0.0 <= high
    assert 86 <= inside <= 100
    assert bootstrap([1.0, 2.0, 3.0], lambda drawn: float(np.mean(drawn)), seed=1) == bootstrap(
        [1.0, 2.0, 3.0], lambda drawn: float(np.mean(drawn)), seed=1
    )


def test_a_played_song_scores_high_and_another_song_low() -> None:
    asked = [song(seed, bpm=bpm, bars=4, tonic=seed) for seed, bpm in ((0, 92), (1, 120))]
    heard = [listen(band(each, seed=n)) for n, each in enumerate(asked)]
    rows = table([score(a, h) for a, h in zip(asked, heard, strict=True)])
    assert rows["melody"]["value"] > 0.9 and rows["beat"]["value"] > 0.85 and rows["off_grid"]["value"] < 0.02
    assert rows["melody"]["low"] <= rows["melody"]["value"] <= rows["melody"]["high"]
    shuffled = table(chance(asked, heard))
    assert shuffled["melody"]["value"] < 0.4 and shuffled["beat"]["value"] < rows["beat"]["value"]
    quick = listen(band(asked[0]), beats=False)
    assert not len(quick.beats) and len(quick.onsets) > 10
