"""The composer is a pure function, keeps its splits apart, and writes music in the style that was asked for."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest

from domains.audio.compose import band
from domains.audio.compose.composer import BARS, LOUDEST, QUIETEST, SPLITS, compose
from domains.audio.compose.genres import GENRES_TABLE, HELD_PROGRAMS
from domains.audio.compose.harmony import HELD_KEYS, HELD_PROGRESSIONS, has_leading_tone, movement, voicings
from domains.audio.compose.moods import MOODS_TABLE
from domains.audio.compose.score import CHORDS, MAJOR_LIKE, SCALES, STEP, Score, Tempo, level_of, velocity_of
from domains.audio.controls.chords import QUALITIES
from domains.audio.controls.tags import GENRES, MOODS
from domains.audio.synth.drums import KIT
from shared.errors import UserError

STYLES = tuple(product(GENRES, MOODS))


@pytest.fixture(scope="module")
def pieces() -> list[Score]:
    """One piece of every genre and mood."""
    return [compose(5, k, genre=genre, mood=mood) for k, (genre, mood) in enumerate(STYLES)]


def degrees(score: Score) -> list[int]:
    """The degrees of the chords, a chord that goes on counted once a slot."""
    return [int(degree) for degree in score.harmony.degree]


# -------------------------------------------------------------------------------------------------- purity and splits


def test_the_same_arguments_give_the_same_piece_and_another_index_another() -> None:
    first, again, other = compose(3, 7), compose(3, 7), compose(3, 8)
    assert first.to_json() == again.to_json()
    assert first.to_json()["notes"] != other.to_json()["notes"]
    assert first.to_json()["notes"] != compose(3, 7, "test").to_json()["notes"]


def test_training_hears_nothing_that_is_held_out() -> None:
    held = {mode: set(turns) for mode, turns in HELD_PROGRESSIONS.items()}
    for k in range(150):
        piece = compose(0, k)
        assert piece.tonic not in HELD_KEYS[piece.mode in MAJOR_LIKE]
        assert not {track.program for track in piece.tracks if not track.drums} & HELD_PROGRAMS
        path = degrees(piece)
        assert not held[piece.mode] & {tuple(path[i : i + 4]) for i in range(len(path) - 3)}


@pytest.mark.parametrize("split", SPLITS[2:])
def test_each_held_out_split_has_what_it_is_named_after_and_nothing_else_new(split: str) -> None:
    for k in range(30):
        piece = compose(0, k, split)
        assert (piece.tonic in HELD_KEYS[piece.mode in MAJOR_LIKE]) == (split == "keys")
        programs = {track.program for track in piece.tracks if not track.drums}
        assert (programs <= HELD_PROGRAMS) if split == "instruments" else not programs & HELD_PROGRAMS
        path = degrees(piece)
        known = {tuple(path[i : i + 4]) for i in range(len(path) - 3)} & set(HELD_PROGRESSIONS[piece.mode])
        assert bool(known) == (split == "progressions")


def test_genres_and_moods_are_drawn_evenly() -> None:
    drawn = [compose(1, k, bars=2) for k in range(400)]
    for words, kind in ((GENRES, "genre"), (MOODS, "mood")):
        counts = [sum(getattr(piece, kind) == word for piece in drawn) for word in words]
        assert min(counts) >= 20 and max(counts) <= 65  # 40 expected; five standard deviations


# ------------------------------------------------------------------------------------------------------ what is music


def test_every_note_lies_on_the_grid_of_sixteenths_inside_the_piece(pieces: list[Score]) -> None:
    for piece in pieces:
        notes = piece.notes
        assert np.array_equal(notes.onset / STEP, np.rint(notes.onset / STEP))
        assert (notes.duration > 0).all() and (notes.end <= piece.length + 1e-9).all()
        assert ((notes.velocity >= 1) & (notes.velocity <= 127)).all()
        pitched = notes.take(np.array([not piece.tracks[track].drums for track in notes.track]))
        assert pitched.pitch.min() >= band.BASS_FLOOR - 3 and pitched.pitch.max() <= 100


def test_every_pitch_is_in_the_key_or_its_leading_tone_over_the_dominant(pieces: list[Score]) -> None:
    for piece in pieces:
        for role in ("melody", "chords", "bass"):
            notes = piece.part(role)
            where = piece.harmony.at(notes.onset)
            for pitch, chord in zip(notes.pitch % 12, where, strict=True):
                raised = has_leading_tone(piece.mode, int(piece.harmony.degree[chord]))
                allowed = {*piece.scale, (piece.tonic + 11) % 12} if raised else set(piece.scale)
                assert int(pitch) in allowed, (piece.key, role)


def test_strong_beats_of_the_melody_are_tones_of_the_chord(pieces: list[Score]) -> None:
    for piece in pieces:
        tune = piece.part("melody")
        half = 1.5 if piece.metre == "6/8" else 2.0 if piece.metre == "4/4" else 3.0
        strong = np.isclose(tune.onset % half, 0)
        assert strong.sum() >= piece.bars - 1
        for onset, pitch in zip(tune.onset[strong], tune.pitch[strong], strict=True):
            assert int(pitch) % 12 in piece.harmony.classes(int(piece.harmony.at(onset)))


def test_melodies_move_mostly_by_small_steps_but_not_in_place(pieces: list[Score]) -> None:
    moves = np.concatenate(
        [np.abs(np.diff(piece.part("melody").pitch)) for piece in pieces if not MOODS_TABLE[piece.mood].octaves]
    )
    assert 0.5 < (moves <= 4).mean() < 0.97 and (moves > 12).mean() < 0.02 and (moves == 0).mean() < 0.35


def test_equal_letters_of_the_form_carry_equal_melodies(pieces: list[Score]) -> None:
    for piece in pieces:
        assert len(set(piece.form)) < len(piece.form)
        tune, length = piece.part("melody"), piece.phrase * piece.bar
        sung: dict[str, list[tuple[float, int]]] = {}
        for k, letter in enumerate(piece.form):
            last = k == len(piece.form) - 1
            until = length - piece.bar * last  # the last bar of the piece closes it
            inside = (tune.onset >= k * length) & (tune.onset < k * length + until)
            line = list(zip((tune.onset[inside] - k * length).tolist(), tune.pitch[inside].tolist(), strict=True))
            known = sung.setdefault(letter, line)
            assert line == [note for note in known if note[0] < until], (piece.genre, piece.mood, piece.form)
        assert len({tuple(line) for line in sung.values()}) == len(sung)


def test_the_piece_ends_on_its_tonic(pieces: list[Score]) -> None:
    for piece in pieces:
        assert piece.part("melody").pitch[-1] % 12 == piece.tonic == piece.harmony.root[-1]
        assert piece.part("bass").pitch[-1] % 12 == piece.tonic


def test_voices_of_the_chords_move_less_than_half_as_far_as_root_positions_would(pieces: list[Score]) -> None:
    led, plain = [], []
    for piece in pieces:
        shapes = voicings(piece.harmony, 60)
        roots = [
            tuple(55 + (int(root) - 55) % 12 + step for step in CHORDS[quality])
            for root, quality in zip(piece.harmony.root, piece.harmony.quality, strict=True)
        ]
        for a, b, c, d in zip(shapes, shapes[1:], roots, roots[1:], strict=False):
            pull = 0.15 * abs(sum(b) / len(b) - 60), 0.15 * abs(sum(d) / len(d) - 60)
            led.append(movement(a, b, 60) - pull[0])
            plain.append(movement(c, d, 60) - pull[1])
    assert np.mean(led) < 0.5 * np.mean(plain)


def test_a_new_chord_is_heard_from_its_root_in_the_bass(pieces: list[Score]) -> None:
    for piece in pieces:
        line = piece.part("bass")
        for onset, pitch in zip(line.onset, line.pitch, strict=True):
            chord = int(piece.harmony.at(onset))
            if onset == piece.harmony.onset[chord]:
                assert pitch % 12 == piece.harmony.root[chord]


# ------------------------------------------------------------------------------------------------- style can be heard


def test_the_tempo_lies_in_the_range_of_the_genre_and_follows_the_mood(pieces: list[Score]) -> None:
    felt = {(piece.genre, piece.mood): piece.tempo.bpm[0] / piece.beat for piece in pieces if piece.metre != "6/8"}
    for (genre, _), tempo in felt.items():
        assert GENRES_TABLE[genre].tempo[0] <= tempo <= GENRES_TABLE[genre].tempo[1]
    for genre in GENRES:
        if {(genre, "energetic"), (genre, "calm")} <= set(felt):
            assert felt[genre, "energetic"] > felt[genre, "calm"]


def test_moods_differ_in_level_density_register_and_touch(pieces: list[Score]) -> None:
    def mean(mood: str, measure: object) -> float:
        return float(np.mean([measure(piece) for piece in pieces if piece.mood == mood]))  # type: ignore[operator]

    def level(piece: Score) -> float:
        return float(level_of(piece.notes.velocity).mean())

    def density(piece: Score) -> float:
        return len(piece.part("melody")) / piece.bars

    def register(piece: Score) -> float:
        return float(piece.part("melody").pitch.mean())

    def touch(piece: Score) -> float:
        tune = piece.part("melody")
        return float((tune.duration[:-1] / np.diff(tune.onset).clip(STEP)).mean())

    assert mean("energetic", level) > mean("happy", level) > mean("sad", level) > mean("calm", level) + 3
    assert mean("energetic", density) > 1.4 * mean("happy", density) > 1.4 * mean("calm", density)
    assert mean("playful", register) > mean("happy", register) + 4 > mean("dark", register) + 14
    assert mean("playful", touch) < 0.5 < 0.9 < mean("sad", touch)


def test_dynamics_cause_the_velocities(pieces: list[Score]) -> None:
    for piece in pieces:
        rest = level_of(piece.notes.velocity) - piece.level(piece.notes.onset)
        loud = piece.level(piece.notes.onset) < -6  # below, nothing is cut at full velocity
        assert (
            np.abs(rest[loud]).max(initial=0) < 12.5
            and ((piece.dynamics >= QUIETEST) & (piece.dynamics <= LOUDEST)).all()
        )
        tune = piece.part("chords")
        steady = level_of(tune.velocity) - piece.level(tune.onset)
        assert steady.std() < 2.2, piece.mood


def test_swing_moves_the_offbeat_and_no_beat() -> None:
    piece = next(p for k in range(9) if (p := compose(0, k, genre="jazz")).metre == "4/4")
    beat = 60 / piece.tempo.bpm[0]
    assert piece.seconds([0, 0.5, 1.0]) == pytest.approx([0, 0.66 * beat, beat])
    assert piece.beats()[:3] == pytest.approx([0, beat, 2 * beat])
    straight = compose(0, 0, genre="rock")
    assert straight.swung([0.25, 0.5]) == pytest.approx([0.25, 0.5])


def test_a_tempo_map_is_undone_by_its_inverse_and_slows_at_the_end() -> None:
    tempo = Tempo(np.array([0.0, 4.0, 6.0]), np.array([120.0, 60.0, 90.0]))
    assert tempo.seconds([0, 4, 5, 6, 9]) == pytest.approx([0, 2, 3, 4, 6])
    assert tempo.quarters(tempo.seconds([0.5, 4.5, 8])) == pytest.approx([0.5, 4.5, 8])
    slow = compose(0, 0, genre="folk", mood="sad")
    assert slow.tempo.place[1] == (slow.bars - 1) * slow.bar and (np.diff(slow.tempo.bpm) < 0).all()


# ------------------------------------------------------------------------------------------------ tables and arguments


def test_the_patterns_of_every_genre_fill_their_bars_with_known_signs() -> None:
    for name, genre in GENRES_TABLE.items():
        for metre in genre.metres:
            size = 16 if metre == "4/4" else 12
            grooves = genre.grooves.get(metre, ())
            assert all(set(p) <= set("#1234-.") and len(p) == size for p in genre.comping[metre]), name
            assert all(set(p) <= set("r358a-.") and len(p) == size for p in genre.lines[metre]), name
            assert all(set(p) <= set("Xxo.") and len(p) == size for g in grooves for p in g.values()), name
            assert all(drum in KIT for groove in grooves for drum in groove)
        assert not {*genre.melody, *genre.chords, *genre.bass} & HELD_PROGRAMS
    assert set(GENRES_TABLE) == set(GENRES) and set(MOODS_TABLE) == set(MOODS)
    assert set(CHORDS) <= set(QUALITIES) and all(CHORDS[name] == QUALITIES[name] for name in CHORDS)


def test_spans_read_a_pattern() -> None:
    assert band.spans("r--.5-") == [(0, 3, "r"), (4, 2, "5")]
    assert band.spans("-.8") == [(2, 1, "8")]


def test_held_out_progressions_take_a_step_that_training_never_takes() -> None:
    steps: dict[str, set[tuple[int, int]]] = {mode: set() for mode in SCALES}
    for k in range(300):
        piece = compose(2, k)
        steps[piece.mode] |= set(pairwise(degrees(piece)))
    for mode, turns in HELD_PROGRESSIONS.items():
        assert all(set(pairwise(turn)) - steps[mode] for turn in turns)


def test_velocity_and_level_are_inverse() -> None:
    assert level_of([127, 64]) == pytest.approx([0, 40 * np.log10(64 / 127)])
    assert velocity_of(level_of(np.arange(1, 128))).tolist() == list(range(1, 128))


@pytest.mark.parametrize("bars", [2, 3, 5, 8, 13, 64])
def test_any_number_of_bars_is_composed_exactly(bars: int) -> None:
    piece = compose(0, 1, bars=bars)
    assert piece.bars == bars and len(piece.downbeats()) == bars
    assert piece.notes.end.max() <= piece.length + 1e-9 and piece.notes.onset.max() >= (bars - 1) * piece.bar
    assert piece.harmony.duration.sum() == pytest.approx(piece.length)
    assert len(piece.dynamics) == round(piece.length / STEP) + 1


@pytest.mark.parametrize("wrong", [{"genre": "polka"}, {"mood": "angry"}, {"bars": 1}, {"bars": 65}, {"split": "dev"}])
def test_what_cannot_be_composed_is_refused_in_one_sentence(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError, match=str(next(iter(wrong.values())))):
        compose(0, 0, **{"bars": BARS, **wrong})
