"""Measured numbers, written by the command that measured them; pages quote them and nobody types them.

`record(name, entries, command=...)` writes docs/measured/NAME.json:

    {"command": "make bench", "commit": "1a2b3c4", "date": "...", "machine": "...", "load": 0.4,
     "entries": {"disk": {"value": 5.6, "unit": "GB", "digits": 2, "low": 5.5, "high": 5.7},
                 "arms": {"columns": ["arm", "Dice"], "rows": [["real only", 0.61], ["with synthesis", 0.66]]}}}

`suite.measured` fills the pages from these files and checks that they agree. A long measurement that can be stopped
keeps its parts (`kept`), each with the digests of what made it: numbers of old code never get the name of a new commit.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared.errors import UserError
from shared.front.atomic import write_atomic

ROOT = Path(__file__).resolve().parents[1]
MEASURED = ROOT / "docs" / "measured"
NAMED = 5  # files that a warning names
PROVENANCE = ("command", "commit", "date", "machine", "load")


# -- writing ---------------------------------------------------------------------------------------


def record(name: str, entries: Mapping[str, Mapping[str, Any]], *, command: str, folder: Path = MEASURED) -> Path:
    """Write docs/measured/NAME.json with the entries and where they come from.

    entries   name -> {"value", "unit"?, "digits"?, "low"?, "high"?} or {"columns", "rows", "digits"?};
              digits = significant digits shown (default 3)
    command   what anyone types to measure them again
    """
    for key, entry in entries.items():
        shown(f"{name}.{key}", entry)  # an entry that no page could show is refused here
    if changed := uncommitted():
        print(
            f"WARNING: {name}.json names commit {commit()}, and {len(changed)} of the files here are not those of it "
            f"({', '.join(changed[:NAMED])}{', ...' if len(changed) > NAMED else ''}); commit them and measure again",
            file=sys.stderr,
        )
    page = {
        "command": command,
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "load": round(os.getloadavg()[0], 2),
        "entries": {key: dict(entry) for key, entry in entries.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    write_atomic(path, json.dumps(page, indent=2, allow_nan=False) + "\n")
    return path


def commit() -> str:
    """Short name of the commit that is checked out, with `-dirty` when files here are not those of it."""
    ask = ["git", "describe", "--always", "--exclude", "*"]
    answer = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=False)
    name = answer.stdout.strip()
    return f"{name}-dirty" if name and uncommitted() else name or "unknown"


def uncommitted() -> list[str]:
    """Files that are changed or new since the commit, less the recorded numbers; none where there is no git."""
    ask = ["git", "status", "--porcelain", "-z", "--no-renames", "--", ".", ":!docs/measured"]
    answer = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=False)
    return [line[3:] for line in answer.stdout.split("\0") if line]


def machine() -> str:
    """Processor, cores, memory and interpreter; never the name of a host or a person."""
    import psutil

    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text() if sys.platform == "linux" else "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{model[1].strip() if model else platform.machine()}, {cores} cores, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB, Python {platform.python_version()}"
    )


# -- parts of a measurement that can be stopped ------------------------------------------------------


def kept(path: Path, made_by: Mapping[str, str], make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """The part that `path` holds, or else what `make` gives, which is written there: plain JSON with "made_by".

    made_by   what the numbers depend on: a word ("weights", "code") -> its digest, such as `digest` gives
    Raises UserError for a part that something else made: it must not get the name of today's commit.
    """
    if not path.exists():
        write_atomic(path, json.dumps({**make(), "made_by": dict(made_by)}, allow_nan=False) + "\n")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    before = found.get("made_by", {})
    if other := [name for name in {**made_by, **before} if made_by.get(name) != before.get(name)]:
        what = " and ".join(f"another {name}" for name in other)
        raise UserError(f"was made with {what}", where=str(path), remedy="choose another folder, or remove it")
    return found


def digest(files: Iterable[Path]) -> str:
    """SHA-256 of the names and bytes of files, in whatever order they come."""
    whole = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        whole.update(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


# -- reading ---------------------------------------------------------------------------------------


def load(folder: Path = MEASURED) -> dict[str, dict[str, Any]]:
    """Every recorded page by name; a file that does not say where its numbers come from is refused."""
    pages = {}
    for path in sorted(folder.glob("*.json")):
        try:
            page = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise UserError(f"is not JSON ({error})", where=path.name, remedy="measure again") from error
        missing = [key for key in (*PROVENANCE, "entries") if key not in page]
        if missing:
            raise UserError(
                f"lacks {', '.join(missing)}", where=path.name, remedy="write it with shared.measured.record"
            )
        pages[path.stem] = page
    return pages


# -- showing ---------------------------------------------------------------------------------------


def number(value: float | int | str | None, digits: int) -> str:
    """A cell: text as it is, integers in full, other numbers with `digits` significant digits, None as a dash."""
    if value is None:
        return "-"
    if isinstance(value, str | int):
        return str(value)
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    rounded = float(f"{value:.{digits - 1}e}")
    return f"{rounded:.{max(digits - 1 - math.floor(math.log10(abs(rounded))), 0)}f}"


def shown(key: str, entry: Mapping[str, Any]) -> str:
    """The text of one entry: `5.60 GB`, `5.60 GB (5.51 to 5.70)`, or a Markdown table between line breaks."""
    digits = int(entry.get("digits", 3))
    if "value" in entry:
        unit = f" {entry['unit']}" if entry.get("unit") else ""
        interval = f" ({number(entry['low'], digits)} to {number(entry['high'], digits)})" if "low" in entry else ""
        return f"{number(entry['value'], digits)}{unit}{interval}"
    if "columns" in entry and "rows" in entry:
        columns, rows = entry["columns"], entry["rows"]
        if bad := [row for row in rows if len(row) != len(columns)]:
            raise UserError(
                f"a row has {len(bad[0])} cells, not {len(columns)}", where=key, remedy="record a full table"
            )
        lines = [columns, ["---"] * len(columns), *([number(cell, digits) for cell in row] for row in rows)]
        return "\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)
    raise UserError("has neither a value nor columns and rows", where=key, remedy="record one of them")
