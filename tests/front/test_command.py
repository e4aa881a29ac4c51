"""The generated command line: options, replay, and every mistake as one sentence with exit code 2."""

from __future__ import annotations

import fcntl
import json
import os
import re
import resource
import signal
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from shared.errors import Cancelled
from shared.front.command import command, invoke
from shared.front.operation import Operation, Outcome, Report
from shared.front.settings import REQUIRED, Settings, option
from tests.front.sample_app import WALK, Walk

ROOT = Path(__file__).resolve().parents[2]
ENTRY = command(WALK)


def run(*args: str) -> int:
    return invoke(ENTRY, args, program="walk")


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_run_writes_its_files_and_names_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--start", "example:origin", "--steps", "5", "--out", str(tmp_path / "a")) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("5 steps") and str(tmp_path / "a" / "walk.csv") in printed.out
    assert listing(tmp_path) == ["a", "a/walk.csv", "a/walk.json"]


def test_the_time_in_all_is_counted_from_when_the_user_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--start", "example:origin", "--steps", "2", "--out", str(tmp_path / "a")]
    assert invoke(ENTRY, args, program="walk", began=lambda: time.monotonic() - 600) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert re.search("mm away; 10 min [0-9]+ s in all, start-up and loading included$", first), first


@dataclass(frozen=True, kw_only=True)
class Greet(Settings):
    """An option whose words may stand without its flag."""

    greeting: str = option(REQUIRED, kind="str", bare=True, help="What to say.")
    out: str = option(REQUIRED, kind="folder", help="Folder for the results.")


GREET = command(Operation("sample_greet", Greet, lambda s, report: Outcome(s.greeting), ("sample", "greet"), "Greet."))


def test_a_file_where_a_folder_is_made_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = tmp_path / "results"
    taken.touch()
    code = invoke(click.Command("make", callback=lambda: taken.mkdir(exist_ok=True)), [], program="suite make")
    told = capsys.readouterr().err
    assert (code, told.count("\n")) == (2, 1)
    assert told.startswith(f"{taken}: file exists; a folder is needed")


@pytest.mark.parametrize("taken", ["folder", "file"])
def test_a_place_that_is_taken_is_refused_before_the_work_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], taken: str
) -> None:
    def work(settings: Greet, report: Report) -> Outcome:
        raise AssertionError("the work imports what it needs, which takes seconds")

    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").touch()
    (tmp_path / "file").touch()
    entry = command(Operation("sample_greet", Greet, work, ("sample", "greet"), "Greet."))
    assert invoke(entry, ["hello", "--out", str(tmp_path / taken)], program="greet") == 2
    said = capsys.readouterr().err
    assert said.startswith(str(tmp_path / taken)) and "choose a new" in said and said.count("\n") == 1


