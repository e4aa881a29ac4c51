"""`suite audio generate`, `continue`, `inpaint`: music on the asked grid, in the asked key, of the asked length."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
import torch

from domains.audio.cli import app
from domains.audio.controls.beats import BeatGrid, Metre, Tempo
from domains.audio.controls.chords import Chord
from domains.audio.controls.controls import Controls
from domains.audio.controls.dynamics import Dynamics
from domains.audio.controls.examples import EXAMPLES
from domains.audio.controls.json_form import from_json, read_controls, text
from domains.audio.controls.midi import read_midi, to_midi
from domains.audio.controls.notes import Key, Note, Track
from domains.audio.controls.spans import Span, Spans
from domains.audio.loudness import true_peak
from domains.audio.score import ask, model, roll, run, wishes
from domains.audio.score.arrange import band_of, parts_of, roles_of, roll_of, tracks_of
from domains.audio.score.judge import judged
from domains.audio.score.operations import GENERATE, GenerateMusic
from domains.audio.score.perform import perform
from domains.audio.score.piano import NETWORK
from domains.audio.score.plan import levelled, plan, straightened, swung
from domains.audio.score.train import new_network
from domains.audio.score.writing import Wanted, calls, windows, write
from shared import checkpoints
from shared.errors import Cancelled, UserError
from shared.front.command import invoke

TINY = replace(NETWORK, channels=(8, 8, 8))
CARD = {
    "name": "untrained",
    "recipe": model.RECIPE,
    "data": [{"name": "none", "licence": "none", "attribution": "none"}],
    "licence": "Apache-2.0",
    "minutes": 0,
    "metrics": {},
}
QUICK = ("--steps", "2", "--guidance", "1", "--takes", "1", "--no-listen")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A tiny network, whose weights that start at zero do not stay there, and that believes in many notes."""
    made = new_network(TINY)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in made.parameters():
            if not value.any():
                value.add_(0.1 * torch.randn(value.shape, generator=generator))
        made.head.bias.add_(2)
    path = tmp_path_factory.mktemp("weights") / "score.safetensors"
    checkpoints.save(path, made, CARD)
    return path, checkpoints.load(path)[0]


@pytest.fixture(autouse=True)
def shipped(network, monkeypatch):
    monkeypatch.setattr(run, "WEIGHTS", network[0])
    monkeypatch.setattr(run, "from_pretrained", lambda: network[1])


def suite(*words: object) -> int:
    return invoke(app, [str(word) for word in words], program="suite audio")


def notes_of(path: Path) -> list[tuple]:
    """Every note of a MIDI file as mido reads it: track, absolute tick, pitch, velocity (0: it ends)."""
    found = []
    for track in mido.MidiFile(path).tracks:
        tick = 0
        for message in track:
            tick += message.time
            if message.type in ("note_on", "note_off"):
                velocity = message.velocity if message.type == "note_on" else 0
                found.append((track.name, tick, message.note, velocity))
    return sorted(found)


# ------------------------------------------------------------------------------------------------------------ the plan

RAMP = BeatGrid((Tempo(0, 90), Tempo(4, 120), Tempo(6, 75)), (Metre(0, 3, 4),), start=-0.4)


