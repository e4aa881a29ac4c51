"""What is asked, made audible before anything is generated: melody as a plain tone, chords beneath, clicks at beats.

Melody and chords have the level that dynamics ask for, -20 dB where they ask for nothing. With dynamics alone one tone
carries the curve. Only what binds is heard. Clicks keep one level whatever the dynamics say; downbeats are higher.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.controls.controls import Controls
from domains.audio.controls.frames import inside
from domains.audio.controls.json_form import read_controls, to_json
from domains.audio.export import write_sound
from shared.front.atomic import staged_folder, write_atomic
from shared.front.operation import Operation, Outcome, Report
from shared.front.option import EXAMPLE
from shared.front.provenance import provenance

if TYPE_CHECKING:
    from domains.audio.operations import PreviewControls

RATE: Final = 22_050
PLAIN: Final = -20.0  # dB without dynamics
CLICK: Final = 0.09  # amplitude
UNDER: Final = 0.35  # amplitude of a chord beside the melody's
FADE: Final = 0.012  # seconds a tone takes to come and to go
PARTIALS: Final = ((1, 1.0), (2, 0.25), (3, 0.1))  # enough to tell octaves apart


def run(settings: PreviewControls, report: Report, operation: Operation) -> Outcome:
    """Everything that `suite audio preview` does; its files appear whole or not at all."""
    controls = read_controls(settings.controls)
    report(0, 1, "playing what is asked")
    own = [] if settings.controls.startswith(EXAMPLE) else [Path(settings.controls)]
    record = provenance(operation, settings, threads=1, sources=own, packages=("soundfile", "soxr"))
    with staged_folder(settings.out) as folder:
        write_sound(folder / "asked.wav", sound(controls), RATE, sidecar=record)
        write_atomic(folder / "asked.json", json.dumps({**record, "controls": to_json(controls)}, indent=1))
    files = (Path(settings.out) / "asked.wav", Path(settings.out) / "asked.json")
    return Outcome(f"{controls.length:.2f} s of what is asked", files, {"seconds": controls.length}, view=controls)


def sound(controls: Controls) -> NDArray[np.float32]:
    """(n,) samples at 22 050 Hz, as many as the clip has."""
    count = controls.samples(RATE)
    times = np.arange(count) / RATE
    melody, chords = np.zeros(count), np.zeros(count)
    for note in controls.melody or ():
        _add(melody, note.frequency, note.start, note.end)
    melody *= inside(controls.bound("melody"), times)
    for chord in controls.chords or ():
        for place, tone in enumerate(sorted(48 + (chord.root + step) % 12 for step in _steps(chord.pitch_classes))):
            _add(chords, 440 * 2 ** ((tone + 12 * (place == 0) - 69) / 12), chord.start, chord.end)
    chords *= inside(controls.bound("chords"), times) * UNDER
    tones = melody + chords
    if not tones.any() and controls.given("dynamics"):
        _add(tones, 220.0, 0.0, controls.length)
    return np.asarray(tones * _gain(controls, times) + _clicks(controls, count), np.float32)


def _steps(classes: tuple[int, ...]) -> tuple[int, ...]:
    """Semitones above the root."""
    return tuple((each - classes[0]) % 12 for each in classes)


def _gain(controls: Controls, times: NDArray) -> NDArray[np.float64]:
    """(n,) amplitude at which a sine has the level that is asked."""
    level = np.full(len(times), PLAIN)
    if controls.dynamics is not None:
        where = inside(controls.bound("dynamics"), times)
        level[where] = controls.dynamics.at(times[where])
    return np.asarray(np.sqrt(2) * 10 ** (level / 20))


def _add(out: NDArray, frequency: float, start: float, end: float) -> None:
    first, last = round(start * RATE), min(round(end * RATE), len(out))
    time = np.arange(last - first) / RATE
    tone = sum(level * np.sin(2 * np.pi * k * frequency * time) for k, level in PARTIALS if k * frequency < 0.45 * RATE)
    ramp = np.minimum(1.0, np.minimum(time, time[::-1]) / FADE) if len(time) else time
    out[first:last] += tone * ramp


def _clicks(controls: Controls, count: int) -> NDArray[np.float64]:
    out = np.zeros(count)
    if controls.grid is None:
        return out
    time = np.arange(round(0.06 * RATE)) / RATE
    bound, downs = controls.bound("rhythm"), set(controls.grid.downbeats(controls.length).tolist())
    beats = controls.grid.beats(controls.length)
    for beat, heard in zip(beats.tolist(), inside(bound, beats), strict=True):
        if not heard:
            continue
        pitch, level = (1760.0, 1.5) if beat in downs else (1175.0, 1.0)
        click = CLICK * level * np.sin(2 * np.pi * pitch * time) * np.exp(-time / 0.012)
        first = round(beat * RATE)
        out[first : first + len(click)] += click[: count - first]
    return out
