"""Several volumes at once, as if one after another."""

from __future__ import annotations

import os
import threading

import pytest

from domains.medical.parallel import each


def test_what_several_threads_make_comes_in_the_order_of_what_was_given() -> None:
    later = threading.Event()

    def slow_first(item: int) -> int:
        if item == 0 and len(os.sched_getaffinity(0)) > 1:
            assert later.wait(10), "the second item did not start while the first was at work"
        if item == 1:
            later.set()
        return item * item

    assert each(slow_first, range(5)) == [0, 1, 4, 9, 16] and each(slow_first, []) == []


def test_of_several_failures_the_first_in_order_is_raised_and_nothing_goes_on_behind_it() -> None:
    begun, ended = [], []

    def fails(item: int) -> None:
        begun.append(item)
        threading.Event().wait(0.01 * (item + 1))
        ended.append(item)
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 0"):
        each(fails, range(4))
    assert 0 in ended and sorted(begun) == sorted(ended)
