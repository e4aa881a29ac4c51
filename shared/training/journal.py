"""What a run says on its way: metrics.jsonl in its folder, and progress with the time left on stderr."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from shared.front.atomic import write_atomic
from shared.front.progress import clock, seconds_left

FILE = "metrics.jsonl"


class Journal:
    """One JSON object a line: step, loss, gradient norm, lr, seconds, samples a second.

    after   the step that the run goes on from: lines of later steps, written before a kill, are dropped
    A terminal sees one line that is kept up to date, a log file one line a call of `saved`; both see the first step.
    """

    def __init__(self, folder: Path, after: int, stream: TextIO | None = None) -> None:
        self.path, self.stream = folder / FILE, sys.stderr if stream is None else stream
        self.begin, self.after = time.monotonic(), after
        self.words = ""
        write_atomic(self.path, "".join(line + "\n" for line in self._lines() if json.loads(line)["step"] <= after))

    def write(self, step: int, steps: int, *, budget: float | None = None, **numbers: Any) -> None:
        """Add a line to the file and show it on a terminal.

        steps = 0: not known yet;  budget: seconds after which the run ends in any case
        """
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **numbers}) + "\n")
        left = seconds_left(step - self.after, steps - self.after, time.monotonic() - self.begin) if steps else None
        if budget is not None:
            left, steps = (budget, 0) if left is None or left > budget else (left, steps)
        self.words = f"step {step}/{steps or '?'}  loss {numbers['loss']:.4f}"
        self.words += f"  {clock(left)} left" if left is not None else ""
        if self.stream.isatty():
            self.stream.write("\r" + self.words.ljust(60))
            self.stream.flush()

    def began(self, loss: float) -> None:
        """The first step is done: with what loss, and after how long, which tells of the pace. No line of the file."""
        self.stream.write(f"step {self.after + 1}  loss {loss:.4f}  after {time.monotonic() - self.begin:.1f} s\n")
        self.stream.flush()

    def saved(self) -> None:
        """The state is on disk: a line for logs, or the end of the terminal's line."""
        if self.words:
            self.stream.write("\n" if self.stream.isatty() else self.words + "\n")
            self.stream.flush()
        self.words = ""

    def _lines(self) -> list[str]:
        """Whole lines of an earlier part of the run; a kill may have cut the last one."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []
        return [line for line in lines if line.endswith("}") and line.startswith('{"step"')]
