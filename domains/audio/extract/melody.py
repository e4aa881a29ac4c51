"""The melody: pitch classes frame by frame as in Music ControlNet, and notes made of frames.

A frame's class is the argmax of its chroma: power spectrum of the wave high-passed at middle C, times the chroma filter
bank with tuning 0. A frame too quiet to tell is none (the paper would say C). In a mix, chords and drums win the argmax
now and then: this follows the strongest tone, which is the melody only in a solo.
For one voice alone YIN (de Cheveigne and Kawahara 2002) is surer, and knows the octave.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.controls.frames import HOP, RATE, frame_times
from domains.audio.controls.midi import LOUDEST_NOTE
from domains.audio.controls.notes import Note
from domains.audio.extract.spectra import WINDOW

GATE: Final = -50.0  # dB below the loudest second, under which a frame has no melody
FLOOR: Final = -75.0  # dB of full scale, the same for a quiet recording
SHORTEST: Final = 0.07  # seconds of a note
LOUDER: Final = 1.5  # dB by which a pitch that is held becomes louder when it is struck again
LOWEST, HIGHEST = 60, 107  # MIDI: middle C to B7, where a frame of a mix is searched
SUNG: Final = (65.0, 2100.0)  # Hz, from C2 to C7: what hums, whistles and most instruments reach


@cache
def chroma_bank() -> NDArray[np.float32]:
    """(12, 1025) librosa's chroma filters, untuned."""
    import librosa

    return np.asarray(librosa.filters.chroma(sr=RATE, n_fft=WINDOW, tuning=0.0, n_chroma=12), dtype=np.float32)


@cache
def _semitones() -> NDArray[np.float32]:
    """(48, 1025) triangles a semitone wide around the pitches from LOWEST on."""
    bins = np.maximum(np.arange(WINDOW // 2 + 1) * RATE / WINDOW, 1.0)
    pitch = 69 + 12 * np.log2(bins / 440.0)
    return np.maximum(0, 1 - np.abs(pitch[None] - np.arange(LOWEST, HIGHEST + 1)[:, None])).astype(np.float32)


def pitch_classes(above: NDArray[np.float32]) -> NDArray[np.int64]:
    """(1025, T) high-passed power -> (T,) classes 0 to 11, as the paper takes them."""
    return np.asarray((chroma_bank() @ above).argmax(axis=0))


def strongest(above: NDArray[np.float32], classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """(T,) MIDI pitches: of every frame's class the octave that is loudest above middle C."""
    tones = _semitones() @ above  # (48, T)
    octaves = tones.reshape(-1, 12, tones.shape[1])  # LOWEST is a C
    return np.asarray(LOWEST + classes + 12 * octaves[:, classes, np.arange(len(classes))].argmax(axis=0))


def heard(levels: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(T,) dB -> (T,) where a frame is loud enough to have a melody."""
    return np.asarray(levels > max(FLOOR, float(levels.max(initial=FLOOR)) + GATE))


def one_hot(classes: NDArray[np.int64], sounding: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(T, 12) the curve of the paper; all zero where nothing sounds."""
    curve = np.zeros((len(classes), 12), dtype=np.float32)
    curve[np.arange(len(classes)), classes] = sounding
    return curve


def sung(wave: NDArray[np.float32], frames: int) -> NDArray[np.int64]:
    """(T,) MIDI pitches of one voice by YIN, minute by minute."""
    import librosa

    found, part = [], 5120
    for first in range(0, frames, part):
        wanted = min(part, frames - first)
        begin, end = first * HOP - WINDOW, (first + wanted - 1) * HOP + WINDOW
        piece = wave[max(0, begin) : end]
        piece = np.pad(piece, (max(0, -begin), end - max(0, begin) - len(piece)))
        f0 = librosa.yin(piece, fmin=SUNG[0], fmax=SUNG[1], sr=RATE, frame_length=WINDOW, hop_length=HOP, center=True)
        lead = WINDOW // HOP
        found.append(np.rint(librosa.hz_to_midi(f0[lead : lead + wanted])).astype(np.int64))
    return np.concatenate(found)


def notes(
    pitches: NDArray[np.int64],
    sounding: NDArray[np.bool_],
    levels: NDArray[np.float64],
    onsets: NDArray[np.int64],
    length: float,
) -> tuple[Note, ...]:
    """Notes of a pitch a frame.

    pitches, sounding, levels   (T,) MIDI pitch, whether there is one, dB
    onsets                      frames at which something begins: a held pitch is struck again there
    What lasts less than 70 ms is the attack of the note that follows, or nothing. The velocity says the loudest frame,
    by the rule by which a MIDI file is read.
    """
    from scipy.ndimage import median_filter

    shortest = max(1, round(SHORTEST * RATE / HOP))
    line = median_filter(np.where(sounding, pitches, -1), size=2 * (shortest // 2) + 1, mode="nearest")
    borders = np.flatnonzero(np.diff(line) != 0) + 1
    begins = sorted({0, *borders.tolist(), *_struck_again(onsets, levels, borders, shortest)})
    runs = _joined([(a, b) for a, b in zip(begins, [*begins[1:], len(line)], strict=True)], line, shortest)
    times = frame_times(len(line) + 1)
    made: list[Note] = []
    for first, last in runs:
        start, end = float(times[first]), min(float(times[last]), length)
        loud = float(levels[first:last].max())
        velocity = int(np.clip(np.rint(127 * 10 ** ((loud - LOUDEST_NOTE) / 40)), 1, 127))
        if start < end:
            made.append(Note(start, end, int(line[last - 1]), velocity))
    return tuple(made)


def _struck_again(
    onsets: NDArray[np.int64], levels: NDArray[np.float64], borders: NDArray[np.int64], shortest: int
) -> list[int]:
    """Onsets at which it becomes louder and that are not a change of pitch anyway."""
    found = []
    for frame in onsets.tolist():
        before, after = levels[max(0, frame - shortest) : frame + 1], levels[frame : frame + shortest + 1]
        apart = not len(borders) or np.abs(borders - frame).min() >= shortest
        if apart and 0 < frame < len(levels) and after.max() - before.min() >= LOUDER:
            found.append(frame)
    return found


def _joined(runs: list[tuple[int, int]], line: NDArray[np.int64], shortest: int) -> list[tuple[int, int]]:
    """Runs of frames that are notes: a flicker in front of one belongs to it, one that leads nowhere is dropped."""
    found: list[tuple[int, int]] = []
    waiting: int | None = None  # where a flicker began that touches what comes next
    for first, last in runs:
        if line[first] < 0:
            waiting = None
        elif last - first >= shortest:
            found.append((first if waiting is None else waiting, last))
            waiting = None
        elif waiting is None:
            waiting = first
    return found
