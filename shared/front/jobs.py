"""The one job runner of a server: declared slots, place in line, progress, time left, memory, cancel.

    jobs = JobRunner(slots=1)
    job = jobs.submit(lambda report: ADD.run(settings, report), label=ADD.name, owner=session)
    for now in job.follow():           # in a page handler, itself a generator
        yield status(now)
    outcome = job.outcome()            # the result; raises what the work raised, Cancelled after Stop

A job runs in a thread of its slot. Whoever follows it holds a lease: when the follower is gone (tab closed, client
lost) the job is cancelled, at its next step at the latest ``lease`` seconds after it was last looked at.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from shared.errors import Cancelled, UserError
from shared.front.operation import Report
from shared.front.progress import Pace

T = TypeVar("T")
LONGEST_LINE = 32  # waiting jobs; a longer line helps nobody


@dataclass(frozen=True)
class Now:
    """A look at a job.

    state        waiting, running, done, failed or cancelled
    place        jobs ahead of it in the line; 0 when it runs or is next
    done, total  steps; total is 0 before the first report
    seconds      how long it has run
    left         seconds until the end as far as known
    memory       MiB that the server process holds
    """

    state: str
    place: int = 0
    done: int = 0
    total: int = 0
    note: str = ""
    preview: Any = None
    seconds: float = 0.0
    left: float | None = None
    memory: float = 0.0

    @property
    def finished(self) -> bool:
        return self.state in ("done", "failed", "cancelled")


class Job(Generic[T]):
    """A submitted piece of work. Made by ``JobRunner.submit``."""

    def __init__(self, runner: JobRunner, work: Callable[[Report], T], label: str, owner: str) -> None:
        self.label = label
        self.owner = owner
        self._runner = runner
        self._work = work
        self._changed = runner._changed
        self._stop = threading.Event()
        self._state = "waiting"
        self._done, self._total, self._note = 0, 0, ""
        self._pace = Pace()
        self._preview: Any = None
        self._seen = time.monotonic()
        self._started: float | None = None
        self._ended: float | None = None
        self._version = 0
        self._result: T | None = None
        self._error: BaseException | None = None

    def cancel(self) -> None:
        """Ask the job to stop: a waiting job leaves the line, a running one stops at its next step."""
        with self._changed:
            self._stop.set()
            if self._state == "waiting":
                self._runner._line.remove(self)
                self._finish("cancelled", error=Cancelled("stopped by the user"))
            self._note_change()

    def now(self) -> Now:
        """Where the job stands; renews the lease."""
        with self._changed:
            self._seen = time.monotonic()
            return self._look()

    def follow(self, interval: float = 0.5) -> Iterator[Now]:
        """Looks at the job at every change, at least every ``interval`` seconds, until it ends.

        Leaving the loop early (the page's generator is closed) cancels the job.
        """
        version = -1
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda seen=version: self._version != seen, timeout=interval)  # type: ignore[misc]
                    version = self._version
                look = self.now()
                yield look
                if look.finished:
                    return
        finally:
            if self._ended is None:
                self.cancel()

    def outcome(self) -> T:
        """The result of a finished job; raises what the work raised, ``Cancelled`` when it was stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended is not None)
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def _look(self) -> Now:
        end = time.monotonic() if self._ended is None else self._ended
        seconds = 0.0 if self._started is None else end - self._started
        if self._state == "waiting":
            place, left = self._runner._place(self), self._runner._wait_left(self)
        else:
            place, left = 0, self._pace.left()
        memory = self._runner.memory()
        return Now(self._state, place, self._done, self._total, self._note, self._preview, seconds, left, memory)

    def _report(self, done: int, total: int, note: str = "", preview: Any = None) -> None:
        with self._changed:
            if time.monotonic() - self._seen > self._runner.lease:
                self._stop.set()
            if self._stop.is_set():
                raise Cancelled("stopped by the user")
            self._done, self._total, self._note = done, total, note
            self._pace.step(done, total)
            self._preview = self._preview if preview is None else preview
            self._note_change()

    def _run(self) -> None:
        try:
            self._report(0, 0)  # a job whose follower left while it waited does not start
            result = self._work(self._report)
        except Cancelled as stop:
            self._finish("cancelled", error=stop)
        except BaseException as error:
            self._finish("failed", error=error)
        else:
            self._finish("done", result=result)

    def _finish(self, state: str, result: T | None = None, error: BaseException | None = None) -> None:
        with self._changed:
            self._state, self._result, self._error = state, result, error
            self._ended = time.monotonic()
            self._note_change()

    def _note_change(self) -> None:
        self._version += 1
        self._changed.notify_all()


