"""`suite audio extract`: from a recording or a MIDI file to controls that replay, or one sentence and no file."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from domains.audio.cli import app
from domains.audio.controls.json_form import read_controls
from domains.audio.controls.midi import read_midi, to_midi
from domains.audio.controls.ticks import on_ticks
from domains.audio.extract.run import run
from domains.audio.operations import EXTRACT, ExtractControls
from shared.errors import Cancelled
from shared.front.command import invoke
from tests.audio.sounds import band, song
from tests.conftest import ROOT

SONG = song(2, bpm=100, bars=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("songs")
    wave = band(SONG)
    soundfile.write(str(place / "song.flac"), np.stack([wave, wave], 1), 22050)
    (place / "song.mid").write_bytes(to_midi(SONG))
    (place / "silent.wav").touch()
    soundfile.write(str(place / "silent.wav"), np.zeros(22050), 22050)
    (place / "words.wav").write_text("la la la")
    (place / "words.mid").write_text("la la la")
    return place


def suite(*words: object) -> int:
    return invoke(app, [str(word) for word in words], program="suite audio")


def test_a_recording_becomes_controls_with_what_made_them(folder, tmp_path, capsys) -> None:
    assert suite("extract", folder / "song.flac", "--out", tmp_path / "controls.json") == 0
    said = capsys.readouterr().out
    assert "BPM in 4/4" in said and "2 channels, their mean was taken" in said and "controls.json" in said
    found = json.loads((tmp_path / "controls.json").read_text())
    assert found["operation"] == "audio_extract" and found["synthetic"] is False
    assert found["sources"][0]["name"] == "song.flac" and found["report"]["source"]["channels"] == 2
    assert str(folder) not in json.dumps(found)
    controls = read_controls(tmp_path / "controls.json")
    assert controls.length == pytest.approx(SONG.length, abs=1e-3) and len(controls.melody or ()) > 8
    assert controls.grid is not None and controls.chords and controls.key is not None


def test_a_part_and_some_controls_are_chosen_and_midi_lies_beside_json(folder, tmp_path, capsys) -> None:
    words = ("--only", "melody", "--only", "dynamics", "--start", 2.4, "--seconds", 2.4, "--voice", "solo")
    assert suite("extract", "--audio", folder / "song.flac", "--out", tmp_path / "new", *words) == 0
    controls = read_controls(tmp_path / "new" / "controls.json")
    assert controls.length == pytest.approx(2.4) and controls.grid is None and controls.chords is None
    assert read_midi(tmp_path / "new" / "controls.mid")[0] == on_ticks(controls)


def test_a_midi_file_gives_its_own_controls(folder, tmp_path) -> None:
    assert suite("extract", folder / "song.mid", "--out", tmp_path / "c.json") == 0
    assert read_controls(tmp_path / "c.json") == on_ticks(SONG)
    assert suite("extract", folder / "song.mid", "--only", "rhythm", "--out", tmp_path / "r.json") == 0
    part = read_controls(tmp_path / "r.json")
    assert part.melody is None and part.grid == on_ticks(SONG).grid


def test_the_file_that_was_written_replays_itself(folder, tmp_path) -> None:
    copy = tmp_path / "song.flac"
    copy.write_bytes((folder / "song.flac").read_bytes())
    assert suite("extract", copy, "--only", "dynamics", "--out", tmp_path / "first.json") == 0
    assert suite("extract", "--settings", tmp_path / "first.json", "--out", tmp_path / "again.json") == 0
    assert read_controls(tmp_path / "first.json") == read_controls(tmp_path / "again.json")


BAD = {
    "silence": (("silent.wav",), "silent.wav: is silent"),
    "words": (("words.wav",), "words.wav: is no sound that can be read"),
    "broken MIDI": (("words.mid",), "words.mid: is not a MIDI file"),
    "absent": (("none.wav",), "none.wav: there is no such file"),
    "another ending": (("song.txt",), "has another ending"),
    "tempo of a MIDI file": (("song.mid", "--bpm", "90"), "are for recordings"),
    "tempo of nothing": (("song.flac", "--bpm", "1"), "out of range"),
    "unknown control": (("song.flac", "--only", "timbre"), "not a choice"),
    "a part beyond the end": (("song.flac", "--start", "100"), "begins at 100 s"),
}


@pytest.mark.parametrize(("words", "sentence"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence_and_leaves_nothing(folder, tmp_path, capsys, words, sentence: str) -> None:
    assert suite("extract", folder / words[0], *words[1:], "--out", tmp_path / "c.json") == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_refused_before_the_work(folder, tmp_path, capsys) -> None:
    assert suite("extract", folder / "song.flac", "--out", tmp_path / "no" / "c.json") == 2
    assert "its folder does not exist" in capsys.readouterr().err
    (tmp_path / "mine.json").write_text("mine")
    assert suite("extract", folder / "song.flac", "--out", tmp_path / "mine.json") == 2
    assert "exists already" in capsys.readouterr().err and (tmp_path / "mine.json").read_text() == "mine"
    (tmp_path / "d.json").mkdir()
    assert suite("extract", folder / "song.flac", "--out", tmp_path / "d.json") == 2


@pytest.mark.parametrize("stage", ["reading", "spectrum", "chords"])
def test_stop_leaves_nothing_behind(folder, tmp_path, stage: str) -> None:
    def report(done, total, note="", preview=None):
        assert 0 <= done <= total
        if note.startswith(stage):
            raise Cancelled

    for out in (tmp_path / "c.json", tmp_path / "folder"):
        settings = ExtractControls(audio=str(folder / "song.flac"), out=str(out))
        with pytest.raises(Cancelled):
            run(settings, report, EXTRACT)
    assert not list(tmp_path.iterdir())


def test_help_lists_the_options_and_imports_nothing_heavy() -> None:
    program = (
        "import sys; from suite.cli import main; code = main(sys.argv[1:]);"
        "heavy = {'librosa', 'scipy', 'soundfile', 'mir_eval', 'mido', 'torch', 'numba'} & set(sys.modules);"
        "sys.exit(code or (3 if heavy else 0))"
    )
    for words, wanted in ((["audio", "--help"], "extract"), (["audio", "extract", "--help"], "--metre")):
        done = subprocess.run(
            [sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 and wanted in done.stdout, done.stderr
