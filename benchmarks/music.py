"""What music costs: calls, time a call, six seconds with everything, warm and as a command, and the preview.

Four bars of 4/4 at 160 BPM, which are six seconds, 20 steps with guidance as it is shipped. The floor is the sum of the
network's calls timed inside the same run. `one` and `four` takes are written, played and saved; `heard` are four that
are also listened to, and whose stems are saved. Writes docs/measured/music.json.

    python benchmarks/music.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.lesions import Clock, silent
from domains.audio.operations import PREVIEW, PreviewControls
from domains.audio.score.model import from_pretrained
from domains.audio.score.operations import GENERATE, GenerateMusic
from shared.measured import record

RUNS: Final = 5
TYPED: Final[dict[str, Any]] = {"bars": 4, "bpm": 160.0, "tags": "pop happy", "key": "C major"}


def timed(work: Callable[[Path], Any], folder: Path) -> tuple[list[float], Any]:
    """Seconds of RUNS runs after one that is not counted, and what the last one gave."""
    seconds, given = [], work(folder / "warm")
    for k in range(RUNS):
        start = time.perf_counter()
        given = work(folder / f"run{k}")
        seconds.append(time.perf_counter() - start)
    return seconds, given


def row(seconds: list[float], unit: str = "s") -> dict[str, Any]:
    """The median with the range."""
    return {
        "value": statistics.median(seconds),
        "low": min(seconds),
        "high": max(seconds),
        "unit": unit,
        "digits": 3,
    }


def main() -> None:
    """Measure and record."""
    clock = Clock(from_pretrained())
    entries: dict[str, dict[str, Any]] = {"threads": {"value": torch.get_num_threads()}}
    with tempfile.TemporaryDirectory() as name:
        for title, takes, heard in (("one", 1, False), ("four", 4, False), ("heard", 4, True)):
            folder = Path(name) / title
            folder.mkdir()

            def work(out: Path, takes: int = takes, heard: bool = heard) -> Any:
                clock.seconds = 0.0
                asked = GenerateMusic(**TYPED, takes=takes, listen=heard, stems=heard, out=str(out))
                return GENERATE.run(asked, silent).report

            seconds, facts = timed(work, folder)
            entries[f"{title}_all"] = row(seconds)
            if not heard:
                entries[f"{title}_calls"] = {"value": facts["calls"]}
                entries[f"{title}_call"] = {
                    "value": 1000 * clock.seconds / facts["calls"],
                    "unit": "ms",
                    "digits": 3,
                }
                overhead = 100 * (facts["seconds"]["model"] - clock.seconds) / clock.seconds
                entries[f"{title}_overhead"] = {"value": overhead, "unit": "%", "digits": 2}
                entries[f"{title}_play"] = {"value": facts["seconds"]["play"], "unit": "s", "digits": 3}
                entries["length"] = {"value": facts["length"], "unit": "s", "digits": 3}
        folder = Path(name) / "preview"
        folder.mkdir()
        seconds, _ = timed(
            lambda out: PREVIEW.run(PreviewControls(controls="example:theme", out=str(out)), silent), folder
        )
        entries["preview"] = row(seconds)
        folder = Path(name) / "cold"
        folder.mkdir()
        words = ["audio", "generate", "--bars", "4", "--bpm", "160", "--tags", "pop happy", "--key", "C major"]
        words += ["--takes", "1", "--no-listen"]

        def command(out: Path) -> None:
            run = [sys.executable, "-m", "suite.cli", *words, "--out", str(out)]
            subprocess.run(run, check=True, capture_output=True)

        entries["command"] = row(timed(command, folder)[0])
    record("music", entries, command="python benchmarks/music.py")


if __name__ == "__main__":
    main()
