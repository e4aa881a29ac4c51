"""`suite audio render`, `loop`, `evaluate`: the suite's instruments, loops to the sample, scores of any music."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from domains.audio.cli import app
from domains.audio.controls.beats import BeatGrid
from domains.audio.controls.controls import Controls
from domains.audio.controls.json_form import text
from domains.audio.controls.midi import to_midi
from domains.audio.controls.notes import Key, Note, Track
from domains.audio.loudness import true_peak
from shared.front.command import invoke

GRID = BeatGrid.steady(140)
TUNE = tuple(Note(GRID.seconds_at(q), GRID.seconds_at(q + 0.9), 60 + 2 * (q % 4), 90) for q in range(8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("music")
    tracks = [
        Track("Lead/1", TUNE, 73),
        Track("Lead/1", (Note(0.0, 3.3, 48),), 0),
        Track("kit", (Note(0.0, 0.1, 36),), 0, True),
    ]
    (place / "song.mid").write_bytes(to_midi(Controls(length=GRID.bars_last(2), grid=GRID), tracks))
    (place / "empty.mid").write_bytes(to_midi(Controls(length=2.0, grid=GRID)))
    controls = Controls(length=GRID.bars_last(2), grid=GRID, melody=TUNE, key=Key(0, "major"))
    (place / "c.json").write_text(text(controls))
    rate = 44_100
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8 * rate) / rate)
    soundfile.write(place / "tone.wav", np.stack([tone, tone], 1), rate, subtype="FLOAT")
    struck = np.zeros(round(2.5 * rate))
    struck[round(1.9 * rate) :] = (
        np.exp(-5 * np.arange(len(struck) - round(1.9 * rate)) / rate) * tone[: round(0.6 * rate)]
    )
    soundfile.write(place / "struck.wav", struck, rate, subtype="FLOAT")
    return place


def suite(*words: object) -> int:
    return invoke(app, [str(word) for word in words], program="suite audio")


def test_a_midi_file_is_played_with_a_stem_for_every_track(folder, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    words = ("--stems", "--format", "flac", "--rate", 48000, "--style", "jazz")
    assert suite("render", folder / "song.mid", *words, "--out", out) == 0
    assert "3.429 s" in capsys.readouterr().out
    mix, rate = soundfile.read(out / "mix.flac")
    names = sorted(path.name for path in out.glob("mix.*.flac"))
    assert names == ["mix.Lead_1.flac", "mix.Lead_1_2.flac", "mix.kit.flac"] and rate == 48_000
    assert np.abs(sum(soundfile.read(out / name)[0] for name in names) - mix).max() < 1e-5
    assert len(mix) > round(48_000 * GRID.bars_last(2)) and true_peak(mix) <= -0.99


def test_a_score_loops_to_the_sample(folder, tmp_path) -> None:
    assert suite("loop", folder / "song.mid", "--bars", 1, "--out", tmp_path / "one") == 0
    assert suite("render", folder / "song.mid", "--loop", "--out", tmp_path / "two") == 0
    one, two = (soundfile.info(tmp_path / name) for name in ("one/loop.wav", "two/mix.wav"))
    assert (one.frames, two.frames) == (round(44_100 * GRID.bars_last(1)), round(44_100 * GRID.bars_last(2)))


def test_what_rings_after_a_recording_rings_into_its_start(folder, tmp_path, capsys) -> None:
    assert (
        suite("loop", folder / "struck.wav", "--bpm", 120, "--bars", 1, "--bits", "32f", "--out", tmp_path / "a") == 0
    )
    assert "0.50 s ring into the start" in capsys.readouterr().out
    before, rate = soundfile.read(folder / "struck.wav")
    loop = soundfile.read(tmp_path / "a" / "loop.wav")[0]
    assert len(loop) == 2 * rate and np.abs(loop[: rate // 2] - before[2 * rate :]).max() < 1e-6
    assert np.array_equal(loop[rate : 2 * rate].astype(np.float32), before[rate : 2 * rate].astype(np.float32))


def test_music_that_goes_on_is_cut_and_has_no_click_at_the_seam(folder, tmp_path) -> None:
    words = ("--bpm", 123.4, "--bars", 1, "--start", 0.5, "--bits", "32f")
    assert suite("loop", folder / "tone.wav", *words, "--out", tmp_path / "a") == 0
    loop = soundfile.read(tmp_path / "a" / "loop.wav")[0][:, 0]
    assert len(loop) == round(44_100 * BeatGrid.steady(123.4).bars_last(1))
    steps = np.abs(np.diff(np.concatenate([loop, loop])))
    assert steps.max() < 1.05 * 0.5 * 2 * np.pi * 440 / 44_100


def test_music_is_scored_against_controls_from_its_notes_and_from_its_sound(folder, tmp_path, capsys) -> None:
    assert suite("evaluate", folder / "song.mid", "--controls", folder / "c.json", "--out", tmp_path / "a") == 0
    assert "melody 100%" in capsys.readouterr().out
    assert suite("render", folder / "song.mid", "--out", tmp_path / "sound") == 0
    words = ("--controls", folder / "c.json", "--out", tmp_path / "b")
    assert suite("evaluate", tmp_path / "sound" / "mix.wav", *words) == 0
    notes, sound = (json.loads((tmp_path / x / "report.json").read_text())["report"] for x in "ab")
    assert notes["read_from"] == "notes" and notes["scores"]["in_key"] > 0.6 and notes["scores"]["dynamics"] is None
    assert sound["read_from"] == "sound" and sound["scores"]["melody"] > 0.7 and sound["scores"]["beat_f1"] is not None


BAD = {
    "no notes": (("render", "empty.mid"), "has no notes"),
    "a tempo twice": (("loop", "song.mid", "--bpm", "99"), "has its own tempo"),
    "too few bars": (("loop", "struck.wav", "--bpm", "120", "--bars", "2"), "2 bars at 120 BPM last 4.00 s"),
    "nothing left": (("loop", "struck.wav", "--bpm", "120", "--start", "60"), "give a longer recording"),
    "no controls": (("evaluate", "song.mid", "--controls", "song.mid"), "another ending"),
}


@pytest.mark.parametrize(("words", "sentence"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence_and_leaves_nothing(folder, tmp_path, monkeypatch, capsys, words, sentence) -> None:
    monkeypatch.chdir(folder)
    assert suite(*words, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 and not list(tmp_path.iterdir())
