"""Work for the launchers' tests, in a module of its own so that workers can import it."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.errors import UserError


def square(job: Mapping[str, Any]) -> dict[str, Any]:
    return {"square": job["number"] ** 2, "process": os.getpid()}


def refuse_odd(job: Mapping[str, Any]) -> dict[str, Any]:
    if job["number"] == 1:
        raise UserError("1 is odd", remedy="give 2")
    if job["number"] == 3:
        raise ZeroDivisionError("a bug")
    return square(job)


def die_at_first(job: Mapping[str, Any]) -> dict[str, Any]:
    """The worker of job 1 is killed once, that of job 2 always."""
    marks = Path(job["folder"])
    with (marks / f"{job['number']}.tries").open("a") as file:
        file.write("x")
    tries = (marks / f"{job['number']}.tries").stat().st_size
    if (job["number"] == 1 and tries == 1) or job["number"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return square(job)


def visible(job: Mapping[str, Any]) -> dict[str, Any]:
    return {"devices": os.environ.get("CUDA_VISIBLE_DEVICES", "")}
