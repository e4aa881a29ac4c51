"""What the notes of a take keep of what was asked, sixteenth by sixteenth, inside the spans in which each binds.

melody    share of sixteenths with an asked class in which the melody sounds that class alone; where silence alone is
          asked for, the share that is silent
dynamics  Pearson's r of the asked curve and the mean level of what begins in a sixteenth
chords    share of what chords and bass sound that belongs to the asked chord
drums     F1 of strokes: kick, snare and cymbal, each on its sixteenth
in_key    share of pitched notes in the key
A score of what was not asked for is None.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.compose.score import STEP, level_of
from domains.audio.controls.beats import BeatGrid
from domains.audio.controls.chords import Chord
from domains.audio.controls.controls import Controls
from domains.audio.controls.dynamics import Dynamics
from domains.audio.controls.frames import HOP, RATE, frame_times
from domains.audio.controls.notes import Track, skyline
from domains.audio.evaluate import correlation
from domains.audio.score import roll, wishes
from domains.audio.score.plan import Plan

KINDS: Final = ("melody", "dynamics", "chords", "drums", "in_key")
FLAT: Final = 0.5  # dB of spread below which a curve has no shape to follow


def judged(x: NDArray, plan: Plan) -> dict[str, float | None]:
    """The scores of a roll (CHANNELS, steps) against its plan."""
    bound = {kind: plan.bound[row] > 0 for row, kind in enumerate(wishes.KINDS)}
    return {
        "melody": _melody(x, plan.asked["melody"], bound["melody"]),
        "dynamics": _dynamics(x, plan.asked["dynamics"][0], bound["dynamics"]),
        "chords": _chords(x, plan.asked["chords"], bound["chords"]) if plan.controls.given("chords") else None,
        "drums": _drums(x, plan.asked["drums"], bound["drums"]),
        "in_key": _in_key(x, plan),
    }


def held_classes(x: NDArray, role: str) -> NDArray[np.int64]:
    """(12, steps) how many notes of each class a role sounds."""
    base, out = 0, np.zeros((12, x.shape[1]), np.int64)
    for lane in roll.LANES:
        if lane.role == role:
            count = len(lane.pitches)
            held = (x[base + count : base + 2 * count] > 0) | (x[base : base + count] > 0)
            np.add.at(out, np.array(lane.pitches) % 12, held)
        base += lane.channels
    return out


def strokes(x: NDArray) -> NDArray[np.bool_]:
    """(3, steps) whether kick, snare or cymbal begins."""
    base = roll.CHANNELS - roll.LANES[-1].channels
    out = np.zeros((3, x.shape[1]), bool)
    for row, key in enumerate(roll.LANES[-1].pitches):
        if key in wishes.DRUMS:
            out[wishes.DRUMS[key]] |= x[base + row] > 0
    return out


def _melody(x: NDArray, asked: NDArray, bound: NDArray) -> float | None:
    classes: NDArray[np.bool_] = held_classes(x, "melody") > 0
    sung = asked.any(0)
    if not bound.any():
        return None
    if not (bound & sung).any():
        return float(np.logical_not(classes.any(0))[bound].mean())
    hit = (classes & (asked > 0)).any(0) & (classes.sum(0) == 1)
    return float(hit[bound & sung].mean())


def onset_levels(x: NDArray) -> NDArray[np.float64]:
    """(steps,) mean level, dB below full velocity, of the notes that begin in a sixteenth; NaN where none does."""
    notes = roll.decode(x)
    step = np.rint(notes.onset / STEP).astype(int)
    total, count = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    np.add.at(total, step, level_of(notes.velocity))
    np.add.at(count, step, 1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _dynamics(x: NDArray, asked: NDArray, bound: NDArray) -> float | None:
    level = onset_levels(x)
    where = bound & np.isfinite(level)
    if where.sum() < 3 or asked[bound].std() * wishes.SPAN < FLAT:
        return None
    return correlation(asked[where].astype(np.float64), level[where]) or 0.0


def _chords(x: NDArray, asked: NDArray, bound: NDArray) -> float | None:
    tones = np.zeros((12, x.shape[1]), bool)
    qualities = list(wishes.QUALITIES.values())
    for step in np.flatnonzero(bound):
        root, quality = int(asked[:12, step].argmax()), int(asked[12:, step].argmax())
        tones[(root + np.array(qualities[quality])) % 12, step] = True
    played = (held_classes(x, "chords") + held_classes(x, "bass"))[:, bound]
    if not bound.any():
        return None
    return float((played * tones[:, bound]).sum() / played.sum()) if played.sum() else 0.0


def _drums(x: NDArray, asked: NDArray, bound: NDArray) -> float | None:
    if not bound.any():
        return None
    wanted, played = asked[:, bound] > 0, strokes(x)[:, bound]
    hits, all_of_them = (wanted & played).sum(), wanted.sum() + played.sum()
    return float(2 * hits / all_of_them) if all_of_them else 1.0


def _in_key(x: NDArray, plan: Plan) -> float | None:
    if plan.controls.key is None:
        return None
    notes = roll.decode(x)
    pitched = notes.pitch[notes.track < len(roll.LANES) - 1]
    return float(np.isin(pitched % 12, list(plan.controls.key.pitch_classes)).mean()) if len(pitched) else None


# ------------------------------------------------------------------------------------------------------ as controls


def obtained(tracks: tuple[Track, ...], levels: NDArray, length: float, grid: BeatGrid) -> Controls:
    """What a take turned out to be, in the control language: read from its notes, the dynamics from its sound.

    Chords and key are the nearest templates to the pitch classes that chords, bass and melody sound.
    """
    from domains.audio.extract.harmony import HOP as FRAME
    from domains.audio.extract.harmony import chords_of, key_of

    tune = [note for track in tracks if track.name == "melody" for note in track.notes]
    chroma = np.zeros((12, max(1, round(length * RATE / FRAME))), np.float32)
    for track in tracks:
        for note in () if track.drums else track.notes:
            first, last = round(note.start * RATE / FRAME), round(note.end * RATE / FRAME)
            chroma[note.pitch_class, first : max(last, first + 1)] += note.velocity / 127
    edges = grid.beats(length)
    edges = np.concatenate([[0.0], edges[(edges > 1e-3) & (edges < length - 1e-3)], [length]])
    chords: tuple[Chord, ...] = chords_of(chroma, edges, length) if chroma.any() else ()
    times = np.minimum(frame_times(len(levels), RATE, HOP), length)
    return Controls(
        length=length,
        melody=skyline(tune),
        dynamics=Dynamics.through(times, levels),
        grid=grid,
        chords=chords,
        key=key_of(chroma)[0] if chroma.any() else None,
    )
