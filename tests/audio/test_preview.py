"""What is asked can be heard before anything is generated: the right tones, beats and levels, at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from domains.audio.controls.controls import Controls
from domains.audio.controls.dynamics import Dynamics
from domains.audio.controls.examples import EXAMPLES
from domains.audio.controls.frames import frame_times, rasterise
from domains.audio.controls.json_form import read_controls
from domains.audio.controls.notes import Note
from domains.audio.controls.spans import Span, Spans
from domains.audio.extract.extract import curves
from domains.audio.operations import PREVIEW, PreviewControls
from domains.audio.preview import RATE, sound


def test_the_melody_that_is_heard_is_the_one_that_is_asked() -> None:
    theme = replace(EXAMPLES["theme"](), grid=None)
    heard, _ = curves(sound(theme))
    asked = rasterise(theme).melody
    assert (heard.argmax(1) == asked.argmax(1)).mean() > 0.9


def test_the_level_follows_the_dynamics() -> None:
    controls = Controls(length=6.0, melody=(Note(0.0, 6.0, 69),), dynamics=Dynamics(((0.0, -40.0), (6.0, -10.0))))
    _, levels = curves(sound(controls))
    asked = controls.dynamics.at(frame_times(len(levels))) if controls.dynamics else np.zeros(0)
    middle = slice(60, -60)
    assert np.abs(levels[middle] - asked[middle]).max() < 1.5
    alone, _ = curves(sound(replace(controls, melody=None)))
    assert alone[60:-60].any(axis=1).all()  # one tone carries a curve that nothing else would


def test_clicks_stand_at_the_beats_and_what_is_left_free_is_silent() -> None:
    beats = replace(EXAMPLES["beat"](), dynamics=None)
    wave = sound(replace(beats, spans=Spans(rhythm=(Span(0.0, 2.0),))))
    assert beats.grid is not None
    for beat in beats.grid.beats(2.0):
        first = round(beat * RATE)
        assert (
            np.abs(wave[first : first + 200]).max() > 0.05
            and np.abs(wave[max(0, first - 200) : first]).max(initial=0.0) < 0.01
        )
    assert not wave[round(2.1 * RATE) :].any()
    assert len(wave) == beats.samples(RATE)


def test_the_command_writes_the_sound_with_the_controls_beside_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = PREVIEW.run(PreviewControls(controls="example:jazz", out=str(out)), lambda *said, **more: None)
    wave, rate = soundfile.read(outcome.files[0])
    assert len(wave) / rate == pytest.approx(EXAMPLES["jazz"]().length, abs=1e-4) and np.abs(wave).max() <= 0.9
    assert read_controls(out / "asked.json") == EXAMPLES["jazz"]()
