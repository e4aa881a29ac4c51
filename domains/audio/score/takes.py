"""Takes: playing them, judging them, and the files that a run leaves."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.audio.controls.controls import Controls
from domains.audio.controls.frames import HOP, RATE
from domains.audio.controls.json_form import to_json
from domains.audio.controls.midi import to_midi
from domains.audio.controls.notes import Note, Track
from domains.audio.controls.tags import Tags
from domains.audio.evaluate import ClipScores
from domains.audio.export import packed, write_sound
from domains.audio.loudness import loudness, true_peak
from domains.audio.score.arrange import Band
from domains.audio.score.judge import obtained
from domains.audio.score.operations import Playing
from domains.audio.score.perform import Sound, perform
from domains.audio.synth.render import Player
from shared.front.atomic import write_atomic

ASKED, REPORT = "asked.json", "report.json"


@dataclass(frozen=True, eq=False)
class Take:
    """One answer: who it is, what it plays and how well it follows.

    asked    what it was asked, its own key among it where one was drawn
    melody   the melody's notes;  levels (T,) dB a frame of the paper;  wave (n, 2) float32
    kept     the scores of its notes;  said  what the extractors hear in its sound, None when nobody listened
    scores   of its sound against what was asked, None likewise
    """

    number: int
    seed: int
    genre: str
    asked: Controls
    tracks: tuple[Track, ...]
    sound: Sound
    kept: Mapping[str, float | None]
    scores: ClipScores | None
    said: Controls | None

    @property
    def melody(self) -> tuple[Note, ...]:
        return tuple(note for track in self.tracks if track.name == "melody" for note in track.notes)

    @property
    def levels(self) -> NDArray[np.float64]:
        return self.sound.levels

    @property
    def wave(self) -> NDArray[np.float32]:
        return self.sound.wave

    @property
    def rate(self) -> int:
        return self.sound.rate


def played(
    number: int,
    seed: int,
    genre: str,
    tracks: tuple[Track, ...],
    band: Band,
    controls: Controls,
    kept: Mapping[str, float | None],
    settings: Playing,
    *,
    loop: bool = False,
    player: Player | None = None,
    tell: Callable[[str], None] = lambda note: None,
) -> Take:
    """Play a take, and listen to it where the settings say so."""
    tell(f"playing take {number}")
    sound = perform(tracks, band, controls, int(settings.rate), loop=loop, stems=settings.stems, player=player)
    scores = said = None
    if settings.listen:
        tell(f"listening to take {number}")
        scores, said = listened(controls, sound.heard)
    return Take(number, seed, genre, controls, tracks, sound, kept, scores, said)


def listened(controls: Controls, heard: NDArray[np.float32]) -> tuple[ClipScores | None, Controls | None]:
    """What the extractors hear in a wave at 22 050 Hz, with no hint, and its scores; nothing in silence."""
    from domains.audio.evaluate import Heard, score
    from domains.audio.extract.extract import extract

    if not np.any(heard):
        return None, None
    found, nothing = extract(heard), np.zeros(0)
    beat = found.rhythm
    beats, downbeats = (nothing, nothing) if beat is None else (beat.beats, beat.downbeats)
    return score(controls, Heard(found.melody, found.levels, beats, downbeats, found.onsets)), found.controls


def row(take: Take, files: Mapping[str, Any]) -> dict[str, Any]:
    """A take in the report: plain JSON."""
    peak, lufs = true_peak(take.wave, wrap=take.sound.loop), loudness(take.wave, take.rate)
    return {
        "take": take.number,
        "seed": take.seed,
        "genre": take.genre,
        "key": None if take.asked.key is None else take.asked.key.name,
        **files,
        "strokes": {track.name: len(track.notes) for track in take.tracks},
        "scores": {
            "notes": {name: _round(value) for name, value in take.kept.items()},
            "sound": None if take.scores is None else scores_of(take.scores),
        },
        "peak_dbtp": _round(peak if np.isfinite(peak) else None),
        "lufs": _round(lufs),
        "gain_db": _round(take.sound.gain),
    }


def scores_of(one: ClipScores | None) -> dict[str, float | None]:
    """What a report says of a sound; no scores of silence."""
    if one is None:
        return {}
    return {
        "melody": _round(one.melody),
        "dynamics_r": _round(one.dynamics_micro),
        "level_error_db2": _round(one.level_error),
        "beat_f1": _round(one.beat),
        "downbeat_f1": _round(one.downbeat),
        "in_key": _round(one.in_key),
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)


def write_takes(
    folder: Path,
    takes: Sequence[Take],
    record: Mapping[str, Any],
    settings: Playing,
) -> tuple[list[str], list[dict[str, Any]]]:
    """Sound, MIDI, stems and obtained controls of every take; (file names, the takes first, and rows of the report)."""
    waves, scores, stems, found, rows = [], [], [], [], []
    for take in takes:
        name, ending = f"take_{take.number}", settings.format
        own = {**record, "take": {"number": take.number, "seed": take.seed}}
        waves.append(_sound(folder, f"{name}.{ending}", take.wave, take.sound, settings, own))
        scores.append(f"{name}.mid")
        write_atomic(folder / scores[-1], to_midi(as_played(take), take.tracks))
        parts = {part: f"{name}.{part}.{ending}" for part in take.sound.stems}
        for part, wave in take.sound.stems.items():
            stems.append(_sound(folder, parts[part], wave, take.sound, settings, {**own, "stem": part}))
        found.append(f"{name}.obtained.json")
        write_atomic(folder / found[-1], json.dumps(_obtained(take), allow_nan=False))
        rows.append(row(take, {"file": waves[-1], "midi": scores[-1], "stems": parts}))
    if stems:
        stems.insert(0, packed(folder / "stems.zip", [folder / name for name in stems]).name)
    return [*waves, *scores, *stems, *found], rows


def as_played(take: Take) -> Controls:
    """The controls as they stand in a take's MIDI file: the melody is the one that plays, genre and key are its own."""
    return replace(take.asked, melody=None, tags=Tags(take.genre, take.asked.tags.mood))


def _sound(folder: Path, name: str, wave: NDArray, sound: Sound, settings: Playing, record: Mapping[str, Any]) -> str:
    rate = sound.rate
    write_sound(folder / name, wave, rate, out_rate=rate, bits=settings.bits, sidecar=record, wrap=sound.loop)
    return name


def _obtained(take: Take) -> dict[str, Any]:
    controls = take.asked
    assert controls.grid is not None
    notes = obtained(take.tracks, take.levels, controls.length, controls.grid)
    return {
        "notes": to_json(notes),
        "sound": None if take.said is None else to_json(take.said),
        "tracks": [asdict(track) for track in take.tracks],
        "levels": {"rate": RATE / HOP, "db": [round(value, 2) for value in take.levels.tolist()]},
    }


def write_report(folder: Path, record: Mapping[str, Any], asked: Controls, facts: dict[str, Any], began: float) -> None:
    """What was asked and what came of it, beside the takes; the time of all since `began` (perf_counter) is added."""
    facts["seconds"]["all"] = round(time.perf_counter() - began, 3)
    for name, body in ((ASKED, {"controls": to_json(asked)}), (REPORT, {"report": facts})):
        write_atomic(folder / name, json.dumps({**record, **body}, indent=1, allow_nan=False))
