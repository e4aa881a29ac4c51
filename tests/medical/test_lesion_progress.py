"""A long run says how far it is: lesions done, calls of all variations, and those of lesions that are drawn again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domains.medical.lesions import add
from domains.medical.lesions.counting import Counting, lesions_by_site
from domains.medical.lesions.operations import ADD, AddLesions
from domains.medical.lesions.placement import lesions_of
from domains.medical.lesions.run import add_lesions
from tests.medical.lesion_world import ball, small_brain, untrained, written

STEPS = {"steps": 10, "jump": 1, "repeats": 1}
CALLS = 10


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run over three lesions, two of which are near each other and share a patch."""
    folder = tmp_path_factory.mktemp("scan")
    volumes, _ = small_brain()
    frame = volumes["FLAIR"].frame
    middles = ((20, 44, 40), (20, 48, 44), (52, 44, 40))
    mask = np.any([ball(frame.ras_shape, middle, 1.5) for middle in middles], axis=0)
    files = written(folder, volumes, np.ascontiguousarray(frame.from_ras(mask)))
    return {
        "image": {"FLAIR": str(files["FLAIR"])},
        "mask": str(files["mask"]),
        "checkpoint": str(untrained(folder / "tiny.safetensors")),
        "outside_training": True,
        "anywhere": True,
        **STEPS,
    }


def reports(settings: dict[str, Any], out: Path, **more: Any) -> list[tuple[int, int, str]]:
    seen: list[tuple[int, int, str]] = []

    def report(done: int, total: int, note: str = "", preview: Any = None) -> None:
        seen.append((done, total, note))

    add_lesions(AddLesions(**{**settings, "out": str(out), **more}), report, ADD)
    return seen


def of_calls(seen: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    return [row for row in seen if "lesions done" in row[2]]


def test_lesions_done_are_counted_also_where_two_share_a_patch(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(add, "REDRAWS", 0)
    seen = reports(settings, tmp_path / "out")
    notes = list(dict.fromkeys(note for _, _, note in seen))
    assert notes[:3] == ["reading the scan", "comparing it with the training scans", "loading the network"]
    assert notes[3] == "3 lesions in 2 patches" and seen[3][:2] == (0, 2 * CALLS), "the cost is said before it begins"
    assert notes[-2:] == ["writing", "written"]
    counts = [int(note.split()[0]) for _, _, note in of_calls(seen)]
    assert counts == sorted(counts) and counts[0] == 0 and counts[-1] == 3
    assert {note.partition(" ")[2] for _, _, note in of_calls(seen)} == {"of 3 lesions done"}
    assert {(done, total) for done, total, _ in of_calls(seen)} == {(k, 2 * CALLS) for k in range(2 * CALLS + 1)}


def test_calls_are_counted_over_all_variations(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(add, "REDRAWS", 0)
    seen = of_calls(reports(settings, tmp_path / "out", count=2))
    counts = [done for done, _, _ in seen]
    assert counts == sorted(counts) and set(counts) == set(range(4 * CALLS + 1)), "it never counts down or jumps"
    assert {total for _, total, _ in seen} == {4 * CALLS}
    assert (seen[0][2], seen[-1][2]) == (
        "0 of 3 lesions done, variation 1 of 2",
        "3 of 3 lesions done, variation 2 of 2",
    )


def test_lesions_that_are_drawn_again_come_on_top() -> None:
    volumes, _ = small_brain()
    frame = volumes["FLAIR"].frame
    mask = np.zeros(frame.ras_shape, bool)
    mask[20:23, 44, 40] = mask[20:23, 48, 44] = mask[52, 44, 40] = True
    prepared = add.prepare(volumes, np.ascontiguousarray(frame.from_ras(mask)), anywhere=True)
    assert lesions_by_site(prepared) == [len(lesions_of(site.mask)) for site in prepared.sites] == [2, 1]
    told: list[tuple[int, int, str]] = []

    def report(done: int, total: int, note: str = "", preview: Any = None) -> None:
        told.append((done, total, note))

    counting = Counting(prepared, report, calls=4, variations=2)
    say = counting.variation()
    for done, total in ((3, 8), (4, 8), (8, 8), (0, 4), (4, 4)):
        say(done, total, "")
    counting.variation()(1, 8, "")
    assert told == [
        (3, 16, "0 of 3 lesions done, variation 1 of 2"),
        (4, 16, "2 of 3 lesions done, variation 1 of 2"),
        (8, 16, "3 of 3 lesions done, variation 1 of 2"),
        (8, 20, "3 of 3 lesions done, drawing again: 0 of 1 places, variation 1 of 2"),
        (12, 20, "3 of 3 lesions done, drawing again: 1 of 1 places, variation 1 of 2"),
        (13, 20, "0 of 3 lesions done, variation 2 of 2"),
    ]
