"""The multitrack piano roll: a score as numbers on the grid of sixteenths, and back without loss.

Each role of the band has a lane of pitches (drums: of keys), each pitch an onset channel and, but for drums, one that
says whether it is held:

    onset   -1 nothing begins;  0.2 + 0.8 v / 127 a note of velocity v begins here
    held    -1 silent; 1 sounding

Time is the only axis, so that a network sees every voice of a moment at once. A roll is decoded from its onsets: a note
lasts until its pitch is no longer held or struck again, which makes encode(decode(x)) = x for every roll of an encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.compose.score import STEP, Notes
from domains.audio.synth.drums import KIT
from shared.errors import UserError

SILENT, SOFTEST, LOUDEST = -1.0, 0.2, 1.0  # values of an onset channel: none, velocity 0, velocity 127


@dataclass(frozen=True)
class Lane:
    """The pitches of one role; `held` is False where notes have no length."""

    role: str
    pitches: tuple[int, ...]
    held: bool = True

    @property
    def channels(self) -> int:
        return len(self.pitches) * (2 if self.held else 1)


LANES: Final = (  # in the order of ROLES, the tracks of a score
    Lane("melody", tuple(range(48, 98))),
    Lane("chords", tuple(range(44, 80))),
    Lane("bass", tuple(range(24, 60))),
    Lane("drums", tuple(sorted(KIT)), held=False),
)
CHANNELS: Final = sum(lane.channels for lane in LANES)
LANE: Final = np.repeat(np.arange(len(LANES)), [lane.channels for lane in LANES])  # of each channel


def on_grid(notes: Notes) -> Notes:
    """The notes as a roll keeps them: whole sixteenths, at least one; pitches moved by octaves into their lanes.

    Drums last one sixteenth and take the nearest key of the kit; of two notes on one pitch the later ends the earlier,
    and of two at once the louder stays.
    """
    onset = np.rint(notes.onset / STEP).astype(np.int64)
    length = np.maximum(np.rint(notes.duration / STEP).astype(np.int64), 1)
    rows: dict[tuple[int, int, int], tuple[int, int]] = {}
    for k in range(len(notes)):
        track = int(notes.track[k])
        if track >= len(LANES):
            continue
        pitch = _inside(LANES[track], int(notes.pitch[k]))
        last = int(length[k]) if LANES[track].held else 1
        key, new = (track, pitch, int(onset[k])), (int(notes.velocity[k]), last)
        rows[key] = max(rows.get(key, new), new)
    ordered = sorted(rows.items())
    table = []
    for place, ((track, pitch, start), (velocity, last)) in enumerate(ordered):
        if place + 1 < len(ordered) and ordered[place + 1][0][:2] == (track, pitch):
            last = min(last, ordered[place + 1][0][2] - start)
        table.append((start * STEP, last * STEP, pitch, velocity, track))
    return Notes.of(np.array(table, float).reshape(-1, 5))


def _inside(lane: Lane, pitch: int) -> int:
    if not lane.held:
        return min(lane.pitches, key=lambda key: (abs(key - pitch), key))
    low, high = lane.pitches[0], lane.pitches[-1]
    if pitch < low:
        pitch += 12 * -(-(low - pitch) // 12)
    elif pitch > high:
        pitch -= 12 * -(-(pitch - high) // 12)
    return pitch


def encode(notes: Notes, first: int, steps: int) -> NDArray:
    """The roll (CHANNELS, steps) float32 of the notes that begin in sixteenths first .. first + steps - 1.

    What still sounds from before is left away, what sounds beyond is cut.
    """
    if steps < 1:
        raise UserError(f"a roll of {steps} sixteenths", where="roll", remedy="take one or more")
    roll = np.full((CHANNELS, steps), SILENT, np.float32)
    kept = on_grid(notes)
    onset = np.rint(kept.onset / STEP).astype(np.int64) - first
    length = np.rint(kept.duration / STEP).astype(np.int64)
    base = 0
    for track, lane in enumerate(LANES):
        here = np.flatnonzero((kept.track == track) & (onset >= 0) & (onset < steps))
        row = base + np.searchsorted(np.array(lane.pitches), kept.pitch[here])
        roll[row, onset[here]] = SOFTEST + (LOUDEST - SOFTEST) * kept.velocity[here] / 127
        if lane.held:
            for r, k in zip(row + len(lane.pitches), here, strict=True):
                roll[r, onset[k] : onset[k] + length[k]] = 1
        base += lane.channels
    return roll


def decode(roll: NDArray) -> Notes:
    """The notes of a roll (CHANNELS, steps), whose values may be any numbers: above 0 is a note."""
    if roll.ndim != 2 or roll.shape[0] != CHANNELS:
        raise UserError(f"a roll has shape {roll.shape}", where="roll", remedy=f"pass ({CHANNELS}, steps)")
    steps, base = roll.shape[1], 0
    rows = []
    for track, lane in enumerate(LANES):
        count = len(lane.pitches)
        struck = roll[base : base + count] > 0
        pitch, onset = np.nonzero(struck)
        ends = onset + 1
        if lane.held:
            stops = struck | (roll[base + count : base + 2 * count] <= 0)
            place = np.where(stops, np.arange(steps), steps)
            following = np.minimum.accumulate(place[:, ::-1], axis=1)[:, ::-1]  # the first stop at or after a step
            following = np.concatenate([following[:, 1:], np.full((count, 1), steps)], axis=1)
            ends = np.maximum(following[pitch, onset], onset + 1)
        value = (roll[base : base + count][pitch, onset] - SOFTEST) / (LOUDEST - SOFTEST)
        velocity = np.clip(np.rint(127 * value), 1, 127)
        table = np.array(lane.pitches)[pitch], velocity, np.full(len(onset), track)
        rows.append(np.column_stack([onset * STEP, (ends - onset) * STEP, *table]))
        base += lane.channels
    return Notes.of(np.concatenate(rows))
