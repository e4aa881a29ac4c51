"""From controls in seconds to what the network is asked, sixteenth by sixteenth of the user's own beat grid.

The roll begins on the bar line at or before the start of the clip. Notes are moved to the nearest sixteenth, read with
or without swing, whichever they are nearer to; sixteenths belong to a span when their middle does.

A key acts as a law: pitch classes outside of it are known to be silent, but for those of a melody or a chord that is
asked for at that moment. Where no chords are asked for, the first and the last bar rest on the chord of the tonic.
What is `strict` is law as well: the asked melody is played note for note, asked drums stroke for stroke, chords and
bass sound tones of the asked chords alone, and velocities keep to the asked curve (`levelled`). Otherwise the model
follows them as well as it has learned to.
Dynamics are asked in dB of the mix: the shape goes to the velocities, the level is set when the music is played.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.compose.composer import LOUDEST, QUIETEST
from domains.audio.compose.score import METRES, STEP, Notes, level_of, velocity_of
from domains.audio.compose.truth import TYPICAL
from domains.audio.controls.beats import BeatGrid, Metre
from domains.audio.controls.chords import Chord
from domains.audio.controls.controls import Controls
from domains.audio.controls.frames import inside
from domains.audio.controls.notes import Note
from domains.audio.score import roll, wishes
from domains.audio.score.operations import MOST_BARS
from shared.errors import UserError

SLOWEST, FASTEST = 42.0, 200.0  # quarter notes a minute of the music that the model learned from
EIGHTHS: Final = 1.0  # quarter notes that a swung pair of eighths lasts
ACCENT: Final = 2.0  # dB by which a note may stand out of asked dynamics
TRIPLET: Final = 2 / 3  # swing of a pair of eighths that is played as a triplet


@dataclass(frozen=True, eq=False)
class Plan:
    """What one piece is to be, on its grid.

    controls  as asked, with a grid;  first  sixteenth of the grid at which the roll begins, 0 or whole bars before
    asked     wishes by kind (channels, steps), bound (4, steps);  steps  sixteenths of the clip, the last bar filled up
    law       (CHANNELS of the roll, steps) what stands there whatever the model says, NaN where it is free
    strict    whether melody, dynamics, chords and drums are law, too
    tempo     (steps,) quarter notes a minute;  bars  the sixteenths at which bars begin, 0 first
    swing     (share, unit in quarter notes), (0.5, 1) is straight;  notes  what cannot be followed, in sentences
    """

    controls: Controls
    first: int
    steps: int
    asked: dict[str, NDArray]
    bound: NDArray
    law: NDArray
    strict: bool
    tempo: NDArray
    bars: tuple[int, ...]
    swing: tuple[float, float]
    notes: tuple[str, ...]

    @property
    def grid(self) -> BeatGrid:
        """The beat grid, which a plan always has."""
        assert self.controls.grid is not None
        return self.controls.grid

    @property
    def key(self) -> NDArray[np.float32] | None:
        """What the network is told of the key."""
        from domains.audio.score.model import key_vector  # needs torch, which playing and judging do not

        key = self.controls.key
        return None if key is None else key_vector(key.pitch_classes, key.tonic)

    def seconds(self, steps: NDArray) -> NDArray[np.float64]:
        """When what stands on these sixteenths of the roll is played, with swing."""
        places = swung((np.asarray(steps) + self.first) * STEP, self.swing)
        return np.array([self.grid.seconds_at(float(place)) for place in places.reshape(-1)]).reshape(places.shape)


def plan(
    controls: Controls,
    *,
    drums: Sequence[Note] = (),
    swing: tuple[float, float] = (0.5, EIGHTHS),
    strict: bool = True,
) -> Plan:
    """The plan of controls that have a beat grid.

    drums   strokes that are asked for, pitches of the percussion map; they bind where rhythm does
    Raises UserError for more than 64 bars and for bars that do not begin on a sixteenth.
    """
    grid = controls.grid
    assert grid is not None
    first, bars = _bars(grid, controls.length)
    lines, metres = [line - first for line, _ in bars], [metre for _, metre in bars]
    steps = lines[-1] + round(metres[-1].quarters / STEP)
    places = (first + np.arange(steps + 1)) * STEP
    times = np.array([grid.seconds_at(float(place)) for place in places])
    middles = (times[1:] + times[:-1]) / 2
    tempo = 60 * STEP / np.diff(times)
    notes = _unknown(grid, tempo)
    if any(metre.quarters % swing[1] for metre in metres) or any(metre.unit > 4 for metre in metres):
        swing = (0.5, EIGHTHS)
    lines_of_tune, said = _tune(controls.melody or (), grid, first, swing)
    levels, quiet = _levels(controls, middles)
    beats = [
        line + round(n * metre.beat / STEP)
        for line, metre in zip(lines, metres, strict=True)
        for n in range(metre.beats)
    ]
    chords, spans = _chords(controls, middles, lines)
    strokes = [(round(grid.quarter_at(note.start) / STEP) - first, note.pitch, note.velocity) for note in drums]
    asked = wishes.of_lines(
        steps,
        melody=lines_of_tune,
        levels=levels,
        chords=chords,
        strokes=[(step, key) for step, key, _ in strokes],
        beats=beats,
        downbeats=lines,
    )
    bound = np.stack(
        [
            inside(controls.bound("melody"), middles),
            inside(controls.bound("dynamics"), middles),
            spans,
            inside(controls.bound("rhythm"), middles) & bool(drums),
        ]
    ).astype(np.float32)
    law = np.where(_forbidden(controls, asked, bound), roll.SILENT, np.nan).astype(np.float32)
    if strict:
        played = [(*line, note.velocity) for line, note in zip(lines_of_tune, controls.melody or (), strict=True)]
        _lay_down(law, asked, bound, played, strokes)
    told = (*notes, *said, *quiet)
    return Plan(controls, first, steps, asked, bound, law, strict, tempo, tuple(lines), swing, told)


def swung(quarters: NDArray, swing: tuple[float, float]) -> NDArray[np.float64]:
    """Where places in quarter notes are played: the middle of each unit u moves to share u, what lies between along."""
    share, unit = swing
    q = np.asarray(quarters, float)
    start = np.floor(q / unit + 1e-9) * unit
    part = (q - start) / unit
    return start + unit * np.where(part < 0.5, 2 * share * part, share + (2 * part - 1) * (1 - share))


def straightened(quarters: NDArray, swing: tuple[float, float]) -> NDArray[np.float64]:
    """The inverse of `swung`."""
    share, unit = swing
    q = np.asarray(quarters, float)
    start = np.floor(q / unit + 1e-9) * unit
    part = (q - start) / unit
    return start + unit * np.where(part < share, part / (2 * share), 0.5 + (part - share) / (2 * (1 - share)))


def _bars(grid: BeatGrid, length: float) -> tuple[int, list[tuple[int, Metre]]]:
    """The first sixteenth of the roll, and the sixteenth and metre of every bar from there to the end of the clip."""
    found = list(grid.bars(length))
    if any((place / STEP) % 1 or (metre.quarters / STEP) % 1 for place, metre in found):
        raise UserError(
            "has bars that do not begin on a sixteenth", where="grid.metres", remedy="count in 1, 2, 4, 8 or 16"
        )
    before = 0  # bars in front of the first downbeat, for a pickup
    lead = grid.metres[0].quarters
    while grid.seconds_at(-before * lead) > 1e-9:
        before += 1
    if before + len(found) > MOST_BARS:
        raise UserError(
            f"{before + len(found)} bars", where="grid", remedy=f"ask for {MOST_BARS} at most, or give --bars"
        )
    early = [(round(-n * lead / STEP), grid.metres[0]) for n in range(before, 0, -1)]
    bars = [*early, *((round(place / STEP), metre) for place, metre in found)]
    return bars[0][0], bars


def _unknown(grid: BeatGrid, tempo: NDArray) -> list[str]:
    """What of the grid the model has never heard."""
    notes = []
    odd = sorted({metre.name for metre in grid.metres} - set(METRES))
    if odd:
        notes.append(
            f"the model knows {', '.join(METRES)}; in {', '.join(odd)} it has the bars and beats but no accents"
        )
    if tempo.min() < SLOWEST or tempo.max() > FASTEST:
        notes.append(
            f"{tempo.min():.3g} to {tempo.max():.3g} quarter notes a minute: the model knows {SLOWEST:g} to "
            f"{FASTEST:g}, it writes for the nearest of these"
        )
    return notes


def _tune(
    melody: Sequence[Note], grid: BeatGrid, first: int, swing: tuple[float, float]
) -> tuple[list[wishes.Line], list[str]]:
    """The melody on sixteenths, read straight or swung, whichever is nearer."""
    if not melody:
        return [], []
    edges = np.array([[grid.quarter_at(note.start), grid.quarter_at(note.end)] for note in melody])
    ways = [(0.5, EIGHTHS), *([swing] if swing[0] > 0.5 else []), (TRIPLET, EIGHTHS)]
    read = [straightened(edges, way) / STEP for way in ways]
    off = [float(np.abs(each[:, 0] - np.rint(each[:, 0])).mean()) for each in read]
    best = int(np.argmin(np.array(off) + 0.02 * np.arange(len(ways))))  # straight unless swing is clearly nearer
    on = np.rint(read[best]).astype(int) - first
    on[:, 1] = np.maximum(on[:, 1], on[:, 0] + 1)
    lines = [(int(start), int(end), note.pitch) for (start, end), note in zip(on, melody, strict=True)]
    notes = []
    if off[best] > 0.15:
        notes.append(f"the melody lies {off[best]:.2f} of a sixteenth off the grid on average and was moved to it")
    return lines, notes


def _levels(controls: Controls, middles: NDArray) -> tuple[NDArray | None, list[str]]:
    """dB below full velocity at every sixteenth: the asked curve, lowered as a whole where it would be too loud."""
    if controls.dynamics is None:
        return None, []
    level = controls.dynamics.at(middles) - TYPICAL
    where = inside(controls.bound("dynamics"), middles)
    counted = level[where] if where.any() else level
    level = level - max(float(counted.max()) - LOUDEST, 0.0)
    below = float((level[where] < QUIETEST).mean()) if where.any() else 0.0
    said = [f"{below:.0%} of the curve is quieter than any note can be beside its loudest place"] if below else []
    return np.clip(level, QUIETEST, LOUDEST), said


def _chords(controls: Controls, middles: NDArray, lines: Sequence[int]) -> tuple[list[Chord | None], NDArray]:
    """The chord of every sixteenth and whether it binds."""
    out: list[Chord | None] = [None] * len(middles)
    for chord in controls.chords or ():
        low, high = np.searchsorted(middles, [chord.start, chord.end])
        out[low:high] = [chord] * int(high - low)
    binds = inside(controls.bound("chords"), middles) & np.array([chord is not None for chord in out])
    if controls.key is not None and not controls.given("chords"):
        home = Chord(0, 1, controls.key.tonic, "maj" if controls.key.mode == "major" else "min")
        for low, high in {(lines[0], lines[1] if len(lines) > 1 else len(middles)), (lines[-1], len(middles))}:
            out[low:high] = [home] * (high - low)
            binds[low:high] = True
    return out, binds


def levelled(x: NDArray, plan: Plan) -> NDArray:
    """A roll whose velocities keep to the asked dynamics where these are law and bind: accents of 2 dB at most stay."""
    bound = plan.bound[wishes.KINDS.index("dynamics")] > 0
    if not plan.strict or not bound.any():
        return x
    level = plan.asked["dynamics"][0] * wishes.SPAN + wishes.MIDDLE
    out, base = x.copy(), 0
    struck = np.zeros(x.shape, bool)
    for lane in roll.LANES:
        rows = slice(base, base + len(lane.pitches))
        struck[rows] = (x[rows] > 0) & bound
        base += lane.channels
    share = (x[struck] - roll.SOFTEST) / (roll.LOUDEST - roll.SOFTEST)
    own = level_of(np.clip(127 * share, 1, 127))
    accent = np.clip(own - own.mean(), -ACCENT, ACCENT) if len(own) else own
    wanted = velocity_of(np.minimum(level[np.nonzero(struck)[1]] + accent, 0))
    out[struck] = roll.SOFTEST + (roll.LOUDEST - roll.SOFTEST) * wanted / 127
    return out


def _lay_down(
    law: NDArray,
    asked: dict[str, NDArray],
    bound: NDArray,
    tune: Sequence[tuple[int, int, int, int]],
    strokes: Sequence[tuple[int, int, int]],
) -> None:
    """Write melody, drums and chords into a law (CHANNELS, steps) where they bind."""
    binds = dict(zip(wishes.KINDS, bound > 0, strict=True))
    steps, base = law.shape[1], 0
    rows: list[tuple[float, float, int, int, int]] = [
        (start * STEP, (end - start) * STEP, pitch, velocity, 0) for start, end, pitch, velocity in tune
    ]
    rows += [(step * STEP, STEP, key, velocity, len(roll.LANES) - 1) for step, key, velocity in strokes]
    given = roll.encode(Notes.of(rows), 0, steps)
    for lane in roll.LANES:
        own = slice(base, base + lane.channels)
        where = binds.get(lane.role, np.zeros(steps, bool)) if lane.role in ("melody", "drums") else binds["chords"]
        if lane.role in ("melody", "drums"):
            law[own] = np.where(where, given[own], law[own])
        else:
            tones = _tones(asked, where)[np.array(lane.pitches) % 12]
            law[own] = np.where(where & ~np.concatenate([tones, tones]), roll.SILENT, law[own])
        base += lane.channels


def _tones(asked: dict[str, NDArray], where: NDArray) -> NDArray[np.bool_]:
    """(12, steps) the pitch classes of the asked chords, where they bind."""
    out = np.zeros((12, len(where)), bool)
    for step in np.flatnonzero(where):
        root, quality = np.argmax(asked["chords"][:12, step]), np.argmax(asked["chords"][12:, step])
        out[(root + np.array(list(wishes.QUALITIES.values())[quality])) % 12, step] = True
    return out


def _forbidden(controls: Controls, asked: dict[str, NDArray], bound: NDArray) -> NDArray[np.bool_]:
    """Channels of the roll that the key forbids, at each sixteenth."""
    steps = bound.shape[1]
    out = np.zeros((roll.CHANNELS, steps), bool)
    if controls.key is None:
        return out
    allowed = np.zeros((12, steps), bool)
    allowed[list(controls.key.pitch_classes)] = True
    allowed |= (asked["melody"] > 0) & (bound[wishes.KINDS.index("melody")] > 0)
    allowed |= _tones(asked, bound[wishes.KINDS.index("chords")] > 0)
    base = 0
    for lane in roll.LANES:
        if lane.held:
            rows = ~allowed[np.array(lane.pitches) % 12]
            out[base : base + lane.channels] = np.concatenate([rows, rows])
        base += lane.channels
    return out
