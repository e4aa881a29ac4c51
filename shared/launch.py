"""Many independent jobs over local processes or Ray: one function, a list of plain jobs, results as they come.

    for place, answer in launch(work, jobs, Workers("ray", count=8)):
        ...

`work` is a function of a module (workers import it by name), a job and its result are plain JSON values. A job whose
worker dies (out of memory, killed) is given to another, three times in all; what `work` raises is the job's failure and
ends nothing else. Results that matter are files that `work` writes: nothing is kept here.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Literal

from shared.errors import UserError

Job = Mapping[str, Any]
Work = Callable[[Job], Mapping[str, Any]]
TRIES = 3  # workers that may die of one job


@dataclass(frozen=True)
class Workers:
    """Who does the work.

    launcher  "local": processes of this machine (one worker: this very process);  "ray": tasks of a Ray cluster
    count     jobs at a time
    gpus      accelerators that each worker holds for itself; 0: none are set apart
    address   of a running Ray cluster ("auto" or HOST:PORT); empty: one is started here, for this run, on loopback only
    """

    launcher: Literal["local", "ray"] = "local"
    count: int = 1
    gpus: int = 0
    address: str = ""


@dataclass(frozen=True)
class Done:
    """What `work` returned."""

    result: Mapping[str, Any]


@dataclass(frozen=True)
class Failed:
    """Why a job has no result, in a sentence."""

    why: str


def launch(work: Work, jobs: Sequence[Job], workers: Workers) -> Iterator[tuple[int, Done | Failed]]:
    """Do all jobs; yields (place in the list, answer) in the order in which they end.

    Closing the iterator, or an exception where it is used, ends all workers.
    """
    if workers.launcher == "ray":
        yield from _over_ray(work, jobs, workers)
    elif workers.count == 1 and not workers.gpus:
        for place, job in enumerate(jobs):
            yield place, _attempt(work, job)
    else:
        yield from _over_processes(work, jobs, workers)


def _attempt(work: Work, job: Job) -> Done | Failed:
    try:
        return Done(work(job))
    except UserError as error:
        return Failed(str(error))
    except Exception as error:  # one job's bug must not end the others; its name and words are recorded
        return Failed(f"{type(error).__name__}: {error}")


# -------------------------------------------------------------------------------------------- processes of this machine


class _Worker:
    """A process of its own that takes jobs one after the other; `pipe` carries them there and answers back."""

    def __init__(self, work: Work, gpus: Sequence[int]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        alive, self.leash = context.Pipe(duplex=False)  # nothing is ever sent: its end tells that the parent is gone
        self.gpus = gpus
        self.process = context.Process(target=_serve, args=(theirs, alive, work, list(gpus)), daemon=True)
        self.process.start()
        theirs.close()
        alive.close()

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()
        self.leash.close()


def _serve(pipe: Connection, alive: Connection, work: Work, gpus: Sequence[int]) -> None:
    """The life of a worker: it ends at once when its parent does, whatever it is doing."""
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))

    def follow() -> None:
        with contextlib.suppress(EOFError, OSError):
            alive.recv_bytes()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    with contextlib.suppress(EOFError):
        while True:
            pipe.send(_attempt(work, pipe.recv()))


def _over_processes(work: Work, jobs: Sequence[Job], workers: Workers) -> Iterator[tuple[int, Done | Failed]]:
    waiting, tries = list(reversed(range(len(jobs)))), [0] * len(jobs)
    busy: dict[_Worker, int] = {}
    idle: list[_Worker] = []
    unused = list(range(min(workers.count, len(jobs))))  # places of workers that are yet to be started

    def start() -> _Worker:
        first = unused.pop(0) * workers.gpus
        return _Worker(work, range(first, first + workers.gpus))

    try:
        while waiting or busy:
            while waiting and (idle or unused):
                worker, place = idle.pop() if idle else start(), waiting.pop()
                tries[place] += 1
                busy[worker] = place
                with contextlib.suppress(OSError):  # it died idle: the wait below sees it
                    worker.pipe.send(dict(jobs[place]))
            ready = wait([worker.pipe for worker in busy])
            for worker in [worker for worker in busy if worker.pipe in ready]:
                place = busy.pop(worker)
                try:
                    answer = worker.pipe.recv()
                except (EOFError, OSError):  # the worker is dead
                    unused.append(worker.gpus[0] // workers.gpus if workers.gpus else 0)
                    worker.end()
                    if tries[place] < TRIES:
                        waiting.append(place)
                        continue
                    answer = Failed(_died(tries[place]))
                else:
                    idle.append(worker)
                yield place, answer
    finally:
        for worker in [*busy, *idle]:
            worker.end()


def _died(times: int) -> str:
    return f"its worker died {times} times, perhaps for want of memory"


# ------------------------------------------------------------------------------------------------------------------ Ray


def _over_ray(work: Work, jobs: Sequence[Job], workers: Workers) -> Iterator[tuple[int, Done | Failed]]:
    ray = _ray(workers)
    own = not ray.is_initialized()
    if own:
        _join(ray, workers)
    busy: dict[Any, int] = {}
    try:
        task = ray.remote(num_cpus=1, num_gpus=workers.gpus, max_retries=TRIES - 1)(_attempt)
        waiting = list(reversed(range(len(jobs))))
        while waiting or busy:
            while waiting and len(busy) < workers.count:
                place = waiting.pop()
                busy[task.remote(work, dict(jobs[place]))] = place
            (ended, *_), _ = ray.wait(list(busy), num_returns=1)
            place = busy.pop(ended)
            try:
                answer = ray.get(ended)
            except ray.exceptions.WorkerCrashedError:
                answer = Failed(_died(TRIES))
            except ray.exceptions.RayError as error:  # out of memory, a lost machine
                answer = Failed(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
            yield place, answer
    finally:
        for running in busy:
            ray.cancel(running, force=True)
        if own:
            ray.shutdown()


def _ray(workers: Workers) -> Any:
    """Ray, without its reports home, and for a cluster of this machine alone with loopback as the machine's address."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if not workers.address:  # otherwise Ray puts the address of the network for 127.0.0.1; read when Ray is imported
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")  # 30 are too few on a busy machine
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a task without GPUs leaves the variable alone
    try:
        import ray
    except ModuleNotFoundError:
        remedy = "pip install 'diffusion-suite[scale]', or use --launcher local"
        raise UserError("Ray is not installed", where="--launcher ray", remedy=remedy) from None
    return ray


def _join(ray: Any, workers: Workers) -> None:
    """Join a cluster, or start one of this machine that listens on loopback alone and shows no dashboard."""
    if workers.address:
        try:
            ray.init(address=workers.address, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            words = " ".join(str(error).split())[:200]
            remedy = "start one with `ray start --head`, or leave --address away"
            raise UserError(f"no Ray cluster answers ({words})", where=workers.address, remedy=remedy) from None
        return
    try:
        ray.init(
            "local",
            num_cpus=workers.count,
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            log_to_driver=False,
        )
    except Exception as error:  # Ray raises bare Exception when its own processes do not come up in time
        words = " ".join(str(error).split())[:200]
        remedy = "try again when the machine is less busy, or use --launcher local"
        raise UserError(f"Ray did not start ({words})", where="--launcher ray", remedy=remedy) from None
