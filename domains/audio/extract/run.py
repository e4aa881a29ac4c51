"""From the settings of `suite audio extract` to files: read, extract, write together with what made them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from domains.audio.controls.controls import Controls
from domains.audio.controls.json_form import to_json
from domains.audio.controls.midi import read_midi, to_midi
from domains.audio.controls.notes import Track
from domains.audio.controls.spans import KINDS
from domains.audio.operations import ExtractControls
from domains.audio.suffixes import SCORES
from shared.errors import UserError
from shared.front.atomic import staged_folder, untaken, write_atomic
from shared.front.operation import Operation, Outcome, Report
from shared.front.progress import counted
from shared.front.provenance import provenance

STAGES = 8  # reading, spectrum, onsets, pitch of a solo voice, harmony, beats, chords, notes


def run(settings: ExtractControls, report: Report, operation: Operation) -> Outcome:
    """Everything that `suite audio extract` does; its files appear whole or not at all."""
    began = time.monotonic()
    out = Path(settings.out)
    alone = out.suffix.lower() == ".json"
    if alone and out.is_dir():
        raise UserError("is a folder", where=str(out), remedy="give the name of a file")
    untaken(out)
    if alone and not out.parent.is_dir():
        raise UserError("its folder does not exist", where=str(out), remedy="make the folder first")
    score = Path(settings.audio).suffix.lower() in SCORES
    controls, tracks, facts, notes = _from_score(settings) if score else _from_sound(settings, report)
    record = provenance(
        operation,
        settings,
        threads=os.cpu_count() or 1,
        sources=[Path(settings.audio)],
        packages=("mido",) if score else ("librosa", "scipy", "soundfile", "soxr"),
        synthetic=False,
    )
    facts = {**facts, "notes": list(notes), "seconds": round(time.monotonic() - began, 2)}
    text = json.dumps({**record, "report": facts, "controls": to_json(controls)}, indent=1, allow_nan=False)
    report(STAGES, STAGES, "writing")
    if alone:
        files = [write_atomic(out, text)]
    else:
        with staged_folder(out) as folder:
            write_atomic(folder / "controls.json", text)
            write_atomic(folder / "controls.mid", to_midi(controls, tracks))
        files = [out / "controls.json", out / "controls.mid"]
    return Outcome(_sentence(controls, facts), tuple(files), facts, view=controls)


def _from_score(settings: ExtractControls) -> tuple[Controls, tuple[Track, ...], dict[str, Any], tuple[str, ...]]:
    """Controls and tracks of a MIDI file, its part and its wanted controls alone."""
    if settings.bpm is not None or settings.metre != "auto" or settings.voice != "mix":
        raise UserError(
            "--bpm, --metre and --voice are for recordings",
            where=Path(settings.audio).name,
            remedy="leave them out: a MIDI file says its own",
        )
    controls, tracks = read_midi(settings.audio)
    notes = []
    if settings.start > 0 or settings.seconds is not None:
        end = controls.length if settings.seconds is None else settings.start + settings.seconds
        controls, tracks = controls.crop(settings.start, end), ()
        notes.append("of a part, the controls are kept and the tracks are not")
    if settings.only:
        controls = controls.only(*settings.only)
    return controls, tracks, {}, tuple(notes)


def _from_sound(
    settings: ExtractControls, report: Report
) -> tuple[Controls, tuple[Track, ...], dict[str, Any], tuple[str, ...]]:
    """Controls of a recording, with what was found out about it."""
    from domains.audio.data import read_recording
    from domains.audio.extract.extract import extract

    report(0, STAGES, "reading")
    recording = read_recording(
        settings.audio,
        start=settings.start,
        seconds=settings.seconds,
        tell=lambda done, total: report(0, STAGES, f"reading, {100 * done // total} %"),
    )
    stages: list[str] = []

    def tell(stage: str) -> None:
        if not stages or stages[-1] != stage:
            stages.append(stage)
        report(min(len(stages), STAGES - 1), STAGES, stage)

    found = extract(
        recording.wave,
        kinds=settings.only or KINDS,
        voice=settings.voice,
        bpm=settings.bpm,
        metre=None if settings.metre == "auto" else settings.metre,
        tell=tell,
    )
    facts = {
        "source": {
            "rate": recording.source_rate,
            "channels": recording.channels,
            "bandwidth": round(recording.bandwidth),
            "length": recording.seconds,
        },
        **found.facts,
    }
    cannot = (about["said"] for about in found.facts.values() if "said" in about)
    return found.controls, (), facts, (*recording.notes, *cannot)


def _sentence(controls: Controls, facts: dict[str, Any]) -> str:
    """What was found, in one line; the tempo with what it may be instead."""
    parts = [f"{controls.length:.2f} s"]
    if controls.melody is not None:
        parts.append(counted(len(controls.melody), "note"))
    if controls.grid is not None:
        about = facts.get("rhythm", {})
        bpm = about.get("bpm") or round(controls.grid.tempos[0].qpm / controls.grid.metres[0].beat, 2)
        rivals = ", ".join(f"{other['bpm']:g}" for other in about.get("other_tempi", [])[:2])
        parts.append(f"{bpm:g} BPM in {controls.grid.metres[0].name}" + (f" (perhaps {rivals})" if rivals else ""))
    if controls.chords:
        parts.append(counted(len(controls.chords), "chord"))
    if controls.key is not None:
        parts.append(controls.key.name)
    said = "; ".join(facts.get("notes", ()))
    return ", ".join(parts) + (f" [{said}]" if said else "")
