"""Between rolls and tracks: who plays the four roles, when each note sounds, and a MIDI file's tracks as a roll."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.compose.composer import PANS
from domains.audio.compose.genres import GENRES_TABLE
from domains.audio.compose.moods import MOODS_TABLE
from domains.audio.compose.performance import SENDS
from domains.audio.compose.score import MAJOR_LIKE, ROLES, STEP, Notes
from domains.audio.controls.beats import BeatGrid
from domains.audio.controls.midi import MELODIC
from domains.audio.controls.notes import Key, Note, Track
from domains.audio.score import roll
from domains.audio.score.plan import Plan, straightened
from domains.audio.synth.render import Part

NEAR: Final = 1.15  # a tempo this much beyond a genre's own still suits it
SHARES: Final = np.arange(52, 76) / 100  # where a swung off-beat eighth may fall
CLEARLY: Final = 0.02  # of a sixteenth by which another swing must be nearer to the notes than none


@dataclass(frozen=True)
class Band:
    """Who plays: General MIDI programs and gains (dB) by role, and the size of the room, 0 to 1."""

    programs: Mapping[str, int]
    gains: Mapping[str, float]
    room: float


def genre_for(seed: int, qpm: float, metre: str) -> str:
    """A genre, drawn by the seed, whose tempo and metre suit those asked; any where none does."""
    beat = 1.5 if metre == "6/8" else 1.0
    suits = [
        name
        for name, style in GENRES_TABLE.items()
        if metre in style.metres and style.tempo[0] / NEAR <= qpm / beat <= style.tempo[1] * NEAR
    ]
    return str(np.random.default_rng((seed, 11)).choice(sorted(suits or GENRES_TABLE)))


def key_for(seed: int, mood: str | None) -> Key:
    """A key, drawn by the seed, whose mode suits the mood; major or minor where there is none."""
    rng = np.random.default_rng((seed, 13))
    modes = MOODS_TABLE[mood].modes if mood else {"major": 1.0, "minor": 1.0}
    bright = sum(chance for mode, chance in modes.items() if mode in MAJOR_LIKE) / sum(modes.values())
    mode = "major" if rng.random() < bright else "minor"
    return Key(int(rng.integers(12)), mode)


def swing_of(genre: str | None) -> tuple[float, float]:
    """(share, unit in quarter notes) with which a genre is played."""
    return (0.5, 1.0) if genre is None else GENRES_TABLE[genre].swing


def heard_swing(tracks: Sequence[Track], grid: BeatGrid, genre: str | None) -> tuple[float, float]:
    """(share, unit) with which tracks are played: the genre's own, none, or another, whichever is nearest to them."""
    starts = np.array([grid.quarter_at(note.start) for track in tracks for note in track.notes])
    ways = [swing_of(genre), (0.5, 1.0), *((float(share), 1.0) for share in SHARES)]
    if not len(starts):
        return ways[0]
    places = [straightened(starts, way) / STEP for way in ways]
    off = np.array([float(np.abs(place - np.rint(place)).mean()) for place in places])
    return ways[int(np.argmin(off + np.array([0.0, CLEARLY / 10, *[CLEARLY] * len(SHARES)])))]


def band_of(genre: str, mood: str | None, seed: int) -> Band:
    """The band of a genre; of its instruments one a role is drawn by the seed."""
    style, rng = GENRES_TABLE[genre], np.random.default_rng((seed, 12))
    programs = {role: int(rng.choice(getattr(style, role))) for role in ROLES if role != "drums"}
    room = min(1.0, style.room + (MOODS_TABLE[mood].room if mood else 0.0))
    return Band({**programs, "drums": 0}, dict(zip(ROLES, style.gains, strict=True)), room)


# ------------------------------------------------------------------------------------------------------------- tracks


def tracks_of(x: NDArray, plan: Plan, band: Band) -> tuple[Track, ...]:
    """The tracks that play, of a roll (CHANNELS, steps): times in seconds, cut to the clip."""
    notes, length = roll.decode(x), plan.controls.length
    starts = plan.seconds(np.rint(notes.onset / STEP))
    ends = np.minimum(plan.seconds(np.rint(notes.end / STEP)), length)
    heard = (starts > -1e-9) & (starts < length - 1e-6) & (ends > starts)
    found = []
    for number, role in enumerate(ROLES):
        own = np.flatnonzero(heard & (notes.track == number))
        if len(own):
            played = tuple(
                Note(max(float(starts[k]), 0.0), float(ends[k]), int(notes.pitch[k]), int(notes.velocity[k]))
                for k in own
            )
            found.append(Track(role, played, band.programs[role], role == "drums"))
    return tuple(found)


