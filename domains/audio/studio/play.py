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
from domains.audio.controls.midi import read_midi, sounding
from domains.audio.controls.notes import Track
from domains.audio.data import read_channels, read_recording
from domains.audio.export import RATES, packed, write_sound
from domains.audio.loudness import limited, loudness, true_peak
from domains.audio.score.arrange import Band, band_of
from domains.audio.score.operations import AUTO, MOST_BARS
from domains.audio.score.perform import Sound, perform, player_of
from domains.audio.studio.operations import LoopMusic, RenderMusic
from domains.audio.suffixes import SCORES
from shared.errors import UserError
from shared.front.atomic import staged_folder, write_atomic
from shared.front.operation import Operation, Outcome, Report
from shared.front.provenance import input_files, provenance

RATE: Final = 44_100
RINGS: Final = 4.0  # seconds after the end of a loop that may be its ringing; more than that is music that goes on
RISE: Final = 3.0  # dB that ringing may swell, as tones that beat do
FALLEN: Final = 12.0  # dB below the last beat to which ringing falls in the end
QUIET: Final = -80.0  # dB of full scale
SLOWEST: Final = 30.0  # felt beats a minute, the least that can be asked for
HEARD: Final = 60.0  # seconds in which a beat is looked for, at least
SEAM: Final = 0.01  # seconds over which the music in front of a loop is faded into its end, where it goes on


def render(settings: RenderMusic, report: Report, operation: Operation) -> Outcome:
    """Mix and stems of a MIDI file."""
    report(0, 2, "playing")
    player = player_of(settings.soundfont, int(settings.rate))
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
        player=player,
    )
    report(1, 2, "writing")
    facts = _facts(sound.wave, sound.rate, controls.length, sound.body, wrap=sound.loop)
    return _written(settings, operation, facts, "mix", sound, settings.format, settings.bits)


def loop(settings: LoopMusic, report: Report, operation: Operation) -> Outcome:
    """A loop of whole bars."""
    report(0, 2, "reading")
    notes: list[str] = []
    if Path(settings.music).suffix.lower() in SCORES:
        player = player_of(settings.soundfont, RATE)
        controls, tracks = _score(settings.music)
        if settings.bpm is not None:
            raise UserError("a MIDI file has its own tempo", where="--bpm", remedy="leave it out")
        controls, tracks = _whole(controls, tracks, settings.bars)
        sound = perform(tracks, _band(AUTO, controls), controls, RATE, loop=True, player=player)
        wave, rate, length, said = sound.wave, RATE, controls.length, "played"
    else:
        wave, rate, length, said, notes = _cut(settings)
    report(1, 2, "writing")
    wave = limited(wave, rate, wrap=True)
    facts = {**_facts(wave, rate, length, len(wave), wrap=True), "seam": said, "notes": notes}
    return _written(settings, operation, facts, "loop", (wave, rate), "wav", settings.bits)


def _score(path: str) -> tuple[Controls, tuple[Track, ...]]:
    """A MIDI file that plays something; its controls ask for no level."""
    controls, tracks = read_midi(path)
    tracks = tuple(track for track in sounding(controls, tracks) if track.notes)
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


def _cut(settings: LoopMusic) -> tuple[NDArray[np.float32], int, float, str, list[str]]:
    """Whole bars of a recording: (n, channels), rate, seconds, what was done at the seam, and what is to be said."""
    slowest = BeatGrid.steady(settings.bpm or SLOWEST, settings.metre).bars_last(settings.bars or MOST_BARS)
    heard = slowest if settings.bpm else max(slowest, HEARD)
    recording = read_recording(settings.music, start=settings.start, seconds=heard + RINGS)  # refuses in sentences
    bpm = settings.bpm
    if bpm is None:
        from domains.audio.extract.extract import extract

        beat = extract(recording.wave, kinds=("rhythm",), metre=settings.metre).rhythm
        if beat is None:
            raise UserError("no steady beat is heard", where=Path(settings.music).name, remedy="give --bpm")
        bpm = beat.bpm
    grid = BeatGrid.steady(bpm, settings.metre)
    left = recording.part[1] - settings.start
    fits = sum(grid.bars_last(n) <= left + 0.005 for n in range(1, MOST_BARS + 1))
    count = settings.bars or fits
    if not fits or count > fits:
        raise UserError(
            f"{count or 1} bars at {bpm:g} BPM last {grid.bars_last(count or 1):.2f} s, there are {left:.2f}",
            where="--bars",
            remedy=f"take {fits} at most" if fits else "give a longer recording or a higher --bpm",
        )
    length, notes = grid.bars_last(count), list(recording.odd)
    rate = recording.source_rate
    if rate not in RATES:
        notes.append(f"{rate / 1000:g} kHz resampled to 48 kHz")
        rate = 48_000
    if recording.channels > 5:
        behind = ", what is behind counted at the sides" if recording.channels > 6 else ""
        notes.append(f"its loudness is that of 5 of the {recording.channels} channels, without the low one{behind}")
    lead = min(SEAM, settings.start)
    wave = read_channels(settings.music, rate=rate, start=settings.start - lead, seconds=lead + length + RINGS)
    first, n = round(lead * rate), round(length * rate)
    body, said = seamless(wave[:first], wave[first : first + n], wave[first + n :], n, rate, 60 * rate / bpm)
    return body, rate, length, said, notes


