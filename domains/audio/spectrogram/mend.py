"""`suite audio continue` and `inpaint` of recordings: the spectrogram engine makes bars, every other sample stays.

The new bars are made with what stands up to `CONTEXT` seconds around them, which the network is shown at every noise
level, on the beat that is heard in the recording. At a border, what is kept gives way to what is made over `FADE`
seconds.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.controls.beats import BeatGrid
from domains.audio.controls.controls import Controls
from domains.audio.controls.frames import RATE
from domains.audio.controls.json_form import read_controls
from domains.audio.controls.spans import Span
from domains.audio.controls.tags import Tags
from domains.audio.data import Recording, read_channels, read_recording
from domains.audio.export import resampled
from domains.audio.score.operations import AUTO, not_understood
from domains.audio.spectrogram.generate import FADE, Kept
from domains.audio.spectrogram.model import LONGEST, shipped
from domains.audio.spectrogram.run import Made, finish, takes_of
from domains.audio.studio.mend import asked_in
from domains.audio.studio.operations import ContinueMusic, InpaintMusic, Mending
from shared.errors import UserError
from shared.front.operation import Operation, Outcome, Report

CONTEXT: Final = 4.0  # seconds on either side


def go_on(settings: ContinueMusic, report: Report, operation: Operation) -> Outcome:
    """The recording, and `bars` more of it; what is there is filled up to whole bars."""
    began, (recording, grid) = time.perf_counter(), _read(settings)
    there = len(list(grid.bars(recording.seconds)))
    new = (recording.seconds, grid.bars_last(there + settings.bars) + grid.start)
    return _mended(settings, report, operation, recording, grid, new, began)


def inpaint(settings: InpaintMusic, report: Report, operation: Operation) -> Outcome:
    """The recording with the bars from `from_bar` to `to_bar` made anew."""
    if settings.parts:
        raise UserError("a recording has no parts", where="--parts", remedy="leave --parts out, or give a MIDI file")
    began, (recording, grid) = time.perf_counter(), _read(settings)
    there = len(list(grid.bars(recording.seconds)))
    to_bar = settings.to_bar or there
    for name, bar in (("--from-bar", settings.from_bar), ("--to-bar", to_bar)):
        if bar > there:
            raise UserError(f"bar {bar} of {there}", where=name, remedy=f"the last bar is {there}")
    begin = max(0.0, grid.bars_last(settings.from_bar - 1) + grid.start)
    end = min(grid.bars_last(to_bar) + grid.start, recording.seconds)
    return _mended(settings, report, operation, recording, grid, (begin, end), began)


def _read(settings: Mending) -> tuple[Recording, BeatGrid]:
    """The recording at 22 050 Hz, and the beat grid of the controls, or the one that is heard."""
    if settings.stems:
        raise UserError("a recording has no parts", where="--stems", remedy="leave --stems out, or give a MIDI file")
    shipped()  # refuses before anything is read
    recording = read_recording(settings.music)
    said = None if settings.controls is None else read_controls(settings.controls).grid
    if said is not None:
        return recording, said
    from domains.audio.extract.extract import extract

    found = extract(recording.wave, kinds=("rhythm",)).controls.grid
    if found is None:
        raise UserError(
            "no steady beat is heard",
            where=Path(settings.music).name,
            remedy="give --controls with a beat grid, as suite audio extract --bpm writes them",
        )
    return recording, found


def _mended(
    settings: Mending,
    report: Report,
    operation: Operation,
    recording: Recording,
    grid: BeatGrid,
    new: tuple[float, float],
    began: float,
) -> Outcome:
    """Takes in which the seconds from new[0] to new[1] are made and all else stays."""
    begin, end = new
    context = min(CONTEXT, (LONGEST - (end - begin)) / 2)
    if context < 1:
        raise UserError(
            f"{end - begin:.1f} s are to be made at once", where=settings.music, remedy=f"ask for {LONGEST - 2:g} s"
        )
    whole = max(end, recording.seconds)
    first, last = max(0.0, begin - context), min(whole, end + context)
    controls = Controls(length=whole, grid=grid, tags=Tags.read(settings.tags)[0])
    controls = replace(asked_in(settings, controls, new), length=whole)
    part = controls.crop(first, last)
    begun = round(first * RATE)
    around = ((0.0, begin - first), (end - first, part.length))
    spans = tuple(Span(start, stop) for start, stop in around if stop - start > 1 / RATE)
    kept = Kept(recording.wave[begun : begun + part.samples(RATE)], spans)
    waves, facts = takes_of(settings, report, part, kept if spans else None)
    rate = int(settings.rate)
    original = read_channels(settings.music, rate=rate, start=0.0, seconds=recording.seconds)
    made = [_placed(original, recording.wave, wave, new, begun / RATE, rate) for wave in waves]
    notes = [
        *recording.notes,
        *not_understood(settings.tags),
        f"made: {begin:.2f} to {end:.2f} s, in one channel, to {RATE / 2000:.4g} kHz",
        f"the beat is {grid.tempos[0].qpm / grid.metres[0].beat:.4g} BPM in {grid.metres[0].name}",
    ]
    if settings.key != AUTO:
        notes.append("a key alone is not followed by this engine; melody and chords are")
    return finish(settings, report, operation, controls, made, {**facts, "notes": notes}, began=began)


def _placed(
    original: NDArray[np.float32],
    heard: NDArray[np.float32],
    made: NDArray[np.float32],
    new: tuple[float, float],
    first: float,
    rate: int,
) -> Made:
    """The recording with the seconds of `new` from what was made, which begins at `first`; at both rates."""
    return Made(
        _blended(heard[:, None], made, new, first, RATE)[:, 0],
        _blended(original, resampled(made, RATE, rate), new, first, rate),
    )


def _blended(
    wave: NDArray[np.float32], made: NDArray[np.float32], new: tuple[float, float], first: float, rate: int
) -> NDArray[np.float32]:
    """(n, channels): nothing changes farther than FADE from what is new."""
    n = max(len(wave), round(new[1] * rate))
    out = np.pad(wave, ((0, n - len(wave)), (0, 0)))
    begin = round(first * rate)
    part = slice(begin, min(begin + len(made), n))
    time_of = np.arange(part.start, part.stop) / rate
    share = np.interp(time_of, [new[0] - FADE, new[0], new[1], new[1] + FADE], [0, 1, 1, 0]).astype(np.float32)
    ours = made[: part.stop - part.start, None]
    out[part] = np.where(share[:, None] == 0, out[part], out[part] + share[:, None] * (ours - out[part]))
    return out
