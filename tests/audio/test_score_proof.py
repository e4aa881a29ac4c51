"""The proof of the score engine measures what it says: ceilings are exact, shares have a sign, copies are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.listening import musicality as read
from benchmarks.proof import score_created, score_music
from benchmarks.proof.score_created import Item, Reading
from domains.audio.compose.composer import compose
from domains.audio.compose.score import Notes
from domains.audio.controls import created
from domains.audio.evaluate import Heard
from domains.audio.score import roll
from domains.audio.score.judge import judged
from domains.audio.score.model import STEPS_OF_CLIP
from domains.audio.score.plan import plan
from shared.errors import UserError


def a_roll(*rows: tuple[float, float, int, int, int], steps: int = STEPS_OF_CLIP):
    return roll.encode(Notes.of(rows), 0, steps)


def piece(index: int = 0):
    return score_music.cut(score_music.in_four(30, "train", first=index), 0)


def deaf(steps: int) -> Heard:
    """What is heard of silence."""
    nothing = np.zeros(0)
    return Heard(np.zeros((steps, 12), np.float32), np.full(steps, -80.0), nothing, nothing, nothing)


# ----------------------------------------------------------------------------------------------------- created controls


def test_the_ceiling_of_a_melody_is_that_melody_note_for_note_and_nothing_else() -> None:
    law = plan(created.melodies()["g_minor 1"], strict=True)
    x = score_created.exactly(law, "melody", 0)
    assert judged(x, law)["melody"] == 1.0
    assert set(roll.decode(x).track.tolist()) == {0}


def test_the_ceiling_of_dynamics_has_the_asked_level_at_every_onset() -> None:
    one = created.curves(-27.0)["cosine up 12 dB"]
    law = plan(one, strict=True)
    take = score_created.Answered(score_created.exactly(law, "dynamics", 0), deaf(517))
    found = score_created.reading("dynamics", take, plan(one, strict=False)).values
    assert found["micro r, notes"] == pytest.approx(1.0, abs=1e-3)  # velocities are whole numbers
    assert found["dB², notes"] == pytest.approx(0.0, abs=0.05)
    assert found["dB², sound"] == pytest.approx(53.0**2, rel=0.05)  # silence is -80 dB, -27 are asked


def test_the_ceiling_of_a_rhythm_has_the_asked_strokes_under_a_piece_in_its_metre() -> None:
    controls, strokes = created.groove("waltz", 0.9)
    law = plan(controls, drums=strokes, strict=True)
    x = score_created.exactly(law, "rhythm", 3)
    assert judged(x, law)["drums"] == 1.0
    assert {0, 1, 2} <= set(roll.decode(x).track.tolist())
    assert score_created.piece("3/4", 3).metre == "3/4"


def test_the_share_is_signed_by_what_is_better_and_absent_where_the_ceiling_is_not() -> None:
    def rows(measure: str, *values: float):
        arms = ("uncontrolled", "controlled", "ceiling")
        return [{arm: [Reading({measure: value})] for arm, value in zip(arms, values, strict=True)}]

    assert score_created.share(rows("melody, notes", 0.1, 0.5, 0.9), "melody, notes") == pytest.approx(0.5)
    assert score_created.share(rows("dB², sound", 40.0, 10.0, 0.0), "dB², sound") == pytest.approx(0.75)
    assert score_created.share(rows("beat F1, sound", 0.5, 0.6, 0.4), "beat F1, sound") is None
    assert score_created.share(rows("dB², sound", 4.0, 2.0, 5.0), "dB², sound") is None


def test_macro_r_sees_the_level_that_micro_r_does_not() -> None:
    shape = np.linspace(-3.0, 3.0, 20)
    takes = [Reading({}, {"macro r, sound": (shape + 10 * k, shape)}) for k in (-1, 1)]
    assert score_created.pooled([{"controlled": takes[:1]}], "controlled", "macro r, sound") == pytest.approx(1.0)
    macro = score_created.pooled([{"controlled": takes}], "controlled", "macro r, sound")
    assert macro is not None and macro < 0.5


def test_chance_reads_takes_of_another_theme_and_never_of_the_other_cut() -> None:
    made = created.melodies()
    asks = [Item(name.split()[0], made[name]) for name in ("ode 1", "ode 2", "hall 1")]
    laws = [plan(one.asked, strict=True) for one in asks]
    takes = [
        {"controlled": [score_created.Answered(score_created.exactly(law, "melody", 0), deaf(600))]} for law in laws
    ]
    rows = score_created.arms_of("melody", asks, takes)
    assert [len(row["chance"]) for row in rows] == [1, 1, 2]
    assert [row["controlled"][0].values["melody, notes"] for row in rows] == [1.0, 1.0, 1.0]
    assert all((one.values["melody, notes"] or 0.0) < 0.5 for row in rows for one in row["chance"])


def test_no_key_is_told_with_a_melody_and_items_keep_their_order_in_part() -> None:
    whole, part = (score_created.items("melody", -27.0, part=part) for part in (False, True))
    assert all(one.asked.key is None for one in whole)
    assert [one.source for one in whole] == [one.source for one in part]
    assert [one.asked.melody for one in whole] == [one.asked.melody for one in part]
    assert [one.source for one in score_created.chosen(whole, 5)] == ["canon", "surprise", "g_minor", "ode", "hall"]


def test_a_roll_of_another_length_is_cut_or_silent_behind_its_end() -> None:
    x = piece()
    assert np.array_equal(score_created.fitted(x, 40), x[:, :40])
    longer = score_created.fitted(x, 80)
    assert np.array_equal(longer[:, :64], x) and (longer[:, 64:] == roll.SILENT).all()


# ---------------------------------------------------------------------------------------------------------------- music


def test_a_scale_is_in_scale_and_a_chromatic_run_is_not() -> None:
    major = [(k / 2, 0.5, 60 + step, 80, 0) for k, step in enumerate((0, 2, 4, 5, 7, 9, 11))]
    chromatic = [(k / 2, 0.5, 60 + k, 80, 0) for k in range(12)]
    assert read.in_scale(a_roll(*major)) == 1.0
    assert read.in_scale(a_roll(*chromatic)) == pytest.approx(7 / 12)


def test_silence_polyphony_and_beats_are_counted() -> None:
    x = a_roll((0, 4, 60, 80, 0), (0, 4, 48, 80, 1), (4.25, 1, 62, 80, 0), (8, 0.25, 36, 80, 3))
    assert read.silence(x) == pytest.approx(1 - 21 / 64)
    assert read.polyphony(x) == pytest.approx((2 * 16 + 4) / 20)
    assert read.on_beats(x) == pytest.approx(3 / 4)
    assert read.notes_a_bar(x, 4.0) == pytest.approx(1.0)


def test_a_bar_that_comes_again_is_repetition_and_one_that_does_not_is_none() -> None:
    bar = [(0, 1, 60, 80, 0), (1, 1, 64, 80, 0), (2, 2, 67, 80, 0)]
    again = [(at + 4 * k, length, pitch, v, role) for k in range(4) for at, length, pitch, v, role in bar]
    assert read.repetition(a_roll(*again), 4.0) == 1.0
    assert read.repetition(a_roll(*bar), 4.0) == 0.0


def test_only_the_strong_beats_on_which_the_melody_sounds_count_for_chord_tones() -> None:
    tones, strong = np.zeros((12, 64), bool), np.zeros(64, bool)
    tones[[0, 4, 7]], strong[::8] = True, True
    assert read.chord_tones(a_roll((0, 1, 60, 80, 0), (1, 1, 61, 80, 0), (2, 1, 62, 80, 0)), tones, strong) == 0.5
    assert read.chord_tones(a_roll((1, 0.5, 60, 80, 0)), tones, strong) is None


def test_spoiled_pieces_keep_their_places_or_their_pitches_and_lose_the_rest() -> None:
    x, rng = piece(), np.random.default_rng(0)
    pitched, placed = read.other_pitches(x, rng), read.other_places(x, rng)
    assert read.in_scale(pitched) < read.in_scale(x) - 0.1
    assert set(roll.decode(pitched).onset) == set(roll.decode(x).onset)
    assert set(roll.decode(placed).pitch) == set(roll.decode(x).pitch)
    assert read.repetition(placed, 4.0) < read.repetition(x, 4.0) - 0.1


def test_features_of_notes_hear_no_transposition_of_tones() -> None:
    notes = roll.on_grid(compose(31, 0, genre="pop", mood="calm", bars=4).notes)
    up = notes.take(np.arange(len(notes)))
    up.pitch[up.track < 3] += 1
    a, b = (read.clip_features(roll.encode(each, 0, 64), 4.0) for each in (notes, up))
    assert np.allclose(a[-24:], b[-24:])
    assert not np.allclose(a[:-24], b[:-24])  # its height is heard


def test_frechet_distance_is_the_squared_shift_of_equal_laws() -> None:
    x = np.random.default_rng(0).normal(size=(400, 4))
    assert read.frechet(x, x) == pytest.approx(0.0, abs=1e-9)
    assert read.frechet(x, x + np.array([3.0, 0, 0, 4.0])) == pytest.approx(25.0)
    assert read.frechet(x, 2 * x) == pytest.approx(np.trace(np.cov(x.T)) + np.square(x.mean(0)).sum())


def test_distances_are_told_in_the_first_set_which_is_the_floor() -> None:
    rng = np.random.default_rng(1)
    goal, near, known = (rng.normal(size=(300, 20)) for _ in range(3))
    found = score_music.distances({"near": near, "far": near + 1.0}, goal, known)
    assert [row[1] for row in found["rows"]] == [300, 300]
    assert found["rows"][0][3] == 1.0 and found["rows"][1][3] > 10.0


def test_a_transposed_copy_is_found_and_another_piece_is_not_one() -> None:
    known = np.stack([read.begun(piece(k)) for k in range(6)])
    copy = np.roll(known[3], 5, axis=1)
    near = read.nearest([copy, read.begun(piece(90)), np.zeros_like(copy)], known, block=4)
    assert near[0] == 0.0 and near[1] > 0.1 and near[2] == 1.0


# ------------------------------------------------------------------------------------------------------------- commands


@pytest.mark.parametrize("proof", [score_created, score_music])
def test_without_weights_nothing_is_measured_or_written(proof, tmp_path: Path, monkeypatch) -> None:
    absent = tmp_path / "score.safetensors"
    monkeypatch.setattr(proof, "WEIGHTS", absent)
    said = CliRunner().invoke(proof.main, ["--weights", str(absent), "--out", str(tmp_path / "tables")])
    assert said.exit_code == 0 and "no trained weights" in said.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("proof", [score_created, score_music])
def test_weights_that_are_not_shipped_are_not_recorded_as_if_they_were(proof, tmp_path: Path) -> None:
    said = CliRunner().invoke(proof.main, ["--weights", str(tmp_path / "mine.safetensors")])
    assert isinstance(said.exception, UserError) and "--out" in str(said.exception)
