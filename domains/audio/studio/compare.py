"""`suite audio evaluate`: how well a recording or a MIDI file keeps what was asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from domains.audio.controls.controls import Controls
from domains.audio.controls.json_form import read_controls
from domains.audio.controls.midi import read_midi, sounding
from domains.audio.studio.operations import EvaluateMusic
from domains.audio.suffixes import SCORES
from shared.errors import UserError
from shared.front.atomic import staged_folder, write_atomic
from shared.front.operation import Operation, Outcome, Report
from shared.front.provenance import input_files, provenance

WORDS: Final = {
    "melody": "melody {:.0%}",
    "dynamics": "dynamics r {:.2f}",
    "dynamics_r": "dynamics r {:.2f}",
    "level_error_db2": "level error {:.1f} dB²",
    "chords": "chords {:.0%}",
    "drums": "drums F1 {:.2f}",
    "beat_f1": "beats F1 {:.2f}",
    "downbeat_f1": "downbeats F1 {:.2f}",
    "in_key": "in key {:.0%}",
}


def evaluate(settings: EvaluateMusic, report: Report, operation: Operation) -> Outcome:
    """Scores of every control that was asked, inside its spans, as JSON and in a sentence."""
    report(0, 2, "reading")
    asked = read_controls(settings.controls)
    written = Path(settings.music).suffix.lower() in SCORES
    scores, notes = (_notes if written else _sound)(settings.music, asked)
    report(1, 2, "writing")
    record = provenance(
        operation, settings, threads=1, sources=input_files(settings), packages=("librosa", "mir_eval"), synthetic=False
    )
    facts: dict[str, Any] = {"read_from": "notes" if written else "sound", "scores": scores, "notes": notes}
    with staged_folder(settings.out) as folder:
        write_atomic(folder / "report.json", json.dumps({**record, "report": facts}, indent=1, allow_nan=False))
    said = [WORDS[name].format(value) for name, value in scores.items() if value is not None]
    sentence = "; ".join([", ".join(said) or "nothing was asked that can be scored", *notes])
    return Outcome(sentence, (Path(settings.out) / "report.json",), facts)


def _notes(path: str, asked: Controls) -> tuple[dict[str, float | None], list[str]]:
    """A take is read with the swing that its notes have, and judged in its own key where none is asked."""
    from domains.audio.score.arrange import heard_swing, roll_of
    from domains.audio.score.judge import judged
    from domains.audio.score.plan import plan

    controls, tracks = read_midi(path)
    tracks = sounding(controls, tracks)
    grid = asked.grid or controls.grid
    if grid is None:
        raise UserError("neither says where the beats are", where=Path(path).name, remedy="give controls with a grid")
    swing = heard_swing(tracks, grid, controls.tags.genre)
    laid = plan(replace(asked, grid=grid, key=asked.key or controls.key), swing=swing)
    found = judged(roll_of(tracks, laid), laid)
    return {name: None if value is None else round(value, 4) for name, value in found.items()}, []


def _sound(path: str, asked: Controls) -> tuple[dict[str, float | None], list[str]]:
    """The clip that was asked for, from the start of the recording."""
    from domains.audio.data import read_recording
    from domains.audio.score.takes import listened, scores_of

    recording = read_recording(path, seconds=asked.length)
    return scores_of(listened(asked, recording.wave)[0]), list(recording.notes)
