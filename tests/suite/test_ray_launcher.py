"""The launcher's own part over Ray, with a stand-in for Ray that does tasks at once: no cluster has to come up."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from shared.launch import TRIES, Done, Failed, Workers, launch
from tests.suite import batch_work

JOBS = [{"number": number} for number in range(5)]


class RayError(Exception):
    """The stand-in's error."""


class WorkerCrashedError(RayError):
    """A worker died more often than it may."""


class Ray:
    """Does a task when its answer is asked for; `dies` says how often the worker of a job dies first.

    tries      by number of the job;  running  the most at a time;  options  of the last task
    cancelled  (reference, force) of every cancelled task;  log  starts and ends of the cluster
    """

    exceptions = SimpleNamespace(RayError=RayError, WorkerCrashedError=WorkerCrashedError)

    def __init__(self, dies: dict[int, int] | None = None, lost: Sequence[int] = (), up: bool = False) -> None:
        self.dies, self.lost, self.up = dies or {}, tuple(lost), up
        self.tries: dict[int, int] = {}
        self.open: list[Any] = []
        self.running, self.log = 0, list[str]()
        self.options: dict[str, Any] = {}
        self.cancelled: list[tuple[int, bool]] = []

    def is_initialized(self) -> bool:
        return self.up

    def init(self, *_: Any, **__: Any) -> None:
        self.log.append("init")

    def shutdown(self) -> None:
        self.log.append("shutdown")

    def remote(self, **options: Any) -> Callable[[Callable[..., Any]], Any]:
        self.options = options
        return lambda function: SimpleNamespace(remote=lambda *given: self._task(function, given))

    def _task(self, function: Callable[..., Any], given: tuple[Any, ...]) -> int:
        place = given[1]["number"]
        self.open.append((place, function, given))
        self.running = max(self.running, len(self.open))
        return place

    def wait(self, busy: list[int], num_returns: int) -> tuple[list[int], list[int]]:
        return busy[-num_returns:], busy[:-num_returns]  # the newest ends first: answers come out of order

    def get(self, reference: int) -> Any:
        (task,) = [task for task in self.open if task[0] == reference]
        self.open.remove(task)
        if reference in self.lost:
            raise RayError("the node\nis gone")
        for _ in range(self.options["max_retries"] + 1):
            self.tries[reference] = self.tries.get(reference, 0) + 1
            if self.tries[reference] > self.dies.get(reference, 0):
                return task[1](*task[2])
        raise WorkerCrashedError

    def cancel(self, reference: int, force: bool) -> None:
        self.cancelled.append((reference, force))


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Ray], Ray]:
    def put(ray: Ray) -> Ray:
        monkeypatch.setitem(sys.modules, "ray", ray)
        return ray

    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"):  # what the launcher sets is undone
        monkeypatch.setenv(name, "")
    for name in ("RAY_raylet_start_wait_time_s", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"):
        monkeypatch.setenv(name, "1")
    return put


def test_a_job_is_tried_three_times_and_then_given_up(use: Callable[[Ray], Ray]) -> None:
    ray = use(Ray(dies={1: TRIES - 1, 2: TRIES}))
    answers = dict(launch(batch_work.square, JOBS, Workers("ray", 2)))
    assert ray.tries == {0: 1, 1: TRIES, 2: TRIES, 3: 1, 4: 1}
    assert answers[2] == Failed(f"its worker died {TRIES} times, perhaps for want of memory")
    assert {n: a.result["square"] for n, a in answers.items() if isinstance(a, Done)} == {0: 0, 1: 1, 3: 9, 4: 16}


def test_a_failing_task_ends_nothing_else_and_says_why(use: Callable[[Ray], Ray]) -> None:
    use(Ray(lost=[4]))
    answers = dict(launch(batch_work.refuse_odd, JOBS, Workers("ray", 3)))
    assert answers[1] == Failed("1 is odd; give 2") and answers[3] == Failed("ZeroDivisionError: a bug")
    assert answers[4] == Failed("RayError: the node is gone")
    assert isinstance(answers[0], Done) and isinstance(answers[2], Done)


def test_no_more_tasks_run_than_there_are_workers_and_each_holds_its_accelerators(use: Callable[[Ray], Ray]) -> None:
    ray = use(Ray())
    assert len(dict(launch(batch_work.square, JOBS, Workers("ray", 2, gpus=1)))) == 5
    assert ray.running == 2 and ray.options == {"num_cpus": 1, "num_gpus": 1, "max_retries": TRIES - 1}
    assert ray.log == ["init", "shutdown"] and not ray.cancelled


def test_leaving_early_cancels_what_runs_and_ends_the_cluster_that_was_started(use: Callable[[Ray], Ray]) -> None:
    ray = use(Ray())
    running = launch(batch_work.square, JOBS, Workers("ray", 3))
    place, _ = next(running)
    running.close()  # type: ignore[attr-defined]
    assert sorted(ray.cancelled) == sorted((n, True) for n in range(3) if n != place)
    assert ray.log == ["init", "shutdown"]


def test_a_cluster_that_was_there_is_left_running(use: Callable[[Ray], Ray]) -> None:
    ray = use(Ray(up=True))
    assert len(dict(launch(batch_work.square, JOBS, Workers("ray", 2)))) == 5
    assert ray.log == []