def roles_of(tracks: Sequence[Track]) -> dict[str, tuple[Track, ...]]:
    """The tracks by role: by name where they are called as ours are; else drums, a melody, the lowest as bass, chords.

    The melody is the track that is called so, or the highest of the rest.
    """
    playing = [track for track in tracks if track.notes]
    found: dict[str, list[Track]] = {role: [] for role in ROLES}
    rest = []
    for track in playing:
        if track.drums:
            found["drums"].append(track)
        elif track.name in ("melody", "chords", "bass"):
            found[track.name].append(track)
        else:
            rest.append(track)
    if rest and not found["melody"]:
        tune = max([t for t in rest if MELODIC.search(t.name)] or rest, key=_height)
        found["melody"].append(tune)
        rest = [track for track in rest if track is not tune]
    if rest and not found["bass"]:
        low = min(rest, key=_height)
        if _height(low) < 55:
            found["bass"].append(low)
            rest = [track for track in rest if track is not low]
    found["chords"] += rest
    return {role: tuple(parts) for role, parts in found.items()}


def _height(track: Track) -> float:
    return sum(note.pitch for note in track.notes) / len(track.notes)


def roll_of(
    tracks: Sequence[Track], plan: Plan, *, grid: BeatGrid | None = None, swing: tuple[float, float] | None = None
) -> NDArray:
    """The tracks as a roll (CHANNELS, steps) of a plan, by the sixteenths of the grid and swing they have.

    grid, swing   None: those of the plan
    """
    grid, swing = grid or plan.grid, swing or plan.swing
    rows = []
    for number, (_, parts) in enumerate(roles_of(tracks).items()):
        for note in (note for part in parts for note in part.notes):
            edges = np.array([grid.quarter_at(note.start), grid.quarter_at(note.end)])
            on, off = np.rint(straightened(edges, swing) / STEP) - plan.first
            rows.append((on * STEP, max(off - on, 1) * STEP, note.pitch, note.velocity, number))
    return roll.encode(Notes.of(rows), 0, plan.steps)


def joined(made: Sequence[Track], around: Sequence[Track], plan: Plan, kept: NDArray[np.bool_]) -> tuple[Track, ...]:
    """The tracks of `around`, note for note, but for notes that begin where their part is not kept: these are `made`.

    kept   (lanes, steps) of the plan. A new note gives way to a kept one of its pitch that still sounds, and ends
           before the next kept one begins. What no track plays yet becomes a track of its own.
    """
    first = plan.seconds(np.arange(plan.steps))
    index = {name: parts for name, parts in roles_of(around).items() if parts}
    role = {id(track): name for name, parts in index.items() for track in parts}

    def is_kept(note: Note, name: str) -> bool:
        step = int(np.searchsorted(first, note.start + 1e-6)) - 1
        return step < 0 or bool(kept[ROLES.index(name), min(step, plan.steps - 1)])

    stay = {
        id(track): [note for note in track.notes if is_kept(note, role[id(track)])] for track in around if track.notes
    }
    new: list[Track] = []
    for track in made:
        fresh = [note for note in track.notes if not is_kept(note, track.name)]
        home = index.get(track.name, (None,))[0]
        if home is None:
            if fresh:
                new.append(replace(track, notes=tuple(fresh)))
            continue
        others = list(stay[id(home)])
        stay[id(home)] += [note for each in fresh if (note := _making_room(each, others)) is not None]
    return (*(replace(track, notes=tuple(stay.get(id(track), ()))) for track in around), *new)


def _making_room(note: Note, others: Sequence[Note]) -> Note | None:
    """A new note among those that stay, or None where one of them sounds already on its pitch."""
    same = [other for other in others if other.pitch == note.pitch]
    if any(other.start <= note.start < other.end for other in same):
        return None
    end = min([note.end, *(other.start for other in same if other.start > note.start)])
    return replace(note, end=end)


# -------------------------------------------------------------------------------------------------------------- parts


def parts_of(tracks: Sequence[Track], band: Band) -> list[tuple[str, Part]]:
    """What the synthesiser plays, by the name of the track: place, gain and share of the room as the role has them."""
    role = {id(track): name for name, members in roles_of(tracks).items() for track in members}
    found = []
    for track in tracks:
        if not track.notes:
            continue
        place = ROLES.index(role[id(track)])
        part = Part(
            start=np.array([note.start for note in track.notes]),
            end=np.array([note.end for note in track.notes]),
            pitch=np.array([note.pitch for note in track.notes]),
            velocity=np.array([note.velocity for note in track.notes]),
            program=track.program,
            drums=track.drums,
            pan=PANS[place],
            gain=band.gains[ROLES[place]],
            send=SENDS[ROLES[place]],
        )
        found.append((track.name, part))
    return found
