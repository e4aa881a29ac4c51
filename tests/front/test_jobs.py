"""The job runner: one at a time, a place in line, a Stop that freezes the work, a follower who left."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from shared.errors import Cancelled, UserError
from shared.front.jobs import LONGEST_LINE, Job, JobRunner
from shared.front.operation import Report


class Steps:
    """Work whose every step waits for permission, so that a test decides how far it gets."""

    def __init__(self, total: int = 10) -> None:
        self.total, self.taken = total, 0
        self.permission = threading.Semaphore(0)

    def __call__(self, report: Report) -> str:
        for done in range(self.total):
            report(done, self.total, f"step {done}")
            assert self.permission.acquire(timeout=10)
            self.taken += 1
        return "finished"

    def allow(self, steps: int) -> None:
        for _ in range(steps):
            self.permission.release()


def until(job: Job[str], state: str) -> None:
    for look in job.follow(interval=0.05):
        if look.state == state:
            return


@pytest.fixture
def jobs() -> Iterator[JobRunner]:
    yield JobRunner(slots=1, lease=30)


def test_a_job_reports_progress_and_gives_its_result(jobs: JobRunner) -> None:
    work = Steps(3)
    work.allow(3)
    job = jobs.submit(work, label="steps")
    looks = list(job.follow())
    assert looks[-1].state == "done" and looks[-1].memory > 10
    assert job.outcome() == "finished" and work.taken == 3


def test_stop_freezes_the_step_counter_and_raises_cancelled(jobs: JobRunner) -> None:
    work = Steps(10)
    job = jobs.submit(work, label="steps")
    work.allow(2)
    for look in job.follow(interval=0.05):
        if look.done == 2:
            break  # leaving the loop cancels, as closing the tab does
    work.allow(8)
    with pytest.raises(Cancelled):
        job.outcome()
    assert work.taken == 3, "only the step that was under way when Stop was pressed may finish"
    assert job.now().state == "cancelled"


def test_one_slot_runs_one_job_and_the_others_know_their_place(jobs: JobRunner) -> None:
    works = [Steps(1) for _ in range(3)]
    first, second, third = (jobs.submit(work, label="steps") for work in works)
    assert (second.now().state, second.now().place) == ("waiting", 0)
    assert (third.now().state, third.now().place) == ("waiting", 1)
    assert jobs.busy == (1, 2) and works[1].taken == 0
    works[0].allow(1)
    assert first.outcome() == "finished"
    works[1].allow(1)
    assert second.outcome() == "finished"
    works[2].allow(1)
    assert third.outcome() == "finished"


def test_the_waiting_time_is_known_once_a_job_of_the_kind_has_finished(jobs: JobRunner) -> None:
    quick = Steps(1)
    quick.allow(1)
    jobs.submit(quick, label="steps").outcome()
    running, waiting = Steps(4), Steps(1)
    first = jobs.submit(running, label="steps")
    running.allow(2)
    later = jobs.submit(waiting, label="steps")
    for look in first.follow(interval=0.05):
        if look.done == 2:
            left = later.now().left
            break
    assert left is not None and left > 0
    later.cancel()
    running.allow(2)


def test_a_waiting_job_leaves_the_line_when_cancelled(jobs: JobRunner) -> None:
    running, waiting = Steps(1), Steps(1)
    first = jobs.submit(running, label="steps")
    second = jobs.submit(waiting, label="steps")
    second.cancel()
    assert second.now().state == "cancelled" and jobs.busy == (1, 0)
    running.allow(1)
    assert first.outcome() == "finished" and waiting.taken == 0


def test_a_job_that_nobody_looks_at_is_cancelled() -> None:
    jobs = JobRunner(slots=1, lease=0.0)
    work = Steps(5)
    work.allow(5)
    job = jobs.submit(work, label="steps")
    with pytest.raises(Cancelled):
        job.outcome()
    assert work.taken < 5


def test_all_jobs_of_a_session_stop_together(jobs: JobRunner) -> None:
    works = [Steps(2) for _ in range(3)]
    mine = [jobs.submit(work, label="steps", owner="me") for work in works[:2]]
    other = jobs.submit(works[2], label="steps", owner="you")
    assert jobs.cancel_all("me") == 2
    works[0].allow(1)
    for job in mine:
        with pytest.raises(Cancelled):
            job.outcome()
    works[2].allow(2)
    assert other.outcome() == "finished"


def test_an_error_of_the_work_reaches_the_one_who_asks_and_frees_the_slot(jobs: JobRunner) -> None:
    def broken(report: Report) -> None:
        raise UserError("the mask is empty", remedy="paint one")

    with pytest.raises(UserError, match="the mask is empty"):
        jobs.submit(broken, label="broken").outcome()
    work = Steps(1)
    work.allow(1)
    assert jobs.submit(work, label="steps").outcome() == "finished"


def test_the_line_has_an_end(jobs: JobRunner) -> None:
    first = Steps(1)
    jobs.submit(first, label="steps", owner="me")
    for _ in range(LONGEST_LINE):
        jobs.submit(Steps(1), label="steps", owner="me")
    with pytest.raises(UserError, match="waiting already"):
        jobs.submit(Steps(1), label="steps", owner="me")
    jobs.cancel_all("me")
    first.allow(1)