def test_controls_stand_on_the_sixteenths_of_the_users_own_grid_and_only_in_their_spans() -> None:
    at = RAMP.seconds_at
    asked = Controls(
        length=at(9.0),
        grid=RAMP,
        melody=(Note(at(1.0), at(2.0), 64), Note(at(2.0), at(3.25), 67)),
        chords=(Chord(at(3.0), at(6.0), 9, "min7"),),
        dynamics=Dynamics(((0.0, -30.0), (at(9.0), -18.0))),
        spans=Spans(melody=(Span(0.0, at(2.5)),), dynamics=(Span(at(6.0), at(9.0)),)),
    )
    laid = plan(asked)
    assert (laid.first, laid.steps, laid.bars) == (0, 36, (0, 12, 24))
    assert np.flatnonzero(laid.asked["beats"][1]).tolist() == [0, 12, 24]
    assert np.flatnonzero(laid.asked["beats"][0]).tolist() == list(range(0, 36, 4))
    assert np.flatnonzero(laid.asked["melody"][4]).tolist() == [4, 5, 6, 7]
    assert np.flatnonzero(laid.asked["melody"][7]).tolist() == [8, 9, 10, 11, 12]
    bound = dict(zip(wishes.KINDS, laid.bound, strict=True))
    first = int(np.ceil(RAMP.quarter_at(0.0) * 4 - 0.5))
    assert np.flatnonzero(bound["melody"]).tolist() == list(range(first, 10))
    assert np.flatnonzero(bound["chords"]).tolist() == list(range(12, 24)) and not bound["drums"].any()
    assert np.flatnonzero(bound["dynamics"]).tolist() == list(range(24, 36))
    assert laid.asked["chords"][[9, 12 + list(wishes.QUALITIES).index("min7")], 12:24].all()
    db = laid.asked["dynamics"][0] * wishes.SPAN + wishes.MIDDLE
    assert asked.dynamics is not None
    assert db[35] - db[24] == pytest.approx(float(np.diff(asked.dynamics.at([at(6.125), at(8.875)]))[0]), abs=1e-3)
    assert laid.tempo[[0, 16, 24]] == pytest.approx([90, 120, 75])


def test_what_is_written_is_played_on_that_grid_to_the_microsecond_and_comes_back_from_it() -> None:
    laid = plan(Controls(length=RAMP.seconds_at(12.0), grid=RAMP))
    rng = np.random.default_rng(3)
    x = np.where(rng.random((roll.CHANNELS, laid.steps)) < 0.02, 1.0, -1.0).astype(np.float32)
    tracks = tracks_of(x, laid, band_of("jazz", None, 0))
    starts = [note.start for track in tracks for note in track.notes]
    place = np.array([RAMP.quarter_at(start) * 4 for start in starts])
    assert len(starts) > 50 and np.abs(place - np.rint(place)).max() < 1e-6
    assert max(note.end for track in tracks for note in track.notes) <= laid.controls.length
    first = int(np.ceil(RAMP.quarter_at(0.0) * 4))
    assert np.array_equal(
        roll_of(tracks, laid)[:, first:] > 0, roll.encode(roll.decode(x), 0, laid.steps)[:, first:] > 0
    )


def test_a_pickup_is_a_bar_of_its_own_and_what_lies_before_the_clip_is_not_played() -> None:
    grid = BeatGrid.steady(120, "4/4", start=0.5)
    laid = plan(Controls(length=4.5, grid=grid, melody=(Note(0.25, 0.5, 60),)))
    assert (laid.first, laid.steps) == (-16, 48)
    assert np.flatnonzero(laid.asked["melody"][0]).tolist() == [14, 15]
    x = np.full((roll.CHANNELS, 48), -1.0)
    x[0, [0, 11, 12, 47]] = 1
    starts = [note.start for note in tracks_of(x, laid, band_of("pop", None, 0))[0].notes]
    assert starts == pytest.approx([0.0, 0.5 + 31 / 8])


def test_swing_moves_what_is_between_the_beats_and_a_swung_melody_is_read_as_what_it_is() -> None:
    places = np.arange(0, 4, 0.25)
    for share, unit in ((0.66, 1.0), (0.6, 0.5), (0.5, 1.0)):
        moved = swung(places, (share, unit))
        assert moved[::4] == pytest.approx(places[::4]) and straightened(moved, (share, unit)) == pytest.approx(places)
    grid = BeatGrid.steady(120)
    eighths = [grid.seconds_at(float(place)) for place in swung(np.arange(0, 4, 0.5), (2 / 3, 1.0))]
    tune = tuple(Note(start, start + 0.1, 60 + k) for k, start in enumerate(eighths))
    laid = plan(Controls(length=2.0, grid=grid, melody=tune), swing=(0.66, 1.0))
    assert [int(np.flatnonzero(row)[0]) for row in laid.asked["melody"][:8]] == [0, 2, 4, 6, 8, 10, 12, 14]


