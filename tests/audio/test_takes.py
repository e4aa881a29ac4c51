"""What a take is: its own genre, key and swing travel with it, whatever is then made of it."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from domains.audio.controls.beats import BeatGrid
from domains.audio.controls.controls import Controls
from domains.audio.controls.json_form import read_controls
from domains.audio.controls.midi import read_midi, to_midi
from domains.audio.controls.notes import Note
from domains.audio.score import arrange
from domains.audio.score.plan import swung
from tests.audio.test_generate import QUICK, network, notes_of, shipped, suite  # noqa: F401  (fixtures)
from tests.audio.test_synth_soundfont import Organ

SLOW = ("--steps", "2", "--guidance", "1", "--no-listen")


def report_of(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())["report"]


@pytest.fixture(scope="module")
def hum(tmp_path_factory) -> Path:
    """What `extract` writes of somebody who hums: a melody that is asked for, and no track."""
    grid = BeatGrid.steady(120)
    tune = tuple(Note(0.5 * k, 0.5 * k + 0.4, 60 + k % 5, 90) for k in range(16))
    path = tmp_path_factory.mktemp("hum") / "controls.mid"
    path.write_bytes(to_midi(Controls(length=8.0, grid=grid, melody=tune)))
    return path


@pytest.fixture
def font(tmp_path_factory, monkeypatch) -> Path:
    package = ModuleType("tinysoundfont")
    package.Synth = Organ  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tinysoundfont", package)
    path = tmp_path_factory.mktemp("font") / "small.sf2"
    path.write_bytes(b"font")
    return path


def test_a_hummed_melody_gets_a_bass_and_goes_on(hum, tmp_path) -> None:
    tune = read_midi(hum)[0].melody
    assert suite("inpaint", hum, "--parts", "bass", "--tags", "pop", *QUICK, "--out", tmp_path / "a") == 0
    assert suite("continue", hum, "--bars", 1, "--tags", "pop", *QUICK, "--out", tmp_path / "b") == 0
    for name, before in (("a", 9.0), ("b", 8.0)):
        tracks = {track.name: track.notes for track in read_midi(tmp_path / name / "take_1.mid")[1]}
        assert tuple(note for note in tracks["melody"] if note.start < before) == tune
        assert name == "b" or set(tracks) == {"melody", "bass"}


def test_a_take_near_another_at_another_tempo_has_its_notes_on_the_new_grid(tmp_path) -> None:
    words = ("--tags", "jazz", "--bpm", 140, "--bars", 2, *QUICK)
    assert suite("generate", *words, "--out", tmp_path / "a") == 0
    near = ("generate", "--like", tmp_path / "a" / "take_1.mid", "--change", 0, *QUICK)
    assert suite(*near, "--bpm", 90, "--out", tmp_path / "b") == 0
    before, after = (read_midi(tmp_path / name / "take_1.mid")[0] for name in "ab")
    assert after.length == pytest.approx(before.length * 140 / 90)
    assert notes_of(tmp_path / "a" / "take_1.mid") == notes_of(tmp_path / "b" / "take_1.mid")
    alone = tmp_path / "alone.mid"  # without what was asked beside it
    alone.write_bytes((tmp_path / "a" / "take_1.mid").read_bytes())
    assert suite("generate", "--like", alone, "--change", 0, *QUICK, "--bpm", 90, "--out", tmp_path / "c") == 0
    assert notes_of(alone) == notes_of(tmp_path / "c" / "take_1.mid")


def test_a_take_says_its_own_genre_and_key_and_what_is_made_of_it_keeps_them(tmp_path) -> None:
    assert suite("generate", "--bpm", 150, "--takes", 2, "--bars", 2, *SLOW, "--out", tmp_path / "a") == 0
    rows = report_of(tmp_path / "a")["takes"]
    for row in rows:
        own = read_midi(tmp_path / "a" / row["midi"])[0]
        assert own.tags.genre == row["genre"] and own.key is not None and own.key.name == row["key"]
    take = tmp_path / "a" / rows[1]["midi"]
    asked = ("--controls", tmp_path / "a" / "asked.json", "--out", tmp_path / "s")
    assert suite("evaluate", take, *asked) == 0
    assert report_of(tmp_path / "s")["scores"] == rows[1]["scores"]["notes"]
    words = ("--parts", "bass", "--seed", 77, *QUICK)
    assert suite("inpaint", take, *words, "--out", tmp_path / "b") == 0
    again = report_of(tmp_path / "b")
    assert again["takes"][0]["genre"] == rows[1]["genre"] and again["key"] == rows[1]["key"]


def test_evaluating_a_swung_take_gives_the_scores_of_its_report(tmp_path) -> None:
    asked = ("--controls", "example:jazz", "--tags", "jazz", "--no-strict")
    for name, more in (("a", ()), ("b", ("--swing", 0.62))):
        assert suite("generate", *asked, *more, *QUICK, "--out", tmp_path / name) == 0
        words = ("--controls", tmp_path / name / "asked.json", "--out", tmp_path / f"{name}s")
        assert suite("evaluate", tmp_path / name / "take_1.mid", *words) == 0
        assert report_of(tmp_path / f"{name}s")["scores"] == report_of(tmp_path / name)["takes"][0]["scores"]["notes"]


def test_swing_is_heard_in_notes() -> None:
    grid, places = BeatGrid.steady(120), np.arange(0, 8, 0.5)
    for share, genre, found in ((0.5, "jazz", 0.5), (0.66, "jazz", arrange.swing_of("jazz")[0]), (0.6, None, 0.6)):
        share = found if genre == "jazz" and share > 0.5 else share
        times = [grid.seconds_at(float(place)) for place in swung(places, (share, 1.0))]
        tracks = (arrange.Track("melody", tuple(Note(at, at + 0.1, 60) for at in times)),)
        assert arrange.heard_swing(tracks, grid, genre)[0] == pytest.approx(found, abs=1e-9)


def test_take_k_of_a_run_is_take_1_of_a_run_with_that_seed(tmp_path) -> None:
    for tags in ("", "happy"):
        words = ("--bpm", 150, "--bars", 2, "--tags", tags, *SLOW)
        assert suite("generate", *words, "--seed", 5, "--takes", 3, "--out", tmp_path / f"{tags}run") == 0
        assert suite("generate", *words, "--seed", 7, "--takes", 1, "--out", tmp_path / f"{tags}one") == 0
        run, one = report_of(tmp_path / f"{tags}run"), report_of(tmp_path / f"{tags}one")
        third, alone = tmp_path / f"{tags}run" / "take_3.mid", tmp_path / f"{tags}one" / "take_1.mid"
        assert notes_of(third) == notes_of(alone) and read_midi(third)[0] == read_midi(alone)[0]
        assert len({row["key"] for row in run["takes"]}) > 1 and run["takes"][2]["key"] == one["takes"][0]["key"]
        assert run["calls"] == one["calls"] and run["key"] is None
        assert read_controls(tmp_path / f"{tags}run" / "asked.json").key is None


def test_words_that_are_not_understood_are_said_where_others_are(tmp_path, capsys) -> None:
    words = ("--tags", "happy jazz with a piano", "--bars", 1, *QUICK)
    assert suite("generate", *words, "--out", tmp_path / "a") == 0
    assert "not understood: with, a, piano" in capsys.readouterr().out
    facts = report_of(tmp_path / "a")
    assert facts["tags"] == {"genre": "jazz", "mood": "happy"} and "not understood: with, a, piano" in facts["notes"]
    take = tmp_path / "a" / "take_1.mid"
    assert suite("inpaint", take, "--tags", "a pop", *QUICK, "--out", tmp_path / "b") == 0
    assert "not understood: a" in capsys.readouterr().out
    assert suite("generate", "--tags", "with a polka", *QUICK, "--out", tmp_path / "c") == 2
    assert "'with' is no genre or mood" in capsys.readouterr().err


def test_a_soundfont_plays_takes_and_files_and_is_a_source(hum, font, tmp_path, capsys) -> None:
    commands: tuple[tuple[object, ...], ...] = (
        ("generate", "--midi", hum, "--tags", "pop", *QUICK),
        ("inpaint", hum, "--parts", "bass", "--tags", "pop", *QUICK),
        ("render", hum),
        ("loop", hum),
    )
    shown: tuple[object, ...]
    for n, words in enumerate(commands):
        for name, shown in ((f"own{n}", ()), (f"font{n}", ("--soundfont", font))):
            assert suite(*words, *shown, "--out", tmp_path / name) == 0
        waves = [soundfile.read(next((tmp_path / f"{name}{n}").glob("*.wav")))[0] for name in ("own", "font")]
        short = min(map(len, waves))
        assert waves[1].any() and not np.allclose(waves[0][:short], waves[1][:short], atol=1e-3)
        sources = json.loads((tmp_path / f"font{n}" / "report.json").read_text())["sources"]
        assert "small.sf2" in [source["name"] for source in sources]
    capsys.readouterr()
    for words in (*commands[:1], *commands[2:]):
        assert suite(*words, "--soundfont", "none.sf2", "--out", tmp_path / "x") == 2
        assert "there is no such file" in capsys.readouterr().err
    soundfile.write(tmp_path / "tone.wav", np.sin(np.arange(44_100) / 9), 22_050)
    for command, more in (("loop", ("--bpm", 120)), ("continue", QUICK)):
        assert suite(command, tmp_path / "tone.wav", *more, "--soundfont", font, "--out", tmp_path / "x") == 2
        assert "a recording is not played" in capsys.readouterr().err
    assert suite("generate", "--engine", "spectrogram", "--soundfont", font, "--out", tmp_path / "x") == 2
    assert "--soundfont" in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_stems_come_in_one_file_too_at_every_rate(hum, tmp_path) -> None:
    words = ("--rate", 22050, "--stems")
    assert suite("generate", "--midi", hum, "--tags", "pop", *words, *SLOW, "--takes", 2, "--out", tmp_path / "a") == 0
    assert suite("render", hum, *words, "--out", tmp_path / "b") == 0
    for name, sound in (("a", "take_2.wav"), ("b", "mix.wav")):
        assert soundfile.info(tmp_path / name / sound).samplerate == 22_050
        with zipfile.ZipFile(tmp_path / name / "stems.zip") as packed:
            names = packed.namelist()
            assert names == sorted(path.name for path in (tmp_path / name).glob("*.*.wav")) and names
            for each in packed.infolist():
                assert each.compress_type == zipfile.ZIP_STORED
                assert packed.read(each) == (tmp_path / name / each.filename).read_bytes()
