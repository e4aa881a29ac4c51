"""From the settings of `suite audio generate --engine spectrogram` to files: sound at once, without notes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from domains.audio.controls.controls import Controls
from domains.audio.controls.frames import HOP, RATE
from domains.audio.controls.json_form import to_json
from domains.audio.export import described, resampled, write_sound
from domains.audio.loudness import CEILING, limited, loudness, true_peak
from domains.audio.score.ask import asked, seeds
from domains.audio.score.operations import GenerateMusic, Playing
from domains.audio.score.takes import ASKED, REPORT, listened, scores_of, write_report
from domains.audio.spectrogram.generate import Kept, generate
from domains.audio.spectrogram.model import CONTROL_WEIGHTS, WEIGHTS, shipped
from shared.errors import UserError
from shared.front.atomic import staged_folder, write_atomic
from shared.front.operation import Operation, Outcome, Report
from shared.front.provenance import input_files, provenance, sha256

# What belongs to notes: the option and why a spectrogram has none of it.
NOTES_ALONE: Final = (
    ("stems", "one sound comes out, no parts"),
    ("loop", "its end does not ring into its start"),
    ("like", "what it stays near to are notes"),
    ("swing", "it hears how its music swings"),
)


@dataclass(frozen=True, eq=False)
class Made:
    """A take: heard (n,) at 22 050 Hz, what metrics listen to; wave (n,) or (n, channels) at the rate of its file."""

    heard: NDArray[np.float32]
    wave: NDArray[np.float32]


def run(settings: GenerateMusic, report: Report, operation: Operation) -> Outcome:
    """Everything that `suite audio generate --engine spectrogram` does; the folder appears whole or not at all."""
    began = time.perf_counter()
    for name, why in NOTES_ALONE:
        if getattr(settings, name) not in (None, False):
            raise UserError(
                f"the spectrogram engine takes no --{name}: {why}", where=f"--{name}", remedy="use --engine score"
            )
    wanted = asked(settings)
    controls, rate = wanted.controls, int(settings.rate)
    notes = [*wanted.notes, described(RATE, rate)]
    if wanted.drums:
        notes.append("drum strokes are not followed by this engine; the beats are")
    if controls.key is not None and not (controls.given("melody") or controls.given("chords")):
        notes.append("a key alone is not followed by this engine; melody and chords are")
    waves, facts = takes_of(settings, report, controls)
    level = [np.float32(10 ** (min(0.0, CEILING - 0.01 - true_peak(wave)) / 20)) for wave in waves]
    made = [Made(w := wave * gain, resampled(w, RATE, rate)) for wave, gain in zip(waves, level, strict=True)]
    return finish(settings, report, operation, controls, made, {**facts, "notes": notes}, began=began)


def takes_of(
    settings: Playing, report: Report, controls: Controls, kept: Kept | None = None
) -> tuple[list[NDArray[np.float32]], dict[str, Any]]:
    """The waves at 22 050 Hz, one a take, and what they cost."""
    start, moves = time.perf_counter(), settings.steps

    def progress(done: int, total: int) -> None:
        nonlocal moves
        moves = total
        report(done, total + settings.takes, "making the spectrogram" if done < total else "making the sound")

    report(0, moves + settings.takes, "making the spectrogram")
    takes = generate(
        shipped(),
        [controls] * settings.takes,
        seeds=seeds(settings),
        steps=settings.steps,
        guidance=settings.guidance,
        level_shift=1.0 if settings.strict else 0.0,
        kept=kept,
        progress=progress,
    )
    calls, seconds = takes[0].calls, time.perf_counter() - start
    return [take.wave for take in takes], {
        "calls": calls,
        "seconds": {"model": round(seconds, 3)},
        "seconds_per_call": round(seconds / max(calls, 1), 5),
        "moves": moves,
    }


def finish(
    settings: Playing,
    report: Report,
    operation: Operation,
    controls: Controls,
    made: Sequence[Made],
    facts: Mapping[str, Any],
    *,
    began: float,
) -> Outcome:
    """Judge the takes and put everything into the folder."""
    moves, facts = facts["moves"], {name: value for name, value in facts.items() if name != "moves"}
    record: dict[str, Any] = provenance(
        operation,
        settings,
        threads=torch.get_num_threads(),
        batch=settings.takes,
        checkpoint=WEIGHTS,
        sources=input_files(settings),
        packages=("soundfile", "soxr", "scipy", "librosa"),
    )
    record["control"] = {"name": CONTROL_WEIGHTS.name, "sha256": sha256(CONTROL_WEIGHTS)}
    with staged_folder(settings.out) as folder:
        names, rows = _written(
            folder, made, controls, record, settings, lambda k: report(moves + k, moves + len(made), "listening")
        )
        facts = {**_about(controls, settings), **facts, "takes": rows}
        write_report(folder, record, controls, facts, began)
    out = Path(settings.out)
    files = tuple(out / name for name in (*names, ASKED, REPORT))
    return Outcome(_sentence(facts), files, facts, view={"asked": controls})


def _written(
    folder: Path,
    made: Sequence[Made],
    controls: Controls,
    record: Mapping[str, Any],
    settings: Playing,
    tell: Callable[[int], None],
) -> tuple[list[str], list[dict[str, Any]]]:
    """Sound and obtained controls of every take; (file names, rows of the report)."""
    rate, sounds, found, rows = int(settings.rate), [], [], []
    for number, (one, seed) in enumerate(zip(made, seeds(settings), strict=True), start=1):
        tell(number)
        scores, said = listened(controls, one.heard) if settings.listen else (None, None)
        name, wave = f"take_{number}.{settings.format}", limited(one.wave, rate)
        own = {**record, "take": {"number": number, "seed": seed}}
        write_sound(folder / name, wave, rate, out_rate=rate, bits=settings.bits, sidecar=own)
        sounds.append(name)
        found.append(f"take_{number}.obtained.json")
        write_atomic(folder / found[-1], json.dumps(_obtained(one.heard, said), allow_nan=False))
        lufs = loudness(wave, rate)
        rows.append(
            {
                "take": number,
                "seed": seed,
                "genre": controls.tags.genre,
                "file": name,
                "scores": {"notes": {}, "sound": None if scores is None else scores_of(scores)},
                "peak_dbtp": round(true_peak(wave), 4) if wave.any() else None,
                "lufs": None if lufs is None else round(float(lufs), 4),
            }
        )
    return [*sounds, *found], rows


def _obtained(wave: NDArray[np.float32], said: Controls | None) -> dict[str, Any]:
    """What is heard in a take: its controls, as the extractors read them, and its level a frame."""
    from domains.audio.extract.extract import curves

    levels = np.clip(curves(wave)[1], -80.0, 0.0)
    return {
        "notes": None,
        "sound": None if said is None else to_json(said),
        "levels": {"rate": RATE / HOP, "db": [round(value, 2) for value in levels.tolist()]},
    }


def _about(controls: Controls, settings: Playing) -> dict[str, Any]:
    grid = controls.grid
    metre = None if grid is None else grid.metres[0]
    return {
        "engine": "spectrogram",
        "bars": None if grid is None else len(grid.downbeats(controls.length)),
        "bpm": None if grid is None or metre is None else round(grid.tempos[0].qpm / metre.beat, 4),
        "metre": None if metre is None else metre.name,
        "length": controls.length,
        "samples": controls.samples(int(settings.rate)),
        "key": None if controls.key is None else controls.key.name,
        "tags": {"genre": controls.tags.genre, "mood": controls.tags.mood},
        "binds": [kind for kind in ("melody", "dynamics", "rhythm", "chords") if controls.given(kind)],
    }


def _sentence(facts: Mapping[str, Any]) -> str:
    """What was made, what it cost, and how well it follows."""
    takes = facts["takes"]
    parts = [
        f"{len(takes)} take{'s' if len(takes) > 1 else ''} of {facts['length']:.2f} s: "
        f"{facts['calls']} calls of {1000 * facts['seconds_per_call']:.0f} ms"
    ]
    for name, words in (("melody", "melody"), ("dynamics_r", "dynamics r"), ("beat_f1", "beats F1")):
        heard = [(one["scores"]["sound"] or {}).get(name) for one in takes]
        known = [value for value in heard if value is not None]
        if known:
            parts.append(f"{words} {np.mean(known):.2f}")
    return ", ".join(parts) + "".join(f"; {note}" for note in facts["notes"])
