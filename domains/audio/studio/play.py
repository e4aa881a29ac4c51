"""`suite audio render` and `loop`: MIDI as sound, and loops exact to the sample out of MIDI or recordings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.controls.beats import BeatGrid
from domains.audio.controls.controls import Controls
from domains.audio.controls.midi import read_midi
from domains.audio.controls.notes import Track
from domains.audio.data import read_recording
from domains.audio.export import RATES, resampled, write_sound
from domains.audio.loudness import loudness, true_peak
from domains.audio.score.arrange import Band, band_of
from domains.audio.score.operations import AUTO, MOST_BARS, SCORES
from domains.audio.score.perform import Sound, perform
from domains.audio.studio.operations import LoopMusic, RenderMusic
from shared.errors import UserError
from shared.front.atomic import staged_folder, write_atomic
from shared.front.operation import Operation, Outcome, Report
from shared.front.provenance import input_files, provenance

RATE: Final = 44_100
RINGS: Final = 4.0  # seconds after the end of a loop that may be its ringing; more than that is music that goes on
SEAM: Final = 0.01  # seconds over which the music in front of a loop is faded into its end, where it goes on


def render(settings: RenderMusic, report: Report, operation: Operation) -> Outcome:
    """Mix and stems of a MIDI file."""
    report(0, 2, "playing")
    controls, tracks = _score(settings.music)
    if settings.loop:
        controls, tracks = _whole(controls, tracks, None)
    sound = perform(
        tracks,
        _band(settings.style, controls),
        controls,
        int(settings.rate),
        loop=settings.loop,
        stems=settings.stems,
    )
    report(1, 2, "writing")
    facts = _facts(sound.wave, sound.rate, controls.length, sound.body)
    return _written(settings, operation, facts, "mix", sound, settings.format, settings.bits)


def loop(settings: LoopMusic, report: Report, operation: Operation) -> Outcome:
    """A loop of whole bars."""
    report(0, 2, "reading")
    if Path(settings.music).suffix.lower() in SCORES:
        controls, tracks = _score(settings.music)
        if settings.bpm is not None:
            raise UserError("a MIDI file has its own tempo", where="--bpm", remedy="leave it out")
        controls, tracks = _whole(controls, tracks, settings.bars)
        sound = perform(tracks, _band(AUTO, controls), controls, RATE, loop=True)
        wave, rate, length, said = sound.wave, RATE, controls.length, "played"
    else:
        wave, rate, length, said = _cut(settings)
    report(1, 2, "writing")
    facts = {**_facts(wave, rate, length, len(wave)), "seam": said}
    return _written(settings, operation, facts, "loop", (wave, rate), "wav", settings.bits)


def _score(path: str) -> tuple[Controls, tuple[Track, ...]]:
    """A MIDI file that plays something; its controls ask for no level."""
    controls, tracks = read_midi(path)
    tracks = tuple(track for track in tracks if track.notes)
    if not tracks:
        raise UserError("has no notes", where=Path(path).name, remedy="give a MIDI file with notes")
    return Controls(length=controls.length, grid=controls.grid, key=controls.key, tags=controls.tags), tracks


def _band(style: str, controls: Controls) -> Band:
    return band_of(controls.tags.genre or "pop" if style == AUTO else style, controls.tags.mood, 0)


def _whole(controls: Controls, tracks: tuple[Track, ...], bars: int | None) -> tuple[Controls, tuple[Track, ...]]:
    """The first whole bars of a score, from its first downbeat."""
    grid = controls.grid
    if grid is None:
        raise UserError("has no beat grid", where="--music", remedy="give a MIDI file with a tempo")
    first = max(grid.start, 0.0) if grid.start > -1e-6 else grid.bars_last(1) + grid.start
    moved = grid.later(-first)
    there = max(1, round(sum(1 for _ in moved.bars(controls.length - first))))
    length = moved.bars_last(bars or min(there, MOST_BARS))
    cut = tuple(
        replace(
            track,
            notes=tuple(
                replace(note, start=max(note.start - first, 0.0), end=min(note.end - first, length))
                for note in track.notes
                if note.start >= first - 1e-6 and note.start - first < length - 1e-6
            ),
        )
        for track in tracks
    )
    return replace(controls, length=length, grid=moved), tuple(track for track in cut if track.notes)


def _cut(settings: LoopMusic) -> tuple[NDArray[np.float32], int, float, str]:
    """Whole bars of a recording: (n, channels), rate, seconds, and what was done at the seam."""
    import soundfile

    recording = read_recording(settings.music)  # checks what the file is, in sentences
    with soundfile.SoundFile(settings.music) as file:
        rate, wave = int(file.samplerate), file.read(dtype="float32", always_2d=True)
    if rate not in RATES:
        rate, wave = 48_000, resampled(wave, rate, 48_000)
    bpm = settings.bpm
    if bpm is None:
        from domains.audio.extract.extract import extract

        beat = extract(recording.wave, kinds=("rhythm",), metre=settings.metre).rhythm
        if beat is None:
            raise UserError("no steady beat is heard", where=Path(settings.music).name, remedy="give --bpm")
        bpm = beat.bpm
    grid = BeatGrid.steady(bpm, settings.metre)
    left = len(wave) / rate - settings.start
    fits = sum(grid.bars_last(n) <= left + 0.005 for n in range(1, MOST_BARS + 1))
    count = settings.bars or fits
    if not fits or count > fits:
        raise UserError(
            f"{count or 1} bars at {bpm:g} BPM last {grid.bars_last(count or 1):.2f} s, there are {max(left, 0):.2f}",
            where="--bars",
            remedy=f"take {fits} at most" if fits else "give a longer recording or a higher --bpm",
        )
    length = grid.bars_last(count)
    n, first = round(length * rate), round(settings.start * rate)
    body = np.zeros((n, wave.shape[1]), np.float32)
    piece = wave[first : first + n]
    body[: len(piece)] = piece
    after = wave[first + n :]
    if len(after) <= RINGS * rate:
        for k in range(0, len(after), n):
            part = after[k : k + n]
            body[: len(part)] += part
        return body, rate, length, f"{len(after) / rate:.2f} s ring into the start"
    fade = min(round(SEAM * rate), first, n)
    if fade:
        ramp = np.linspace(0, 1, fade, dtype=np.float32)[:, None]
        body[-fade:] = body[-fade:] * (1 - ramp) + wave[first - fade : first] * ramp
    return body, rate, length, f"the music goes on: {1000 * fade / rate:.0f} ms are blended at the seam"


def _facts(wave: NDArray, rate: int, length: float, body: int) -> dict[str, Any]:
    peak = true_peak(wave)
    level = loudness(wave, rate)
    return {
        "length": length,
        "samples": body,
        "rate": rate,
        "peak_dbtp": round(peak, 3) if np.isfinite(peak) else None,
        "lufs": None if level is None else round(level, 2),
    }


def _written(
    settings: RenderMusic | LoopMusic,
    operation: Operation,
    facts: Mapping[str, Any],
    name: str,
    sound: Sound | tuple[NDArray[np.float32], int],
    ending: str,
    bits: str,
) -> Outcome:
    """Mix, stems and report, together."""
    sources = input_files(settings)
    record = provenance(operation, settings, threads=1, sources=sources, packages=("mido", "soundfile", "scipy"))
    wave, rate = sound if isinstance(sound, tuple) else (sound.wave, sound.rate)
    stems = {} if isinstance(sound, tuple) else sound.stems
    with staged_folder(settings.out) as folder:
        names = [f"{name}.{ending}"]
        write_sound(folder / names[0], wave, rate, out_rate=rate, bits=bits, sidecar=record)
        for part, one in stems.items():
            names.append(f"{name}.{_safe(part)}.{ending}")
            write_sound(folder / names[-1], one, rate, out_rate=rate, bits=bits, sidecar={**record, "stem": part})
        names.append("report.json")
        write_atomic(folder / names[-1], json.dumps({**record, "report": dict(facts)}, indent=1, allow_nan=False))
    out = Path(settings.out)
    sentence = f"{facts['length']:.3f} s, {facts['samples']} samples at {facts['rate']} Hz"
    if "seam" in facts:
        sentence += f"; {facts['seam']}"
    return Outcome(sentence, tuple(out / one for one in names), dict(facts))


def _safe(name: str) -> str:
    """A track's name as part of a file's."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)[:40] or "track"
