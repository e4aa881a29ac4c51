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
from domains.audio.loudness import loudness, true_peak
from domains.audio.studio.operations import ContinueMusic, EvaluateMusic, InpaintMusic, LoopMusic
from domains.audio.suffixes import SCORES, SOUNDS
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
    (place / "hum.mid").write_bytes(to_midi(controls))
    (place / "both.mid").write_bytes(to_midi(controls, tracks[:1]))
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


def test_a_melody_that_is_asked_for_is_played_looped_and_scored(folder, tmp_path, capsys) -> None:
    assert suite("render", folder / "hum.mid", "--stems", "--out", tmp_path / "a") == 0
    assert suite("loop", folder / "hum.mid", "--out", tmp_path / "b") == 0
    assert (tmp_path / "a" / "mix.melody.wav").is_file() and soundfile.read(tmp_path / "b" / "loop.wav")[0].any()
    capsys.readouterr()
    assert suite("evaluate", folder / "hum.mid", "--controls", folder / "c.json", "--out", tmp_path / "c") == 0
    assert "melody 100%" in capsys.readouterr().out
    assert suite("render", folder / "both.mid", "--stems", "--out", tmp_path / "d") == 0
    assert [path.name for path in (tmp_path / "d").glob("mix.*.wav")] == ["mix.Lead_1.wav"]  # not twice


def test_every_recording_that_is_read_is_looped_and_scored(folder, tmp_path) -> None:
    for settings in (ContinueMusic, InpaintMusic, LoopMusic, EvaluateMusic):
        music = next(each for each in settings.options() if each.name == "music")
        assert music.suffixes == (*SOUNDS, *SCORES)
    wave, rate = soundfile.read(folder / "tone.wav")
    soundfile.write(tmp_path / "tone.caf", wave, rate)
    assert suite("loop", tmp_path / "tone.caf", "--bpm", 120, "--bars", 1, "--out", tmp_path / "a") == 0


def test_a_loop_of_many_channels_keeps_them_reads_its_part_alone_and_says_what_was_done(
    tmp_path, capsys, monkeypatch
) -> None:
    rate, got = 96_000, 0
    tone = np.clip(2 * np.sin(2 * np.pi * 440 * np.arange(20 * rate) / rate), -0.7, 0.7)
    soundfile.write(tmp_path / "surround.wav", np.stack([tone] * 6, 1), rate, subtype="PCM_24")
    whole = soundfile.SoundFile.read

    def read(self, *how, **more):
        nonlocal got
        block = whole(self, *how, **more)
        got += len(block)
        return block

    monkeypatch.setattr(soundfile.SoundFile, "read", read)
    assert suite("loop", tmp_path / "surround.wav", "--bpm", 120, "--bars", 1, "--out", tmp_path / "a") == 0
    said, info = capsys.readouterr().out, soundfile.info(tmp_path / "a" / "loop.wav")
    facts = json.loads((tmp_path / "a" / "report.json").read_text())["report"]
    assert (info.channels, info.samplerate, info.frames) == (6, 48_000, 96_000) and facts["lufs"] is not None
    assert got < 2 * 7 * rate
    for words in ("it is clipped", "96 kHz resampled to 48 kHz", "of 20.0 s, from 0.0 s", "5 of the 6 channels"):
        assert words in said and any(words in note for note in facts["notes"]), words


def test_what_is_odd_about_a_scored_recording_is_said(folder, tmp_path, capsys) -> None:
    wave, rate = soundfile.read(folder / "tone.wav")
    soundfile.write(tmp_path / "loud.wav", np.clip(3 * wave[: 3 * rate], -0.9, 0.9), rate)
    words = ("--controls", folder / "c.json", "--out", tmp_path / "a")
    assert suite("evaluate", tmp_path / "loud.wav", *words) == 0
    assert "it is clipped" in capsys.readouterr().out
    facts = json.loads((tmp_path / "a" / "report.json").read_text())["report"]
    assert any("it is clipped" in note for note in facts["notes"])


def test_music_behind_a_loop_is_no_ringing_and_blends_into_its_start(folder, tmp_path, capsys) -> None:
    wave, rate = soundfile.read(folder / "tone.wav", dtype="float32")
    soundfile.write(tmp_path / "short.wav", wave[: round(2.537 * rate)], rate, subtype="FLOAT")
    words = ("--bpm", 123.4, "--bits", "32f")
    assert suite("loop", tmp_path / "short.wav", *words, "--out", tmp_path / "a") == 0
    assert "10 ms are blended at the seam" in capsys.readouterr().out
    loop = soundfile.read(tmp_path / "a" / "loop.wav", dtype="float32")[0]
    assert np.array_equal(loop[round(0.011 * rate) :], wave[round(0.011 * rate) : len(loop)])
    steps = np.abs(np.diff(np.concatenate([loop[:, 0], loop[:, 0]])))
    assert steps.max() < 1.05 * 0.5 * 2 * np.pi * 440 / rate
    # a note that is struck softly behind the end is music, too
    quiet = wave[: round(3 * rate)].copy()
    quiet[2 * rate :] *= (0.02 * np.exp(-9 * np.arange(rate) / rate))[:, None]
    quiet[round(2.6 * rate) :] = 0.05 * wave[: len(quiet) - round(2.6 * rate)]
    soundfile.write(tmp_path / "soft.wav", quiet, rate, subtype="FLOAT")
    assert suite("loop", tmp_path / "soft.wav", "--bpm", 120, "--out", tmp_path / "b") == 0
    assert "blended" in capsys.readouterr().out


def test_the_report_of_a_loop_measures_what_is_written(tmp_path) -> None:
    rate = 44_100
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)
    wave[: rate // 50] *= 3  # louder than a file may be, at the seam
    soundfile.write(tmp_path / "loud.wav", wave, rate, subtype="FLOAT")
    words = ("--bpm", 120, "--bits", "32f", "--out", tmp_path / "a")
    assert suite("loop", tmp_path / "loud.wav", *words) == 0
    facts = json.loads((tmp_path / "a" / "report.json").read_text())["report"]
    loop = soundfile.read(tmp_path / "a" / "loop.wav")[0]
    assert facts["peak_dbtp"] == pytest.approx(true_peak(loop, wrap=True), abs=1e-3) and facts["peak_dbtp"] <= -0.999
    assert facts["lufs"] == pytest.approx(loudness(loop, rate), abs=0.01)


BAD = {
    "no notes": (("render", "empty.mid"), "has no notes"),
    "a tempo twice": (("loop", "song.mid", "--bpm", "99"), "has its own tempo"),
    "too few bars": (("loop", "struck.wav", "--bpm", "120", "--bars", "2"), "2 bars at 120 BPM last 4.00 s"),
    "nothing left": (("loop", "struck.wav", "--bpm", "120", "--start", "60"), "begin inside it"),
    "no controls": (("evaluate", "song.mid", "--controls", "song.mid"), "another ending"),
}


@pytest.mark.parametrize(("words", "sentence"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence_and_leaves_nothing(folder, tmp_path, monkeypatch, capsys, words, sentence) -> None:
    monkeypatch.chdir(folder)
    assert suite(*words, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 and not list(tmp_path.iterdir())
