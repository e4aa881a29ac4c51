"""Time left, and progress on a terminal."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO


def seconds_left(done: int, total: int, elapsed: float) -> float | None:
    """Seconds until the end at the pace so far: elapsed (total - done) / done; None before the first step."""
    return elapsed * (total - done) / done if done > 0 else None


def clock(seconds: float) -> str:
    """Seconds as people say them: ``45 s``, ``3 min 05 s``."""
    whole = max(0, round(seconds))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"


class TerminalReport:
    """A ``Report`` that keeps one line of a terminal up to date; silent when the stream is not a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.start = time.monotonic()
        self.width = 0

    def __call__(self, done: int, total: int, note: str = "", preview: Any = None) -> None:
        if self.stream.isatty():
            left = seconds_left(done, total, time.monotonic() - self.start)
            words = (
                f"{done}/{total}" + (f"  {clock(left)} left" if left is not None else "") + (f"  {note}" * bool(note))
            )
            self.stream.write("\r" + words.ljust(self.width))
            self.stream.flush()
            self.width = len(words)

    def close(self) -> None:
        """Clear the line."""
        if self.width:
            self.stream.write("\r" + " " * self.width + "\r")
            self.stream.flush()
            self.width = 0
