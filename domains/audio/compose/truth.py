"""What is true of a score, in the control language: every note, beat, chord and level is known, not estimated.

`controls_of` gives the melody, the dynamics as asked, the beat grid, chords, key and tags; `curves_of` the same a frame
of the paper (22 050 Hz, hop 256). The score's dynamics count below full velocity, those of a control below full scale
of the mix; between the two lies a constant that hangs on the instruments. It is taken from the recording where there
is one, so that the curve has its level; its shape is the score's own.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from domains.audio.compose.score import MAJOR_LIKE, METRES, STEP, Score
from domains.audio.controls.beats import BeatGrid, Metre
from domains.audio.controls.beats import Tempo as TempoChange
from domains.audio.controls.chords import Chord
from domains.audio.controls.controls import Controls
from domains.audio.controls.dynamics import LOUDEST, QUIETEST, Dynamics
from domains.audio.controls.frames import HOP, RATE, Curves, rasterise
from domains.audio.controls.notes import Key, Note, Track, skyline
from domains.audio.controls.tags import Tags
from domains.audio.synth.render import Render

TYPICAL: Final = -19.4  # dB of a mix whose notes are struck with full velocity: the mean over the training split


def controls_of(score: Score, recording: Render | None = None) -> Controls:
    """The controls that the score follows exactly; `recording` gives the dynamics their level."""
    harmony, bars = score.harmony, METRES[score.metre]
    seconds = score.tempo.seconds(np.arange(len(score.dynamics)) * STEP)
    level = np.clip(score.dynamics + _offset(score, recording), QUIETEST, LOUDEST)
    return Controls(
        length=score.seconds_in_all,
        melody=skyline(_notes(score, 0)),
        dynamics=Dynamics.through(np.minimum(seconds, score.seconds_in_all), level, within=0.02),
        grid=BeatGrid(
            tuple(TempoChange(float(q), float(b)) for q, b in zip(score.tempo.place, score.tempo.bpm, strict=True)),
            (Metre(0, *bars),),
        ),
        chords=tuple(
            Chord(float(start), float(end), int(root), quality)
            for start, end, root, quality in zip(
                score.tempo.seconds(harmony.onset),
                score.tempo.seconds(harmony.onset + harmony.duration),
                harmony.root,
                harmony.quality,
                strict=True,
            )
        ),
        key=Key(score.tonic, "major" if score.mode in MAJOR_LIKE else "minor"),
        tags=Tags(score.genre, score.mood),
    )


def curves_of(score: Score, rate: int = RATE, hop: int = HOP, frames: int | None = None) -> Curves:
    """Melody class, dynamics, beats and chords a frame; see `controls.frames.rasterise`."""
    return rasterise(controls_of(score), rate, hop, frames)


def tracks_of(score: Score) -> tuple[Track, ...]:
    """All tracks that play, for a MIDI file."""
    return tuple(
        Track(track.role, notes, track.program, track.drums)
        for number, track in enumerate(score.tracks)
        if (notes := _notes(score, number))
    )


def _notes(score: Score, track: int) -> tuple[Note, ...]:
    """The notes of a track as they are played, in seconds."""
    own = score.notes.take(score.notes.track == track)
    start, end = score.seconds(own.onset), score.seconds(own.end)
    return tuple(Note(float(start[k]), float(end[k]), int(own.pitch[k]), int(own.velocity[k])) for k in range(len(own)))


def _offset(score: Score, recording: Render | None) -> float:
    """dB between the level of the mix and what the score asks."""
    if recording is None:
        return TYPICAL
    body = recording.mix[:, : recording.body].astype(np.float64).mean(0)
    asked = score.level(score.tempo.quarters(np.arange(len(body)) / recording.rate))
    return float(10 * np.log10(np.mean(body**2) / np.mean(10 ** (asked / 10))))