def seamless(
    before: NDArray[np.float32],
    piece: NDArray[np.float32],
    after: NDArray[np.float32],
    n: int,
    rate: int,
    beat: float,
) -> tuple[NDArray[np.float32], str]:
    """A loop of n samples out of a piece of that length, and in words what was done at its seam.

    before, after   what is recorded around it, (any, channels);  beat  samples
    What rings out behind the piece is added to its start. Where music goes on instead, the music in front of the piece
    is faded into its end, or, where there is none, the music behind it into its start.
    """
    body = np.zeros((n, piece.shape[1]), np.float32)
    body[: len(piece)] = piece
    if not len(after):
        return body, "nothing lies behind its end"
    if rings_out(body[-round(beat) :], after, rate):
        for k in range(0, len(after), n):
            part = after[k : k + n]
            body[: len(part)] += part
        return body, f"{len(after) / rate:.2f} s ring into the start"
    longest = min(round(SEAM * rate), n)
    fade = min(longest, max(len(before), len(after)))
    ramp = np.linspace(0, 1, fade, dtype=np.float32)[:, None]
    if len(before) >= len(after[:longest]):
        body[-fade:] = body[-fade:] * (1 - ramp) + before[-fade:] * ramp
    else:
        body[:fade] = after[:fade] * (1 - ramp) + body[:fade] * ramp
    return body, f"the music goes on: {1000 * fade / rate:.0f} ms are blended at the seam"


def rings_out(beat: NDArray[np.float32], after: NDArray[np.float32], rate: int) -> bool:
    """Whether what follows a beat only decays: it ends within `RINGS` seconds, never rises, and ends far below it."""
    if len(after) >= round(RINGS * rate) - 2:
        return False
    last, level = _levels(beat, rate).max(), _levels(after, rate)
    if last <= QUIET:
        return False
    lowest = np.minimum.accumulate(level)
    return bool(level[0] <= last and (level <= lowest + RISE).all() and level[-1] <= last - FALLEN)


def _levels(wave: NDArray[np.float32], rate: int) -> NDArray[np.float64]:
    """dB of the tenths of a second of (n, channels), no less than `QUIET`; what is over goes to the last."""
    size = max(1, round(0.1 * rate))
    power = np.square(wave, dtype=np.float64).mean(axis=1)
    edges = np.arange(max(1, len(power) // size)) * size
    count = np.diff(np.append(edges, len(power)))
    return 10 * np.log10(np.maximum(np.add.reduceat(power, edges) / count, 10 ** (QUIET / 10)))


def _facts(wave: NDArray, rate: int, length: float, body: int, *, wrap: bool) -> dict[str, Any]:
    peak = true_peak(wave, wrap=wrap)
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
    stems, wrap = ({}, True) if isinstance(sound, tuple) else (sound.stems, sound.loop)
    with staged_folder(settings.out) as folder:
        names = [f"{name}.{ending}"]
        write_sound(folder / names[0], wave, rate, out_rate=rate, bits=bits, sidecar=record, wrap=wrap)
        for part, one in stems.items():
            names.append(f"{name}.{_safe(part)}.{ending}")
            own = {**record, "stem": part}
            write_sound(folder / names[-1], one, rate, out_rate=rate, bits=bits, sidecar=own, wrap=wrap)
        if stems:
            names.insert(1, packed(folder / "stems.zip", [folder / each for each in names[1:]]).name)
        names.append("report.json")
        write_atomic(folder / names[-1], json.dumps({**record, "report": dict(facts)}, indent=1, allow_nan=False))
    out = Path(settings.out)
    sentence = f"{facts['length']:.3f} s, {facts['samples']} samples at {facts['rate']} Hz"
    if "seam" in facts:
        sentence += "".join(f"; {each}" for each in (facts["seam"], *facts["notes"]))
    return Outcome(sentence, tuple(out / one for one in names), dict(facts))


def _safe(name: str) -> str:
    """A track's name as part of a file's."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)[:40] or "track"
