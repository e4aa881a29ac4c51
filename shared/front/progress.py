"""Time left, and progress on a terminal or in a log; times and numbers of things in words."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

SETTLED = 0.5  # seconds after which a pace is known: fewer calls than that tell of the machine's other work
FIRST, EVERY, SHARE = (
    3.0,
    10.0,
    0.05,
)  # a log's first line (s), the time between lines (s, or a share of the run so far)


def seconds_left(done: int, total: int, elapsed: float) -> float | None:
    """Seconds until the end at the pace so far: elapsed (total - done) / done; None before the first step."""
    return elapsed * (total - done) / done if done > 0 else None


def clock(seconds: float) -> str:
    """Seconds as people say them: ``45 s``, ``3 min 05 s``."""
    whole = max(0, round(seconds))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"


def counted(number: int, noun: str) -> str:
    """How many of what, as people say it: ``1 note``, ``3 notes``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def process_start() -> float:
    """When this process was started, on the clock of ``time.monotonic``: before the interpreter and its imports."""
    import psutil

    began = psutil.Process().create_time()
    if hasattr(time, "CLOCK_BOOTTIME"):  # the clock that Linux counts in; time.time() may have been set since the boot
        passed = time.clock_gettime(time.CLOCK_BOOTTIME) - (began - psutil.boot_time())
    else:
        passed = time.time() - began
    return time.monotonic() - passed


class Pace:
    """What is left of a run, from the steps since its first: that one loads and warms up, and tells nothing of others.

        seconds left = (total - done) (now - t_1) / (done - d_1)        d_1 steps were done when the first ended, at t_1

    Counting down, ``done`` begins again: another stage, with a pace of its own.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._done = 0
        self._first: tuple[float, int] | None = None
        self._end: float | None = None

    def step(self, done: int, total: int) -> None:
        """Note that ``done`` of ``total`` steps are finished."""
        at = self.now()
        if done < self._done:
            self._first = self._end = None
        self._done = done
        if self._first is None:
            self._first = (at, done) if done > 0 else None
        elif at - self._first[0] >= SETTLED:
            begin, before = self._first
            left = seconds_left(done - before, total - before, at - begin)
            self._end = None if left is None else at + left

    def left(self) -> float | None:
        """Seconds until the end; None while nobody can know."""
        return None if self._end is None else max(0.0, self._end - self.now())


class TerminalReport:
    """A ``Report`` in words: on a terminal one line that is kept up to date, in a log or a pipe a line now and then.

    A log has no line of a run that ends at once; then one every ten seconds, and more seldom in a long run.
    """

    def __init__(self, stream: TextIO | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.now, self.pace = now, Pace(now)
        self.start: float | None = None  # of the first report: what is imported before it is no part of the run
        self.next = 0.0
        self.width = 0

    def __call__(self, done: int, total: int, note: str = "", preview: Any = None) -> None:
        if self.start is None:
            self.start = self.now()
            self.next = self.start + FIRST
        self.pace.step(done, total)
        left = self.pace.left()
        parts = (f"{done}/{total}" * (total > 1), f"{clock(left)} left" if left is not None else "", note)
        words = "  ".join(part for part in parts if part)
        if self.stream.isatty():
            words = words[: shutil.get_terminal_size().columns - 1]  # a longer line wraps, and stays
            self._write("\r" + words.ljust(self.width))
            self.width = len(words)
        elif self.now() >= self.next:
            self.next = self.now() + max(EVERY, SHARE * (self.now() - self.start))
            self._write(words + "\n")

    def close(self) -> None:
        """Clear the line of a terminal."""
        if self.width:
            self._write("\r" + " " * self.width + "\r")
            self.width = 0

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError:  # a closed terminal, a log that ended: no reason to stop the work
            silence(self.stream)


def silence(stream: TextIO) -> None:
    """What is written to a stream whose reader has left goes nowhere from now on, and so does what its buffer holds."""
    with contextlib.suppress(OSError):  # a stream of the memory has no number
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
