"""Signals that end a command: they interrupt it as Ctrl-C does, so that nothing half-done stays behind.

with endings() as ended:
    work()
code = 128 + ended[0] if ended else 0
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Final

ENDINGS: Final = (signal.SIGTERM, signal.SIGHUP)  # ``kill`` and the end of a batch system's time; a closed terminal


@contextlib.contextmanager
def endings() -> Iterator[list[int]]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt; yields the list that takes the number of the one that came.

    The first one counts: clean-up is not interrupted again. A signal that the caller ignores (``nohup``) stays ignored,
    and a thread that is not the main one, which signals never reach, changes nothing.
    """
    ended: list[int] = []

    def end(number: int, frame: object) -> None:
        if not ended:
            ended.append(number)
            raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    taken = [number for number in ENDINGS if main and signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, end)
    try:
        yield ended
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
