"""What the world says of a piece agrees with the notes, the file and the sound; the command writes all of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from domains.audio.compose.composer import compose
from domains.audio.compose.operations import COMPOSE, ComposeMusic
from domains.audio.compose.performance import render
from domains.audio.compose.truth import controls_of, curves_of, tracks_of
from domains.audio.controls.json_form import read_controls
from domains.audio.controls.midi import read_midi
from shared.errors import UserError


def test_beats_downbeats_and_length_are_those_of_the_score() -> None:
    for k, genre in enumerate(("jazz", "classical", "folk", "rock")):
        score = compose(4, k, genre=genre)
        asked = controls_of(score)
        assert asked.grid is not None and asked.length == score.seconds_in_all
        assert asked.grid.beats(asked.length) == pytest.approx(score.beats(), abs=1e-9)
        assert asked.grid.downbeats(asked.length) == pytest.approx(score.downbeats(), abs=1e-9)


def test_the_melody_curve_shows_the_pitch_class_of_the_note_at_every_frame() -> None:
    for k in range(6):
        score = compose(6, k)
        curves, tune = curves_of(score), score.part("melody")
        start, end = score.seconds(tune.onset), score.seconds(tune.end)
        for frame in range(0, len(curves.melody), 7):
            time = frame * 256 / 22_050
            sounding = np.flatnonzero((start <= time) & (time < end))
            heard = {int(tune.pitch[row]) % 12 for row in sounding}
            assert set(np.flatnonzero(curves.melody[frame])) == heard, (k, frame)


def test_the_chord_curve_holds_the_root_that_the_bass_plays() -> None:
    score = compose(6, 2, genre="pop")
    curves = curves_of(score)
    for onset, root in zip(score.tempo.seconds(score.harmony.onset), score.harmony.root, strict=True):
        frame = int(np.ceil((onset + 0.02) * 22_050 / 256))
        assert curves.chords[frame, root] == 1 and curves.chords[frame, :12].sum() == 1


def test_the_dynamics_asked_are_heard_in_the_recording() -> None:
    """One second means of the mix against the curve, over pieces whose level moves: shape and level."""
    shapes, errors = [], []
    for k, mood in enumerate(("epic", "tense", "romantic", "dreamy", "sad", "dark")):
        score = compose(8, k, genre=("classical", "rock", "pop", "folk", "jazz", "blues")[k], mood=mood, bars=8)
        played = render(score, 22_050, stems=False)
        asked = controls_of(score, played).dynamics
        assert asked is not None
        seconds = np.arange(int(score.seconds_in_all))
        power = [np.square(played.mix[:, s * 22_050 : (s + 1) * 22_050].mean(0)).mean() for s in seconds]
        heard = 10 * np.log10(np.array(power) + 1e-12)
        wanted = asked.at(seconds + 0.5)
        shapes.append(np.corrcoef(heard, wanted)[0, 1])
        errors.append(abs(np.mean(heard - wanted)))
    assert np.median(shapes) > 0.8 and max(errors) < 3


def test_the_command_writes_midi_mix_stems_and_controls_that_agree(tmp_path: Path) -> None:
    out = tmp_path / "piece"
    settings = ComposeMusic(seed=5, genre="pop", mood="happy", bars=2, rate="22050", out=str(out))
    outcome = COMPOSE.run(settings, lambda *_, **__: None)
    assert all(path.is_file() for path in outcome.files) and outcome.files[0] == out / "mix.wav"
    names = {path.name for path in out.iterdir()}
    stems = {f"stem_{role}.wav" for role in ("melody", "chords", "bass", "drums")}
    assert names == {"music.mid", "mix.wav", "controls.json", "score.json", *stems}
    mix, rate = soundfile.read(out / "mix.wav", dtype="float32")
    whole = sum(soundfile.read(out / name, dtype="float32")[0] for name in stems)
    assert rate == 22_050 and np.abs(whole - mix).max() < 1e-6 and np.abs(mix).max() < 0.9
    score = compose(5, genre="pop", mood="happy", bars=2)
    asked = read_controls(out / "controls.json")
    assert asked.tags.genre == "pop" and asked.length == score.seconds_in_all
    again, tracks = read_midi(out / "music.mid")
    assert [len(track.notes) for track in tracks] == [len(track.notes) for track in tracks_of(score)]
    assert again.grid is not None and again.grid.tempos[0].qpm == pytest.approx(score.tempo.bpm[0], rel=1e-4)
    said = json.loads((out / "score.json").read_text())
    assert len(said["score"]["notes"]) == len(score.notes)
    for sidecar in (said, json.loads((out / "controls.json").read_text())):  # laid out as every sidecar of the suite
        assert sidecar["synthetic"] and sidecar["operation"] == "audio_compose" and sidecar["seed"] == 5
        assert ComposeMusic.from_json(sidecar, out=str(out)) == settings
    assert f"{score.seconds_in_all:.1f} s ({len(mix) / rate:.1f} s with what rings on)" in outcome.sentence
    assert said["report"]["seconds_of_the_mix"] == pytest.approx(len(mix) / rate, abs=1e-6)


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="not an empty folder"):
        COMPOSE.run(ComposeMusic(bars=2, rate="22050", out=str(tmp_path)), lambda *_, **__: None)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
