"""One thing done to several volumes at once: numpy, scipy and zlib let other threads run while they work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`function` of every item, in their order, on as many threads as there are cores for this process.

    The first item, in their order, that raises decides what is raised, as in a loop. What has begun by then is waited
    for, what has not is left undone.
    """
    every = list(items)
    workers = min(len(every), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if workers < 2:
        return [function(item) for item in every]
    with ThreadPoolExecutor(workers, "medical") as threads:
        return list(threads.map(function, every))
