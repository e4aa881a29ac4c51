"""Jobs over processes of this machine: each is done once, a dead worker's by another, a failure is its own."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import psutil
import pytest

from shared.errors import UserError
from shared.launch import Done, Failed, Workers, launch
from tests.suite import batch_work


def numbers(count: int, folder: Path | None = None) -> list[dict]:
    return [{"number": number, "folder": str(folder)} for number in range(count)]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_job_is_done_once_and_its_answer_is_its_own(count: int) -> None:
    answers = dict(launch(batch_work.square, numbers(4), Workers("local", count)))
    assert sorted(answers) == [0, 1, 2, 3]
    assert all(isinstance(a, Done) and a.result["square"] == place**2 for place, a in answers.items())
    processes = {a.result["process"] for a in answers.values() if isinstance(a, Done)}
    assert processes == {os.getpid()} if count == 1 else os.getpid() not in processes
    assert len(processes) <= count


@pytest.mark.parametrize("count", [1, 2])
def test_what_work_raises_is_the_failure_of_its_job_alone(count: int) -> None:
    answers = dict(launch(batch_work.refuse_odd, numbers(4), Workers("local", count)))
    assert answers[1] == Failed("1 is odd; give 2") and answers[3] == Failed("ZeroDivisionError: a bug")
    assert isinstance(answers[0], Done) and isinstance(answers[2], Done)


def test_a_killed_workers_job_is_done_by_another_and_given_up_after_three(tmp_path: Path) -> None:
    answers = dict(launch(batch_work.die_at_first, numbers(4, tmp_path), Workers("local", 2)))
    assert [type(answers[place]) for place in range(4)] == [Done, Done, Failed, Done]
    assert {n: (tmp_path / f"{n}.tries").stat().st_size for n in range(4)} == {0: 1, 1: 2, 2: 3, 3: 1}
    given_up = answers[2]
    assert isinstance(given_up, Failed) and "died 3 times" in given_up.why


def test_leaving_early_ends_the_workers(tmp_path: Path) -> None:
    jobs = [{"number": 0, "folder": str(tmp_path)}, {"number": 2, "folder": str(tmp_path)}]
    before = {child.pid for child in psutil.Process().children()}
    running = launch(batch_work.square, jobs, Workers("local", 2))
    next(running)
    assert {child.pid for child in psutil.Process().children()} > before
    assert isinstance(running, Generator)
    running.close()
    left = {child.pid for child in psutil.Process().children()} - before
    assert not [pid for pid in left if "spawn_main" in " ".join(psutil.Process(pid).cmdline())]


def test_each_worker_sees_its_own_accelerators() -> None:
    answers = dict(launch(batch_work.visible, numbers(1), Workers("local", 1, gpus=2)))
    assert answers == {0: Done({"devices": "0,1"})}


def test_a_missing_ray_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UserError, match=r"Ray is not installed; pip install 'diffusion-suite\[scale\]'"):
        list(launch(batch_work.square, numbers(1), Workers("ray")))