def test_metres_and_tempi_that_the_model_never_heard_are_said_and_bars_off_the_sixteenths_refused() -> None:
    said = plan(Controls(length=5.0, grid=BeatGrid.steady(120, "5/4"))).notes
    assert any("5/4" in note for note in said)
    assert any("260" in note for note in plan(Controls(length=2.0, grid=BeatGrid.steady(260))).notes)
    with pytest.raises(UserError, match="sixteenth"):
        plan(Controls(length=5.0, grid=BeatGrid.steady(120, "5/32")))
    with pytest.raises(UserError, match="65 bars"):
        plan(Controls(length=130.0, grid=BeatGrid.steady(120)))


def test_a_key_leaves_no_other_pitch_but_what_melody_and_chords_ask_for(network) -> None:
    grid = BeatGrid.steady(120)
    asked = Controls(
        length=8.0, grid=grid, key=Key(9, "minor"), melody=(Note(0.0, 1.0, 61),), chords=(Chord(2.0, 4.0, 4, "maj"),)
    )
    laid = plan(asked)
    rolls = write(network[1], laid, Wanted(["pop"], [None], [3], steps=2))
    notes = roll.decode(rolls[0])
    own = notes.take((notes.track < 3) & ~np.isin(notes.pitch % 12, list(Key(9, "minor").pitch_classes)))
    assert len(notes) > 100
    assert set(own.pitch[own.onset < 2].tolist()) <= set(range(1, 128, 12))  # C#: the asked tone
    late = own.take(own.onset >= 2)
    assert all(4 <= onset < 8 and pitch % 12 == 8 for onset, pitch in zip(late.onset, late.pitch, strict=True))  # G#
    assert (judged(rolls[0], plan(replace(asked, melody=None, chords=None)))["in_key"] or 0) > 0.9


def test_what_is_law_is_played_as_it_was_asked_inside_its_span_and_not_outside(network) -> None:
    grid = BeatGrid.steady(120)
    tune = tuple(Note(0.5 * k, 0.5 * k + 0.25, 60 + k, 90) for k in range(16))
    kit = tuple(Note(0.25 * k, 0.25 * k + 0.1, 36 if k % 2 else 42, 100) for k in range(32))
    asked = Controls(
        length=8.0,
        grid=grid,
        melody=tune,
        chords=(Chord(0.0, 8.0, 5, "min7"),),
        dynamics=Dynamics(((0.0, -40.0), (8.0, -22.0))),
        spans=Spans(melody=(Span(2.0, 6.0),), chords=(Span(0.0, 4.0),)),
    )
    for strict in (True, False):
        laid = plan(asked, drums=kit, strict=strict)
        x = levelled(write(network[1], laid, Wanted(["pop"], [None], [3], steps=2))[0], laid)
        tracks = {track.name: track.notes for track in tracks_of(x, laid, band_of("pop", None, 0))}
        inside = [(note.start, note.end, note.pitch) for note in tracks["melody"] if 2 <= note.start < 6]
        wanted = [(note.start, note.end, note.pitch) for note in tune if 2 <= note.start < 6]
        strokes = sorted((note.start, note.pitch) for note in tracks["drums"])
        scores = judged(x, laid)
        assert np.array_equal(np.round(inside, 9), np.round(wanted, 9)) is strict
        asked_strokes = sorted((note.start, note.pitch) for note in kit)
        assert np.array_equal(np.round(strokes, 9), np.round(asked_strokes, 9)) is strict
        assert (scores["chords"] == 1.0) is strict and ((scores["dynamics"] or 0.0) > 0.95) is strict
        assert len([note for note in tracks["melody"] if note.start >= 6]) != 4


# --------------------------------------------------------------------------------------------------------- the writing


def test_windows_begin_on_bars_and_cover_what_is_free_and_nothing_else() -> None:
    bars = tuple(range(0, 1024, 16))
    whole = windows(bars, 1024, np.ones(1024, bool))
    assert whole[:3] == [0, 32, 64] and whole[-1] == 960 and len(whole) == 31
    hole = np.zeros(1024, bool)
    hole[512:544] = True
    assert windows(bars, 1024, hole) == [496]  # a bar of context in front, one behind
    assert windows(bars, 1024, np.zeros(1024, bool)) == []
    assert windows((0, 12, 24), 36, np.ones(36, bool)) == [0]
    for count in (14, 20, 40):  # 7/8, 5/4, 10/4
        lines = tuple(range(0, 10 * count, count))
        left = np.ones(10 * count, bool)
        for start in windows(lines, 10 * count, left):
            left[start : start + 64] = False
        assert not left.any()


