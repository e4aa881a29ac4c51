"""The composer: a piece of music from (seed, index, split), with everything that is true of it.

    train, test     the same world from other random numbers
    keys            tonics that training never hears (HELD_KEYS)
    progressions    turns of harmony that training never hears (HELD_PROGRESSIONS)
    instruments     programs that training never hears (the genres' `held`)

Genre and mood are drawn evenly unless they are asked for. The form is AABA, ABAB and the like in phrases of four bars;
the last bar closes on the tonic. Nothing here knows sound: `domains/audio/synth` plays the score.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from domains.audio.compose import band
from domains.audio.compose.genres import GENRES_TABLE, Genre
from domains.audio.compose.harmony import harmonise, progressions, tonics
from domains.audio.compose.melody import melody
from domains.audio.compose.moods import MOODS_TABLE, Mood
from domains.audio.compose.score import (
    ROLES,
    SCALES,
    STEP,
    Harmony,
    Notes,
    Score,
    Tempo,
    Track,
    velocity_of,
)
from domains.audio.controls.tags import GENRES, MOODS
from shared.errors import UserError

Split = Literal["train", "test", "keys", "progressions", "instruments"]
SPLITS: Final = ("train", "test", "keys", "progressions", "instruments")
FORMS: Final = ("AABA", "ABAB", "AABB", "ABAC", "AABC", "ABCA")
FEWEST_BARS, MOST_BARS = 2, 64
BARS: Final = 16
QUIETEST, LOUDEST = -32.0, -1.0  # dB of the dynamics
VARIATION: Final = 0.6  # dB, of a note around its accent
PANS: Final = (0.0, -0.35, 0.0, 0.15)  # of melody, chords, bass, drums
SLOWING: Final = (0.95, 0.88, 0.8, 0.72)  # of the tempo, over the beats of the last bar


def compose(
    seed: int,
    index: int = 0,
    split: Split = "train",
    *,
    genre: str | None = None,
    mood: str | None = None,
    bars: int = BARS,
) -> Score:
    """The piece `index` of a seed and split; equal arguments give equal pieces, to the bit.

    genre, mood   words of controls/tags.py, None for one drawn at random;  bars 2..64
    Raises UserError for other words and numbers.
    """
    _check(split, genre, mood, bars)
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    drawn = GENRES[rng.integers(len(GENRES))], MOODS[rng.integers(len(MOODS))]
    genre, mood = genre or drawn[0], mood or drawn[1]
    style, feeling = GENRES_TABLE[genre], MOODS_TABLE[mood]
    metre = _choice(rng, style.metres)
    mode = _choice(rng, feeling.modes)
    tonic = int(rng.choice(tonics(mode, split)))
    phrase = min(4, bars)
    form = (FORMS[rng.integers(len(FORMS))] * 8)[: -(-bars // phrase)]
    bar = 4.0 if metre == "4/4" else 3.0
    harmony = _harmony(rng, style, feeling, (genre, mode, tonic, split), form, phrase, bars, bar, metre)
    scale = np.array([(tonic + step) % 12 for step in SCALES[mode]])
    tune = melody(rng, style, feeling, metre, tonic, mode, harmony, form, phrase, bars)
    lead = [(at, length, pitch, 0.0) for at, length, pitch in tune]
    if feeling.octaves:
        lead += [(at, length, pitch - 12, -4.0) for at, length, pitch in tune]
    parts = (
        lead,
        band.chords(rng, style, feeling, metre, harmony, form, phrase, bars),
        band.bass(rng, style, feeling, metre, harmony, scale, form, phrase, bars),
        band.drums(rng, style, feeling, metre, form, phrase, bars),
    )
    dynamics = _dynamics(rng, feeling, form, phrase, round(bars * bar / STEP), round(bar / STEP))
    tracks, notes = _orchestrate(rng, style, parts, dynamics, split)
    return Score(
        notes=notes,
        tracks=tracks,
        tempo=_tempo(rng, style, feeling, metre, bars, bar),
        metre=metre,
        bars=bars,
        tonic=tonic,
        mode=mode,
        harmony=harmony,
        dynamics=dynamics,
        form=form,
        phrase=phrase,
        genre=genre,
        mood=mood,
        swing=style.swing if metre != "6/8" else (0.5, 1.0),
        room=min(1.0, style.room + feeling.room),
        maker=(seed, index, split),
    )


def _check(split: str, genre: str | None, mood: str | None, bars: int) -> None:
    for word, known, where in ((split, SPLITS, "split"), (genre, GENRES, "genre"), (mood, MOODS, "mood")):
        if word is not None and word not in known:
            raise UserError(f"no {where} {word!r}", where=where, remedy=f"choose {', '.join(known)}")
    if not FEWEST_BARS <= bars <= MOST_BARS:
        raise UserError(f"{bars} bars", where="bars", remedy=f"take {FEWEST_BARS} to {MOST_BARS}")


def _choice(rng: np.random.Generator, chances: object) -> str:
    """A word by its chance."""
    table = dict(chances)  # type: ignore[call-overload]
    weights = np.array(list(table.values()))
    return str(rng.choice(list(table), p=weights / weights.sum()))


def _harmony(
    rng: np.random.Generator,
    style: Genre,
    feeling: Mood,
    key: tuple[str, str, int, str],
    form: str,
    phrase: int,
    bars: int,
    bar: float,
    metre: str,
) -> Harmony:
    """A progression a letter, said once or twice a phrase; the last bar stands on the tonic."""
    genre, mode, tonic, split = key
    known = progressions(genre, mode, split)
    order = rng.permutation(len(known))
    turn = {letter: known[order[k % len(known)]] for k, letter in enumerate(dict.fromkeys(form))}
    halves = metre == "4/4" and rng.random() < style.half_bar_chords
    length = bar / 2 if halves else bar
    count = round(bars * bar / length)
    per_phrase = round(phrase * bar / length)
    degrees = [turn[form[k // per_phrase]][k % per_phrase % 4] for k in range(count)]
    degrees[-2 if halves else -1 :] = [1] * (2 if halves else 1)
    chance = min(1.0, style.sevenths + feeling.sevenths)
    rich = {degree: bool(rng.random() < chance) for degree in range(1, 8)}
    return harmonise(tonic, mode, degrees, [rich[degree] for degree in degrees], length, bars * bar)


def _dynamics(rng: np.random.Generator, mood: Mood, form: str, phrase: int, steps: int, bar_steps: int) -> NDArray:
    """The course of the level, dB below full velocity, at each sixteenth and the end."""
    kind = mood.shape[rng.integers(len(mood.shape))]
    u = np.arange(steps + 1) / steps  # 0..1 through the piece
    part = np.arange(steps + 1) / (phrase * bar_steps)
    v = part % 1  # 0..1 through the phrase
    letters = np.array([ord(letter) % 2 for letter in form])
    course = {
        "level": 0.25 * np.sin(2 * np.pi * part),
        "rise": u - 0.5,
        "fall": 0.5 - u,
        "arch": np.sin(np.pi * u) - 0.5,
        "swell": np.sin(np.pi * v) - 0.5,
        "terraces": letters[np.minimum(part.astype(int), len(form) - 1)] - 0.5,
        "surge": v - 0.5,
    }[kind]
    return np.clip(mood.level + mood.span * course + rng.uniform(-1, 1), QUIETEST, LOUDEST)


def _orchestrate(
    rng: np.random.Generator, style: Genre, parts: tuple[list[band.Row], ...], dynamics: NDArray, split: str
) -> tuple[tuple[Track, ...], Notes]:
    """One track a role, and all notes with the velocities that the dynamics ask for."""
    tracks, rows = [], []
    for number, (role, part) in enumerate(zip(ROLES, parts, strict=True)):
        own = (0,) if role == "drums" else getattr(style, role)
        programs = style.held.get(role, own) if split == "instruments" else own
        program = int(rng.choice(programs))
        tracks.append(Track(role, program, PANS[number], style.gains[number]))
        if not part:
            continue
        table = np.array(part)
        level = np.interp(table[:, 0], np.arange(len(dynamics)) * STEP, dynamics) + table[:, 3]
        velocity = velocity_of(np.minimum(level + rng.normal(0, VARIATION, len(table)), 0))
        rows.append(np.column_stack([table[:, :3], velocity, np.full(len(table), number)]))
    return tuple(tracks), Notes.of(np.concatenate(rows))


def _tempo(rng: np.random.Generator, style: Genre, mood: Mood, metre: str, bars: int, bar: float) -> Tempo:
    """Whole felt beats a minute, in quarter notes; some pieces slow down in their last bar."""
    low, high = style.tempo
    pace = float(np.clip(mood.pace + rng.uniform(-0.12, 0.12), 0, 1))
    beat = 1.5 if metre == "6/8" else 1.0
    bpm = np.rint(low + (high - low) * pace) * beat
    if metre == "6/8":
        bpm = np.rint(0.6 * bpm / 1.5) * 1.5  # a felt beat of three eighths takes longer
    place, speed = [0.0], [float(bpm)]
    if style.slows and mood.pace < 0.6:
        beats = round(bar / beat)
        place += [(bars - 1) * bar + k * beat for k in range(beats)]
        speed += [float(bpm) * factor for factor in SLOWING[:beats]]
    return Tempo(np.array(place), np.array(speed))