class JobRunner:
    """Runs at most ``slots`` jobs at a time, in the order of submission.

    slots   1 on a small machine: two diffusion runs on two cores take longer than one after the other
    lease   seconds after which a job that nobody looks at is cancelled
    """

    def __init__(self, slots: int = 1, lease: float = 15.0) -> None:
        if slots < 1:
            raise UserError(f"{slots} slots run nothing", where="--slots", remedy="give at least 1")
        self.slots, self.lease = slots, lease
        self._changed = threading.Condition(threading.RLock())
        self._line: deque[Job[Any]] = deque()
        self._running: list[Job[Any]] = []
        self._durations: dict[str, float] = {}  # label -> seconds of the last finished job of that kind
        self._names = itertools.count()

    def submit(self, work: Callable[[Report], T], *, label: str, owner: str = "") -> Job[T]:
        """Put work in the line.

        work    called as ``work(report)`` in a thread; it stops by letting ``Cancelled`` from ``report`` pass
        label   kind of job: durations of the same kind make the estimate of the waiting time
        owner   session of the user, for ``cancel_all``
        Raises UserError when the line is full.
        """
        job = Job(self, work, label, owner)
        with self._changed:
            if len(self._line) >= LONGEST_LINE:
                raise UserError(f"{LONGEST_LINE} jobs are waiting already", remedy="try again in a few minutes")
            self._line.append(job)
            self._start_next()
        return job

    def cancel_all(self, owner: str) -> int:
        """Cancel all jobs of an owner (Stop pressed, tab closed); returns how many were still waiting or running."""
        with self._changed:
            jobs = [job for job in (*self._running, *self._line) if job.owner == owner]
            for job in jobs:
                job.cancel()
        return len(jobs)

    @property
    def busy(self) -> tuple[int, int]:
        """(running, waiting)."""
        with self._changed:
            return len(self._running), len(self._line)

    def memory(self) -> float:
        """MiB held by this process: resident, and on the accelerator when torch uses one."""
        import psutil

        held = float(psutil.Process().memory_info().rss)
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
            held += torch.cuda.memory_allocated()
        return held / 2**20

    def _start_next(self) -> None:
        while self._line and len(self._running) < self.slots:
            job = self._line.popleft()
            job._state, job._started = "running", time.monotonic()
            self._running.append(job)
            threading.Thread(target=self._serve, args=(job,), name=f"job-{next(self._names)}", daemon=True).start()

    def _serve(self, job: Job[Any]) -> None:
        job._run()
        with self._changed:
            if job._state == "done" and job._started is not None and job._ended is not None:
                self._durations[job.label] = job._ended - job._started
            self._running.remove(job)
            self._start_next()
            for waiting in self._line:
                waiting._version += 1
            self._changed.notify_all()

    def _place(self, job: Job[Any]) -> int:
        return self._line.index(job)

    def _wait_left(self, job: Job[Any]) -> float | None:
        """Seconds until a waiting job ends: what runs, what is ahead, itself, shared by the slots; None if unknown."""
        parts = [self._left(other) for other in self._running]
        parts += [self._durations.get(other.label) for other in itertools.islice(self._line, self._place(job) + 1)]
        return None if None in parts else sum(part for part in parts if part is not None) / self.slots

    def _left(self, running: Job[Any]) -> float | None:
        """Seconds until a running job ends: by its own pace, else by how long the last of its kind took."""
        look, known = running._look(), self._durations.get(running.label)
        return look.left if look.left is not None or known is None else max(0.0, known - look.seconds)