def test_calls_are_counted_beforehand_and_none_is_wasted(network) -> None:
    seen: list[int] = []
    hook = network[1].register_forward_hook(lambda module, args, out: seen.append(len(args[0])))
    grid = BeatGrid.steady(120)
    laid = plan(Controls(length=grid.bars_last(8), grid=grid))
    kept = np.ones((len(roll.LANES), laid.steps), bool)
    kept[:, 16:32] = False
    blank = np.full((roll.CHANNELS, laid.steps), -1.0, np.float32)
    one = Wanted(["pop"] * 2, [None] * 2, [1, 2], steps=3)
    try:
        for wanted, runs, rows in (
            (one, 3, 4),
            (replace(one, guidance=1.0), 3, 2),
            (replace(one, loop=True), 4, 4),
            (replace(one, kept=blank, where=kept), 1, 4),
            (replace(one, kept=blank, where=np.ones_like(kept)), 0, 4),
            (replace(one, near=blank, change=0.0), 0, 4),
        ):
            seen.clear()
            told: list[tuple[int, int]] = []
            write(network[1], laid, wanted, lambda *said, told=told: told.append(said))
            assert len(seen) == calls(laid, wanted) == 3 * runs and set(seen) <= {rows}
            assert told == [(k + 1, 3 * runs) for k in range(3 * runs)]
    finally:
        hook.remove()


def test_a_take_is_a_function_of_its_seed_and_what_is_kept_stays(network) -> None:
    grid = BeatGrid.steady(120)
    laid = plan(Controls(length=grid.bars_last(6), grid=grid))

    def made(*seeds: int, **other: object) -> np.ndarray:
        count = len(seeds)
        return write(network[1], laid, Wanted(["pop"] * count, [None] * count, seeds, steps=2, **other))

    pair = made(5, 6)
    assert np.array_equal(made(5)[0] > 0, pair[0] > 0) and np.array_equal(made(6)[0] > 0, pair[1] > 0)
    assert not np.array_equal(pair[0] > 0, pair[1] > 0)
    for lanes in (slice(None), [1, 2]):  # bars of all parts, and of two parts alone
        where = np.ones((len(roll.LANES), laid.steps), bool)
        where[lanes, 32:48] = False
        again, kept = made(9, kept=pair[0], where=where)[0], where[roll.LANE]
        assert np.array_equal(again[kept], pair[0][kept])
        assert not np.array_equal(again[~kept] > 0, pair[0][~kept] > 0)
    near = [made(9, near=np.sign(pair[0]), change=change)[0] > 0 for change in (0.1, 0.9)]
    moved = [np.count_nonzero(one != (pair[0] > 0)) for one in near]
    assert moved[0] < moved[1]


# --------------------------------------------------------------------------------------------------------- the playing

