"""All controls of a recording at once: one pass over its frames, every control with how it was found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.controls.controls import Controls
from domains.audio.controls.dynamics import Dynamics
from domains.audio.controls.frames import RATE, count, frame_times
from domains.audio.controls.spans import KINDS
from domains.audio.extract import dynamics, harmony, melody, rhythm
from domains.audio.extract.spectra import parts
from shared.errors import UserError

Tell = Callable[[str], None]
VOICES: Final = ("mix", "solo")


@dataclass(frozen=True, eq=False)
class Extracted:
    """What was found.

    controls   the clip in the control language
    melody     (T, 12) the paper's curve, frame by frame, before notes were made of it
    levels     (T,) dB, smoothed over a second
    rhythm     beats, downbeats, tempo and its rivals; None when no beat was heard or asked for
    onsets     (n,) seconds at which something begins
    facts      plain JSON: figures and words about each control
    """

    controls: Controls
    melody: NDArray[np.float32]
    levels: NDArray[np.float64]
    rhythm: rhythm.Rhythm | None
    onsets: NDArray[np.float64]
    facts: dict[str, Any] = field(default_factory=dict)


def extract(
    wave: NDArray[np.float32],
    *,
    kinds: tuple[str, ...] = KINDS,
    voice: str = "mix",
    bpm: float | None = None,
    metre: str | None = None,
    tell: Tell = lambda note: None,
) -> Extracted:
    """The controls of a wave at 22 050 Hz, one channel, at most 30 minutes.

    kinds        which of melody, dynamics, rhythm, chords (with the key) are wanted
    voice        solo: one voice alone, pitches by YIN; mix: the paper's strongest pitch class above middle C
    bpm, metre   beats a minute and metre when they are known
    tell         called with what is done next, often enough to stop in between
    """
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise UserError(f"{unknown[0]!r} is no control", where="controls", remedy=f"choose from {', '.join(KINDS)}")
    length = len(wave) / RATE
    power, classes, pitches, mels, bass = [], [], [], [], []
    for part in parts(wave):
        tell("spectrum")
        power.append(dynamics.frame_levels(part.power))
        classes.append(melody.pitch_classes(part.above))
        pitches.append(melody.strongest(part.above, classes[-1]))
        mels.append(rhythm.mel_levels(part.power))
        bass.append(rhythm.bass_power(part.power))
    raw, found_classes = np.concatenate(power), np.concatenate(classes)
    levels, sounding = dynamics.smoothed(raw), melody.heard(raw)
    tell("onsets")
    envelope = rhythm.onset_envelope(np.concatenate(mels, axis=1))
    begun = rhythm.onset_frames(envelope)
    line = np.concatenate(pitches)
    if voice == "solo" and "melody" in kinds:
        tell("pitch of the voice")
        line = melody.sung(wave, len(raw))
    tell("harmony")
    tones = harmony.chroma(wave) if {"chords", "rhythm"} & set(kinds) else None
    beat = None
    if "rhythm" in kinds and tones is not None:
        tell("beats")
        wide = np.repeat(tones, 2, axis=1)[:, : len(raw)]  # from 512 to 256 samples a frame
        beat = rhythm.rhythm(envelope, np.concatenate(bass), wide, bpm=bpm, metre=metre)
    facts: dict[str, Any] = {}
    chords = key = None
    if "chords" in kinds and tones is not None:
        tell("chords")
        edges = _edges(beat, length)
        chords = harmony.chords_of(tones, edges, length)
        key, margin = harmony.key_of(tones)
        facts["key"] = {"name": None if key is None else key.name, "margin": round(margin, 3)}
        facts["chords"] = {"count": len(chords)}
        if key is None:
            facts["key"]["said"] = "no key can be told: too few different tones sound"
        if not chords:
            facts["chords"]["said"] = "no chords can be told: nowhere do enough tones sound together"
    notes = None
    if "melody" in kinds:
        tell("notes")
        notes = melody.notes(line, sounding, raw, begun, length)
        facts["melody"] = {"notes": len(notes), "voice": voice, "frames_with_a_tone": round(float(sounding.mean()), 3)}
    if "dynamics" in kinds:
        facts["dynamics"] = {"quietest": round(float(levels.min()), 1), "loudest": round(float(levels.max()), 1)}
    if "rhythm" in kinds:
        facts["rhythm"] = _about(beat, bpm)
    controls = Controls(
        length=length,
        melody=notes,
        dynamics=Dynamics.through(frame_times(len(levels)), levels) if "dynamics" in kinds else None,
        grid=beat.grid if beat else None,
        chords=chords,
        key=key,
    )
    return Extracted(
        controls, melody.one_hot(found_classes, sounding), levels, beat, frame_times(len(raw) + 1)[begun], facts
    )


def curves(wave: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The paper's melody (T, 12) and dynamics (T,) of a wave at 22 050 Hz: what metrics and training compare."""
    classes, levels = [], []
    for part in parts(wave):
        classes.append(melody.pitch_classes(part.above))
        levels.append(dynamics.frame_levels(part.power))
    raw = np.concatenate(levels)
    assert len(raw) == count(len(wave))
    return melody.one_hot(np.concatenate(classes), melody.heard(raw)), dynamics.smoothed(raw)


def onsets(wave: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n,) seconds at which something begins in a wave at 22 050 Hz."""
    envelope = rhythm.onset_envelope(np.concatenate([rhythm.mel_levels(part.power) for part in parts(wave)], axis=1))
    return frame_times(len(envelope) + 1)[rhythm.onset_frames(envelope)]


def _edges(beat: rhythm.Rhythm | None, length: float) -> NDArray[np.float64]:
    """Where chords may change: at beats, or every half second."""
    inner = np.arange(0.5, length, 0.5) if beat is None else beat.grid.beats(length)
    inner = inner[(inner > 1e-3) & (inner < length - 1e-3)]
    return np.concatenate([[0.0], inner, [length]])


def _about(beat: rhythm.Rhythm | None, bpm: float | None) -> dict[str, Any]:
    if beat is None:
        return {"beats": 0, "said": "no steady beat was heard; give the tempo if there is one"}
    return {
        "beats": len(beat.beats),
        "bpm": round(beat.bpm, 2),
        "given": bpm is not None,
        "steady": beat.steady,
        "metre": beat.grid.metres[0].name,
        "other_tempi": [{"bpm": tempo, "strength": strength} for tempo, strength in beat.others],
    }
