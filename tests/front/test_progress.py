"""Progress: an honest time left, one line on a terminal, a line now and then in a log, the time of a whole process."""

from __future__ import annotations

import io
import subprocess
import sys
import time

import pytest

from shared.front.progress import Pace, TerminalReport, clock
from tests.conftest import ROOT


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_time_left_does_not_take_the_first_call_for_all() -> None:
    hands = Hands()
    pace = Pace(hands)
    said = []
    for done in range(1, 41):
        hands.at += 20.0 if done == 1 else 0.5  # loading and warming up take as long as forty calls
        pace.step(done, 1000)
        said.append(pace.left())
    assert said[0] is None, "one call that warmed up says nothing of the others"
    known = [(left, 0.5 * (1000 - done)) for done, left in enumerate(said, 1) if left is not None]
    assert len(known) > 30
    assert all(left == pytest.approx(true) for left, true in known)


def test_a_stage_that_counts_again_has_a_pace_of_its_own() -> None:
    hands = Hands()
    pace = Pace(hands)
    for done in (1, 2, 3):
        hands.at += 2
        pace.step(done, 3)
    pace.step(0, 5)
    assert pace.left() is None
    for done in (1, 2):
        hands.at += 10
        pace.step(done, 5)
    assert pace.left() == pytest.approx(30)
    hands.at += 4
    assert pace.left() == pytest.approx(26), "it goes on between two steps"


def test_a_log_gets_a_line_now_and_then_with_count_time_left_and_note() -> None:
    hands, log = Hands(), io.StringIO()
    report = TerminalReport(log, hands)
    hands.at += 60  # imports
    report(0, 1, "reading")
    for done in range(1, 961):
        hands.at += 0.125
        report(done, 960, f"{done // 80} of 12 lesions done")
    report.close()
    lines = log.getvalue().splitlines()
    assert 10 <= len(lines) <= 14, "two minutes: no silence, and no flood"
    assert lines[0] == "24/960  1 min 57 s left  0 of 12 lesions done"
    assert "\r" not in log.getvalue()


def test_a_log_of_a_long_run_stays_short_and_that_of_a_short_one_empty() -> None:
    hands, log = Hands(), io.StringIO()
    report = TerminalReport(log, hands)
    for done in range(1, 28_801):
        hands.at += 1
        report(done, 28_800)
        assert done > 2 or not log.getvalue()
    assert 50 < len(log.getvalue().splitlines()) < 200


def test_a_terminal_has_one_line_that_is_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    shown = Terminal()
    report = TerminalReport(shown, Hands())
    report(1, 3, "a note " * 20)
    report(2, 3)
    report.close()
    assert "\n" not in shown.getvalue()
    first, second, blank = shown.getvalue().split("\r")[1:4]
    assert first.startswith("1/3  a note") and len(first) == 39, "a line that wraps would stay"
    assert second.rstrip() == "2/3" and len(second) == 39 and not blank.strip()


def test_a_reader_who_left_does_not_stop_the_work() -> None:
    tried: list[str] = []

    class Closed(Terminal):
        def write(self, text: str) -> int:
            tried.append(text)
            raise OSError(5, "Input/output error")

    report = TerminalReport(Closed(), Hands())
    report(1, 2)
    report(2, 2)
    report.close()
    assert [text.strip() for text in tried] == ["1/2", "2/2", ""]


def test_a_process_knows_how_long_it_has_run_its_start_included() -> None:
    """A second of start-up counts; the kernel's clock of starts may be off by some hundredths on a virtual machine."""
    before = time.monotonic()
    program = (
        f"import time\nwhile time.monotonic() < {before + 1}: pass\n"
        "from shared.front.progress import process_start\nprint(process_start())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert abs(float(done.stdout) - before) < 0.5


def test_time_is_said_as_people_say_it() -> None:
    assert [clock(seconds) for seconds in (0.4, 59.4, 185)] == ["0 s", "59 s", "3 min 05 s"]