TUNE = (
    Track("melody", (Note(0.0, 0.5, 72, 100), Note(1.0, 2.0, 76, 60)), 0),
    Track("drums", (Note(0.0, 0.1, 36, 127), Note(1.5, 1.6, 38, 90)), 0, True),
)


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_a_loop_has_exactly_its_samples_and_its_end_rings_into_its_start(rate: int) -> None:
    length = BeatGrid.steady(133.7).bars_last(1)
    controls = Controls(length=length, grid=BeatGrid.steady(133.7))
    tracks = (Track("melody", (Note(length - 0.2, length, 72, 120),), 0),)
    band = band_of("pop", None, 0)
    loop = perform(tracks, band, controls, rate, loop=True).wave
    plain = perform(tracks, band, controls, rate)
    assert loop.shape == (round(length * rate), 2) and np.isfinite(loop).all()
    assert plain.body == len(loop) < len(plain.wave) and np.abs(plain.wave[: rate // 10]).max() < 1e-6
    assert np.abs(loop[: rate // 10]).max() > 0.01 and np.abs(plain.wave[-1]).max() == 0


def test_stems_add_up_to_the_mix_and_the_level_is_the_asked_one_below_the_ceiling() -> None:
    controls = Controls(length=2.0, grid=BeatGrid.steady(120))
    band = band_of("pop", "happy", 0)
    sound = perform(TUNE, band, controls, stems=True)
    assert set(sound.stems) == {"melody", "drums"} and len(parts_of(TUNE, band)) == 2
    assert np.abs(sum(sound.stems.values()) - sound.wave).max() < 1e-6
    for asked in (-45.0, -36.0, -1.0):
        wanted = replace(controls, dynamics=Dynamics(((0.0, asked),)))
        heard = perform(TUNE, band, wanted)
        assert true_peak(heard.wave) <= -1 + 1e-3
        if asked < -20:
            assert heard.levels.mean() == pytest.approx(asked, abs=0.05)


# --------------------------------------------------------------------------------------------------------- the commands


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("asked")
    grid = BeatGrid.steady(150, "3/4")
    controls = Controls(
        length=grid.bars_last(2), grid=grid, melody=(Note(0.0, 0.4, 60), Note(0.8, 1.2, 64)), key=Key(0, "major")
    )
    (place / "c.json").write_text(text(controls))
    (place / "c.mid").write_bytes(to_midi(controls, [Track("kit", (Note(0.0, 0.1, 36),), 0, True)]))
    song = BeatGrid.steady(150)
    tune = Track("Lead", tuple(Note(0.013 + 0.4 * k, 0.3 + 0.4 * k, 60 + k) for k in range(16)), 73)
    odd = Track("Pads", (Note(0.0, 3.0, 20), Note(1.61, 6.4, 127)), 90)
    (place / "song.mid").write_bytes(to_midi(Controls(length=song.bars_last(4), grid=song), [tune, odd]))
    (place / "empty.mid").write_bytes(to_midi(Controls(length=4.0, grid=song)))
    (place / "bad.json").write_text("{}")
    return place


def test_a_run_writes_sound_midi_stems_and_what_was_asked_and_obtained(folder, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    words = ("--controls", folder / "c.json", "--tags", "jazz calm", "--stems", "--loop", "--rate", 48000)
    assert suite("generate", *words, "--steps", 2, "--takes", 2, "--no-listen", "--out", out) == 0
    assert "2 takes of 2 bars" in capsys.readouterr().out
    wave, rate = soundfile.read(out / "take_1.wav")
    assert (rate, wave.shape) == (48_000, (115_200, 2)) and np.isfinite(wave).all() and wave.any()
    stems = sum(soundfile.read(path)[0] for path in out.glob("take_1.*.wav"))
    assert np.abs(stems - wave).max() < 1e-4
    found = json.loads((out / "report.json").read_text())
    facts = found["report"]
    assert found["synthetic"] is True and found["sources"][0]["name"] == "c.json"
    assert (facts["bars"], facts["metre"], facts["bpm"], facts["samples"]) == (2, "3/4", 150, 115_200)
    assert facts["calls"] == 4 and [one["seed"] for one in facts["takes"]] == [0, 1]
    assert facts["takes"][0]["scores"]["notes"]["melody"] is not None and facts["takes"][0]["scores"]["sound"] is None
    assert facts["takes"][0]["peak_dbtp"] <= -0.99
    assert read_controls(out / "asked.json").tags.genre == "jazz"
    again, tracks = read_midi(out / "take_1.mid")
    assert again.length == pytest.approx(2.4) and {track.name for track in tracks} <= {
        "melody",
        "chords",
        "bass",
        "drums",
    }
    obtained = json.loads((out / "take_1.obtained.json").read_text())
    assert from_json(obtained["notes"]).grid == read_controls(out / "asked.json").grid
    assert sum(len(track["notes"]) for track in obtained["tracks"]) == sum(len(track.notes) for track in tracks)


def test_the_file_that_was_written_makes_the_same_again(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    assert suite("generate", "--midi", "c.mid", "--seed", 7, *QUICK, "--out", tmp_path / "a") == 0
    assert suite("generate", "--settings", tmp_path / "a" / "report.json", "--out", tmp_path / "b") == 0
    for name in ("take_1.mid", "take_1.obtained.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    first, again = (soundfile.read(tmp_path / x / "take_1.wav")[0] for x in "ab")
    assert np.array_equal(first, again)
    binds = json.loads((tmp_path / "a" / "report.json").read_text())["report"]["binds"]
    assert binds == ["melody", "rhythm", "drums"]


def test_a_take_near_another_asks_the_same_and_no_change_is_the_same_notes(folder, tmp_path) -> None:
    assert suite("generate", "--controls", folder / "c.json", "--tags", "pop", *QUICK, "--out", tmp_path / "a") == 0
    near = ("generate", "--like", tmp_path / "a" / "take_1.mid", *QUICK)
    assert suite(*near, "--change", 0, "--out", tmp_path / "b") == 0
    assert suite(*near, "--change", 0.6, "--seed", 4, "--out", tmp_path / "c") == 0
    assert notes_of(tmp_path / "a" / "take_1.mid") == notes_of(tmp_path / "b" / "take_1.mid")
    assert notes_of(tmp_path / "a" / "take_1.mid") != notes_of(tmp_path / "c" / "take_1.mid")
    assert read_controls(tmp_path / "b" / "asked.json") == read_controls(tmp_path / "a" / "asked.json")


def test_inpainting_keeps_every_other_note_to_the_tick(folder, tmp_path) -> None:
    words = ("--from-bar", 2, "--to-bar", 3, "--tags", "pop", *QUICK)
    assert suite("inpaint", folder / "song.mid", *words, "--out", tmp_path / "out") == 0
    before, after = (read_midi(path)[1] for path in (folder / "song.mid", tmp_path / "out" / "take_1.mid"))
    new = {track.name: track for track in after}
    for track in before:
        kept = [note for note in track.notes if note.start < 1.599 or note.start >= 4.799]
        assert kept == [note for note in new[track.name].notes if note.start < 1.599 or note.start >= 4.799]
        assert new[track.name].program == track.program
    inside = [note for track in after for note in track.notes if 1.599 <= note.start < 4.799]
    assert len(inside) > 20 and not {note for note in before[0].notes if 1.6 < note.start < 4.7} & set(inside)


def test_a_part_is_written_anew_under_the_others_which_stay_to_the_tick(folder, tmp_path) -> None:
    words = ("--parts", "bass", "--parts", "drums", "--from-bar", 2, "--tags", "pop", *QUICK)
    assert suite("inpaint", folder / "song.mid", *words, "--out", tmp_path / "out") == 0
    before, after = (
        {track.name: track for track in read_midi(path)[1]}
        for path in (folder / "song.mid", tmp_path / "out" / "take_1.mid")
    )
    roles = {name: [track.name for track in parts] for name, parts in roles_of(tuple(before.values())).items()}
    for name in (*roles["melody"], *roles["chords"]):
        assert after[name].notes == before[name].notes
    for name in roles["bass"]:
        assert [n for n in after[name].notes if n.start < 1.599] == [n for n in before[name].notes if n.start < 1.599]
    fresh = [
        note for track in after.values() for note in track.notes if note not in before.get(track.name, track).notes
    ]
    added = [track for name, track in after.items() if name not in before]
    assert fresh or any(track.notes for track in added)


def test_music_goes_on_after_a_file_whose_notes_stay(folder, tmp_path, capsys) -> None:
    assert suite("continue", folder / "song.mid", "--bars", 1, *QUICK, "--out", tmp_path / "out") == 0
    assert "the notes are nearest to" in capsys.readouterr().out
    before, after = (read_midi(path) for path in (folder / "song.mid", tmp_path / "out" / "take_1.mid"))
    assert after[0].length == pytest.approx(8.0) and before[0].length == pytest.approx(6.4)
    for track in before[1]:
        own = next(each for each in after[1] if each.name == track.name)
        assert [note for note in own.notes if note.start < 6.399] == list(track.notes)
    assert any(note.start >= 6.399 for track in after[1] for note in track.notes)


BAD = {
    "no such tag": (("--tags", "polka"), "'polka' is no genre or mood"),
    "no such file": (("--controls", "none.json"), "none.json"),
    "no controls": (("--controls", "bad.json"), "bad.json, controls: the format is None"),
    "two sources": (("--controls", "c.json", "--midi", "c.mid"), "two sources of controls"),
    "nothing to choose from": (("--only", "melody"), "there is no file"),
    "metre of a grid": (("--controls", "c.json", "--metre", "4/4"), "have a beat grid"),
    "too many bars": (("--bars", "65"), "out of range"),
    "a format": (("--format", "flac", "--bits", "32f"), "FLAC holds whole numbers"),
}


@pytest.mark.parametrize(("words", "sentence"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence_and_leaves_nothing(folder, tmp_path, monkeypatch, capsys, words, sentence) -> None:
    monkeypatch.chdir(folder)
    assert suite("generate", *words, *QUICK, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 and not list(tmp_path.iterdir())


def test_bars_that_are_not_there_and_music_without_notes_are_refused(folder, tmp_path, capsys) -> None:
    out = ("--out", tmp_path / "out", *QUICK)
    assert suite("inpaint", folder / "song.mid", "--from-bar", 3, "--to-bar", 9, *out) == 2
    assert suite("inpaint", folder / "song.mid", "--from-bar", 3, "--to-bar", 2, *out) == 2
    assert suite("inpaint", folder / "song.mid", "--from-bar", 7, *out) == 2
    assert suite("inpaint", folder / "song.mid", "--parts", "flute", *out) == 2
    assert suite("continue", folder / "empty.mid", *out) == 2
    assert suite("continue", folder / "song.mid", "--bars", 61, *out) == 2
    said = capsys.readouterr().err
    assert "bar 9 of 4" in said and "bar 7 of 4" in said and "flute" in said and "melody, chords, bass, drums" in said
    assert "bar 2 lies before bar 3" in said and "no notes" in said and "4 bars and 61" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stage", ["writing", "playing"])
def test_stop_leaves_nothing_behind(tmp_path, stage: str) -> None:
    def report(done, total, note="", preview=None):
        assert 0 <= done <= total
        if note.startswith(stage) and done:
            raise Cancelled

    settings = GenerateMusic(takes=1, steps=2, guidance=1, listen=False, out=str(tmp_path / "out"))
    with pytest.raises(Cancelled):
        GENERATE.run(settings, report)
    assert not list(tmp_path.iterdir())


def test_controls_without_a_grid_get_the_one_that_their_notes_lie_on(tmp_path) -> None:

    grid = BeatGrid.steady(100)
    tune = tuple(Note(grid.seconds_at(q), grid.seconds_at(q + 0.5), 60) for q in (0, 1, 1.75, 2.5, 4, 5.25, 7))
    (tmp_path / "c.json").write_text(text(Controls(length=grid.bars_last(2), melody=tune)))
    found = ask.asked(GenerateMusic(controls=str(tmp_path / "c.json"), out="x"))
    assert found.controls.grid == BeatGrid.steady(100) and "100 BPM" in found.notes[0]


def test_longer_and_shorter_than_the_controls_leaves_the_rest_free(folder) -> None:

    path = str(folder / "c.json")
    longer = ask.asked(GenerateMusic(controls=path, bars=5, out="x")).controls
    assert longer.length == pytest.approx(6.0) and longer.bound("melody") == (Span(0.0, 2.4),)
    shorter = ask.asked(GenerateMusic(controls=path, bars=1, bpm=75, out="x")).controls
    assert shorter.length == pytest.approx(2.4) and len(shorter.melody or ()) == 2


def test_without_melody_chords_and_key_a_key_is_drawn_by_the_seed_that_suits_the_mood(folder, tmp_path) -> None:
    drawn = []
    for seed in range(12):
        found = ask.asked(GenerateMusic(tags="pop happy", seed=seed, out=str(tmp_path)))
        assert found.controls.key is not None and found.controls.key.name in found.notes[0]
        drawn.append(found.controls.key)
    assert len({key.tonic for key in drawn}) > 4 and sum(key.mode == "major" for key in drawn) > 8
    assert ask.asked(GenerateMusic(tags="pop happy", seed=3, out=str(tmp_path))).controls.key == drawn[3]
    assert ask.asked(GenerateMusic(key="D minor", out=str(tmp_path))).controls.key == Key.named("D minor")
    theme = ask.asked(GenerateMusic(controls="example:theme", out=str(tmp_path))).controls
    assert theme.key == EXAMPLES["theme"]().key
