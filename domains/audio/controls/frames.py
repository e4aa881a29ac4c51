"""Controls as curves with one row a spectrogram frame, as Music ControlNet reads them (Wu et al. 2023).

Frame t looks at the samples around t * hop (a centred window), so a clip of n samples has ceil(n / hop) frames and
frame t stands for the time t * hop / rate. The paper: 22 050 Hz, hop 256, 86.13 frames a second.

melody (T, 12)    one-hot pitch class; a frame without a note is all zero
dynamics (T, 1)   dB
rhythm (T, 2)     probability of a beat, of a downbeat: exp(-d^2 / 2 w^2), d the distance to the nearest, w 12 ms
chords (T, 24)    one-hot root (12), one-hot quality (12)
mask (T, 4)       1 where melody, dynamics, rhythm, chords bind. Curves are 0 where they do not
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.controls.chords import QUALITIES, Chord
from domains.audio.controls.controls import Controls
from domains.audio.controls.notes import Note
from domains.audio.controls.spans import KINDS, Span

RATE: Final = 22_050  # Hz, the paper's
HOP: Final = 256  # samples from frame to frame, the paper's
PEAK: Final = 0.012  # seconds; standard deviation of the peak that stands for a beat, one frame of the paper
WIDTHS: Final = {"melody": 12, "dynamics": 1, "rhythm": 2, "chords": 12 + len(QUALITIES)}

Curve = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Curves:
    """Curves of a clip, float32; see the module for shapes. An absent control is all zero and so is its mask."""

    melody: Curve
    dynamics: Curve
    rhythm: Curve
    chords: Curve
    mask: Curve

    def of(self, kind: str) -> Curve:
        """The curve of one of `KINDS`."""
        found: Curve = getattr(self, kind)
        return found

    def bound(self, kind: str) -> NDArray[np.bool_]:
        """(T,) where one of `KINDS` binds."""
        return np.asarray(self.mask[:, KINDS.index(kind)] > 0)


def count(samples: int, hop: int = HOP) -> int:
    """Frames of a clip of so many samples."""
    return -(-samples // hop)


def frame_times(frames: int, rate: int = RATE, hop: int = HOP) -> NDArray[np.float64]:
    """(T,) seconds that the frames stand for."""
    return np.arange(frames, dtype=np.float64) * (hop / rate)


def rasterise(controls: Controls, rate: int = RATE, hop: int = HOP, frames: int | None = None) -> Curves:
    """The curves of controls; `frames` cuts them, or goes on beyond the clip with nothing asked for."""
    total = count(controls.samples(rate), hop) if frames is None else frames
    times = frame_times(total, rate, hop)
    mask = np.stack([inside(controls.bound(kind), times) for kind in KINDS], axis=1).astype(np.float32)
    drawn = {kind: np.zeros((total, width), dtype=np.float32) for kind, width in WIDTHS.items()}
    if controls.melody is not None:
        drawn["melody"] = melody_curve(controls.melody, times)
    if controls.dynamics is not None:
        drawn["dynamics"] = controls.dynamics.at(times)[:, None].astype(np.float32)
    if controls.grid is not None:
        peaks = (controls.grid.beats(controls.length), controls.grid.downbeats(controls.length))
        drawn["rhythm"] = np.stack([beat_curve(each, times) for each in peaks], axis=1)
    if controls.chords is not None:
        drawn["chords"] = chord_curve(controls.chords, times)
    return Curves(**{kind: curve * mask[:, n : n + 1] for n, (kind, curve) in enumerate(drawn.items())}, mask=mask)


def inside(spans: Sequence[Span], times: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(T,) which times lie in one of the spans (start included, end not)."""
    found = np.zeros(len(times), dtype=bool)
    for span in spans:
        found |= (times >= span.start) & (times < span.end)
    return found


def melody_curve(notes: Sequence[Note], times: NDArray[np.float64]) -> Curve:
    """(T, 12) one-hot pitch class of the note that sounds at each time."""
    curve = np.zeros((len(times), 12), dtype=np.float32)
    for note in notes:
        first, last = np.searchsorted(times, [note.start, note.end])
        curve[first:last, note.pitch_class] = 1.0
    return curve


def chord_curve(chords: Sequence[Chord], times: NDArray[np.float64]) -> Curve:
    """(T, 24) root and quality of the chord that holds at each time."""
    curve = np.zeros((len(times), WIDTHS["chords"]), dtype=np.float32)
    for chord in chords:
        first, last = np.searchsorted(times, [chord.start, chord.end])
        curve[first:last, [chord.root, 12 + list(QUALITIES).index(chord.quality)]] = 1.0
    return curve


def beat_curve(beats: NDArray[np.float64], times: NDArray[np.float64]) -> Curve:
    """(T,) 1 at a beat, falling off as a Gaussian of 12 ms; what is below 0.001 is 0."""
    if not len(beats):
        return np.zeros(len(times), dtype=np.float32)
    after = np.searchsorted(beats, times)
    before = beats[np.maximum(after - 1, 0)]
    distance = np.minimum(np.abs(times - before), np.abs(beats[np.minimum(after, len(beats) - 1)] - times))
    curve = np.exp(-(distance**2) / (2 * PEAK**2))
    return np.where(curve < 1e-3, 0.0, curve).astype(np.float32)