@pytest.mark.parametrize("words", [("good morning",), ("good", "morning"), ("--greeting", "good morning")])
def test_words_without_a_flag_are_those_of_the_option_that_takes_them(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(GREET, [*words, "--out", "a"], program="greet") == 0
    assert capsys.readouterr().out.startswith("good morning; ")


def test_words_that_are_given_twice_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(GREET, ["hello", "--greeting", "good morning", "--out", "a"], program="greet") == 2
    assert capsys.readouterr().err == "--greeting: is given twice, here and as 'hello'; say it once\n"


def test_a_sidecar_replays_to_the_bit_and_typed_options_win(tmp_path: Path) -> None:
    point = tmp_path / "point.csv"
    point.write_text("3,4")
    assert (
        run("--start", str(point), "--seed", "7", "--weights", "0.5", "--weights", "2", "--out", str(tmp_path / "a"))
        == 0
    )
    sidecar = tmp_path / "walk.json"
    sidecar.write_bytes((tmp_path / "a" / "walk.json").read_bytes())
    assert run("--settings", str(sidecar), "--out", str(tmp_path / "b")) == 0
    assert (tmp_path / "a" / "walk.csv").read_bytes() == (tmp_path / "b" / "walk.csv").read_bytes()
    assert run("--settings", str(sidecar), "--seed", "8", "--out", str(tmp_path / "c")) == 0
    assert (tmp_path / "a" / "walk.csv").read_bytes() != (tmp_path / "c" / "walk.csv").read_bytes()


def test_a_replay_says_what_has_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    point = tmp_path / "point.csv"
    point.write_text("3,4")
    run("--start", str(point), "--out", str(tmp_path / "a"))
    sidecar = json.loads((tmp_path / "a" / "walk.json").read_text())
    sidecar["versions"]["numpy"] = "1.0"
    (tmp_path / "walk.json").write_text(json.dumps(sidecar))
    point.write_text("3,5")
    assert run("--settings", str(tmp_path / "walk.json"), "--out", str(tmp_path / "b")) == 0
    said = capsys.readouterr().err
    assert "numpy was 1.0, is" in said and "point.csv is another file" in said


def test_a_replay_without_its_input_says_which_file_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    point = tmp_path / "point.csv"
    point.write_text("3,4")
    run("--start", str(point), "--out", str(tmp_path / "a"))
    assert run("--settings", str(tmp_path / "a" / "walk.json"), "--out", str(tmp_path / "b")) == 2
    assert "its input point.csv is neither here nor beside it" in capsys.readouterr().err


def test_a_sidecar_of_another_operation_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"operation": "audio_hum", "settings": {}}))
    assert run("--settings", str(tmp_path / "x.json"), "--out", str(tmp_path / "b")) == 2
    assert "belongs to audio_hum, not to sample_walk" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--steps", "0"), "--steps: 0 is out of range; allowed: 1 to 5000 steps"),
        (("--steps", "many"), "--steps: 'many' is not a whole number"),
        (("--stride", "nan"), "--stride: nan is not a finite number"),
        (("--nothing",), "No such option '--nothing'"),
        (("surplus",), "unexpected extra argument (surplus); see walk --help"),
        (("--layers", "T1=a.csv", "--layers", "T1=b.csv"), "the name 'T1' is given twice"),
        (("--layers", "a.csv", "--layers", "b.csv"), "a file without a name is given twice"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    args: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--start", "example:origin", "--out", str(tmp_path / "a"), *args) == 2
    printed = capsys.readouterr()
    assert said in printed.err and printed.err.count("\n") == 1 and printed.out == ""
    assert listing(tmp_path) == []


words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
flags = st.sampled_from([o.flag for o in Walk.options()] + ["--settings", "--no-closed", "--", "-x", "--help"])


@given(st.lists(flags | words, max_size=6))
@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_command_line_gives_a_traceback(tmp_path: Path, args: list[str]) -> None:
    idle = Operation("sample_idle", Walk, lambda settings, report: Outcome("done"), ("sample", "idle"), "Do nothing.")
    assert invoke(command(idle), args, program="idle") in (0, 2)


def test_stop_is_one_sentence_and_exit_code_130(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def stopped(settings: Walk, report: Report) -> Outcome:
        raise Cancelled

    entry = command(Operation("sample_stop", Walk, stopped, ("sample", "stop"), "Stop."))
    assert invoke(entry, ["--start", "example:origin", "--out", str(tmp_path / "a")], program="x") == 130
    assert capsys.readouterr().err == "stopped; nothing was written\n"


def child(
    *args: str, file_limit: int | None = None, ignored: signal.Signals | None = None, terminal: int | None = None
) -> subprocess.Popen[str]:
    """The walk in a process of its own, where it may write few bytes, ignores a signal or has a terminal."""

    def limit() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a shell's background job ignores the first
            signal.signal(number, signal.SIG_IGN if number == ignored else signal.SIG_DFL)
        if terminal is not None:
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
        if file_limit is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    program = (
        "import sys; from shared.front.command import command, invoke; from tests.front.sample_app import WALK;"
        "sys.exit(invoke(command(WALK), sys.argv[1:], program='walk'))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, *args],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=terminal,
        stdout=subprocess.PIPE if terminal is None else terminal,
        stderr=subprocess.PIPE if terminal is None else terminal,
        text=True,
        preexec_fn=limit,
        start_new_session=terminal is not None,
    )


def test_a_file_size_limit_leaves_nothing_behind(tmp_path: Path) -> None:
    process = child("--start", "example:origin", "--steps", "500", "--out", str(tmp_path / "a"), file_limit=4096)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2 and said.count("\n") == 1 and "limit for the size of a file" in said
    assert listing(tmp_path) == []


def walking(folder: Path, **more: Any) -> subprocess.Popen[str]:
    """A long walk into folder/a that has begun to write."""
    args = ("--start", "example:origin", "--steps", "5000", "--pause", "0.01", "--out", str(folder / "a"))
    process = child(*args, **more)
    while not any(folder.iterdir()):
        assert process.poll() is None
    return process


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=lambda value: str(value)
)
def test_a_run_that_is_asked_to_end_leaves_nothing_and_says_so(tmp_path: Path, sent: int, code: int) -> None:
    process = walking(tmp_path)
    process.send_signal(sent)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert said.splitlines()[-1] == "stopped; nothing was written" and "Traceback" not in said
    assert listing(tmp_path) == []


def test_a_run_whose_terminal_is_closed_leaves_nothing(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    try:
        process = walking(tmp_path, terminal=theirs)
    finally:
        os.close(theirs)
        os.close(ours)  # the kernel sends SIGHUP, and every later word of the run fails
    assert process.wait(timeout=60) == 129
    assert listing(tmp_path) == []


def test_a_signal_that_the_caller_ignores_ends_nothing(tmp_path: Path) -> None:
    process = child("--start", "example:origin", "--steps", "40", "--pause", "0.01", "--out", str(tmp_path / "a"),
                    ignored=signal.SIGHUP)  # fmt: skip
    while process.poll() is None and not (tmp_path / "a").exists():
        process.send_signal(signal.SIGHUP)  # as after nohup
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert listing(tmp_path) == ["a", "a/walk.csv", "a/walk.json"]


def test_a_run_that_is_killed_leaves_no_result_and_the_next_one_sweeps_up(tmp_path: Path) -> None:
    process = walking(tmp_path)
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "a").exists()
    assert run("--start", "example:origin", "--steps", "2", "--out", str(tmp_path / "a")) == 0
    assert listing(tmp_path) == ["a", "a/walk.csv", "a/walk.json"]


def test_output_cut_off_by_a_reader_that_leaves_is_quiet() -> None:
    process = child("--help")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 1
    assert process.stderr is not None and process.stderr.read() == ""
    process.stderr.close()


def test_an_error_that_is_no_users_mistake_is_not_hidden() -> None:
    @click.command()
    def broken() -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        invoke(broken, [], program="broken")
