"""What the page shows of a run: a player a take with its curves, asked against obtained, the run in figures."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from domains.audio.controls.controls import Controls
from domains.audio.controls.dynamics import Dynamics
from domains.audio.controls.json_form import from_json, to_json
from domains.audio.loudness import TARGET
from shared.front.operation import Outcome

WAITING: Final = "Takes appear here. Press Run: the example on the left is ready."
CEILING: Final = -1.0  # dBTP
Serve = Callable[[Path], str]  # a file of a run -> the address at which the page may read it
# Of each score: where it stands, its name, what it is beside, and how it is shown.
ROWS: Final = (
    ("melody", "notes", "melody", "share of sixteenths with the pitch class asked", "{:.0%}"),
    ("chords", "notes", "chords", "share of time with the chord asked", "{:.0%}"),
    ("drums", "notes", "drums", "F1 of the strokes asked", "{:.2f}"),
    ("key", "notes", "in_key", "share of notes in the key", "{:.0%}"),
    ("melody heard", "sound", "melody", "share of frames, heard in the mix", "{:.0%}"),
    ("dynamics", "sound", "dynamics_r", "correlation with the curve asked", "r {:.2f}"),
    ("level", "sound", "level_error_db2", "mean squared error", "{:.1f} dB²"),
    ("beats", "sound", "beat_f1", "F1 of the beats heard", "{:.2f}"),
    ("downbeats", "sound", "downbeat_f1", "F1 of the downbeats heard", "{:.2f}"),
)


def nothing(words: str = WAITING) -> str:
    """Players while there is nothing to play."""
    return json.dumps({"empty": words, "takes": [], "play": False, "clears": False})


def asked_value(address: str) -> str:
    """A player of what is asked, which starts at once."""
    take = {"name": "What is asked", "src": address, "volume": 1.0, "line": "", "found": None, "near": False}
    return json.dumps({"empty": "", "takes": [take], "play": True, "clears": False})


def takes_value(outcome: Outcome, serve: Serve) -> str:
    """Players of the takes of a run."""
    files = {file.name: file for file in outcome.files}
    rows = outcome.report["takes"]
    volumes = equal_volumes([(row.get("lufs"), row.get("peak_dbtp")) for row in rows])
    takes = [
        {
            "name": named(row, outcome.report.get("key")),
            "src": serve(files[row["file"]]),
            "volume": round(volume, 4),
            "line": line(row["scores"]),
            "found": found_of(json.loads(files[f"take_{row['take']}.obtained.json"].read_text("utf-8"))),
            "near": row.get("midi") in files,
        }
        for row, volume in zip(rows, volumes, strict=True)
    ]
    return json.dumps({"empty": "", "takes": takes, "play": False, "clears": True})


def named(row: Mapping[str, Any], key: str | None) -> str:
    """The heading of a take; its key where nobody asked for one, so that each take has its own."""
    drawn = row.get("key")
    return f"Take {row['take']}, seed {row['seed']}" + (f", {drawn}" if drawn and not key else "")


def equal_volumes(levels: Sequence[tuple[float | None, float | None]]) -> list[float]:
    """The volume of every player, 0..1, at which takes of these LUFS and true peaks are equally loud, the loudest 1.

    As `loudness.matched`: all meet at the target, or as far below as the first to peak demands; silence stays as it is.
    """
    heard = [(lufs, peak) for lufs, peak in levels if lufs is not None and peak is not None]
    common = min([TARGET, *(CEILING - peak + lufs for lufs, peak in heard)])
    gains = [1.0 if lufs is None else 10 ** ((common - lufs) / 20) for lufs, _ in levels]
    return [gain / max(gains) for gain in gains]


def found_of(obtained: Mapping[str, Any]) -> dict[str, Any]:
    """What lies over the lanes: melody and chords as written, or as heard in sound without notes, the level of the mix,
    the beats that are heard."""
    notes = obtained["notes"] or obtained.get("sound")
    length = len(obtained["levels"]["db"]) / obtained["levels"]["rate"]
    written = from_json(notes) if notes else Controls(length=length)
    found: dict[str, Any] = {name: to_json(written).get(name, []) for name in ("melody", "chords")}
    levels = np.asarray(obtained["levels"]["db"], float)
    times = np.minimum(np.arange(len(levels)) / obtained["levels"]["rate"], written.length)
    curve = Dynamics.through(times, levels, within=0.5) if len(levels) else None
    found["dynamics"] = [[round(at, 3), round(level, 1)] for at, level in curve.points] if curve else []
    heard: Controls | None = from_json(obtained["sound"]) if obtained.get("sound") else None
    found["beats"] = heard.grid.beats(heard.length).round(4).tolist() if heard and heard.grid else []
    return found


def line(scores: Mapping[str, Any]) -> str:
    """The scores of a take in one line."""
    said = [f"{name} {shown.format(value)}" for name, value, shown in _scores(scores)]
    return ", ".join(said) or "Nothing was asked that could be compared."


def figures(outcome: Outcome) -> str:
    """The run in figures."""
    report = outcome.report
    bars = f", {report['bars']} bars" if report["bars"] else ""
    cells = {
        "Length": f"{report['length']:.2f} s{bars}",
        **({"Tempo": f"{report['bpm']:.4g} BPM in {report['metre']}"} if report["bpm"] else {}),
        "Loop": f"{report['samples']} samples",
        "Network calls": str(report["calls"]),
        "Time": f"{report['seconds']['all']:.1f} s",
    }
    shown = "".join(f"<div><dt>{name}</dt><dd>{html.escape(words)}</dd></div>" for name, words in cells.items())
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in report.get("notes", ()))
    return f'<dl class="figures">{shown}</dl>' + (f'<ul class="run-notes">{notes}</ul>' if notes else "")


def table(outcome: Outcome) -> str:
    """A row for everything that was asked, a column a take."""
    rows = outcome.report["takes"]
    names = ["Asked and obtained", *(f"Take {row['take']}" for row in rows)]
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = ""
    for name, part, key, what, shown in ROWS:
        values = [(row["scores"].get(part) or {}).get(key) for row in rows]
        if all(value is None for value in values):
            continue
        cells = "".join(f"<td>{'' if value is None else shown.format(value)}</td>" for value in values)
        body += f'<tr><th scope="row">{name}<small>{what}</small></th>{cells}</tr>'
    if not body:
        return ""
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Asked and obtained">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _scores(scores: Mapping[str, Any]) -> list[tuple[str, float, str]]:
    shown = ("melody", "dynamics", "beats", "chords", "drums", "key")
    return [
        (name, value, form)
        for name, part, key, _, form in ROWS
        if name in shown and (value := (scores.get(part) or {}).get(key)) is not None
    ]
