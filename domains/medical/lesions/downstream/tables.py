"""The cells as tables: entries for docs/measured, {"value", "low", "high"} or {"columns", "rows"}."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.medical.lesions.downstream.cells import VARIANTS
from domains.medical.lesions.downstream.plan import ARMS, LONG_TAIL_ARMS, PATIENT_ARMS
from domains.medical.lesions.downstream.statistics import Interval, bootstrap, verdict
from domains.medical.lung2d import KINDS

SMALL_RADIUS = 5.0  # pixels: nodules below count as small
Cells = Mapping[tuple[int, str], Mapping[str, Any]]
Entries = dict[str, dict[str, Any]]


def values(
    cells: Cells, arm: str, name: str = "dice", keep: Callable[[Mapping[str, Any]], NDArray] | None = None
) -> Any:
    """(seeds, patches) of one quantity of an arm; nan where `keep` (a cell -> bool (patches,)) says no."""
    rows = []
    for seed in sorted({seed for seed, _ in cells}):
        row = np.array(cells[seed, arm][name], float)
        rows.append(row if keep is None else np.where(keep(cells[seed, arm]), row, np.nan))
    return np.stack(rows)


def of_kind(kind: int) -> Callable[[Mapping[str, Any]], NDArray]:
    """The patches whose nodule has the kind."""
    return lambda cell: np.array(cell["kinds"]) == kind


def difference(cells: Cells, arm: str, other: str, kind: int | None = None) -> Interval:
    """Paired interval of the Dice of one arm minus that of another."""
    keep = None if kind is None else of_kind(kind)
    return bootstrap(values(cells, arm, keep=keep) - values(cells, other, keep=keep))


def entry(interval: Interval) -> dict[str, Any]:
    """A value with its interval."""
    return {"value": interval.value, "low": interval.low, "high": interval.high, "digits": 2}


def signed(interval: Interval) -> str:
    """`+0.034 (+0.012 to +0.055)`."""
    return f"{interval.value:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"


def mean(array: NDArray) -> str:
    """Mean over seeds and patches, three decimals."""
    return f"{np.nanmean(np.nanmean(array, 1)):.3f}"


def lung_entries(cells: Cells) -> Entries:
    """The main experiment: every arm, the two differences of the rule, the verdict, and the texture check."""
    small = lambda cell: np.array(cell["radii"]) < SMALL_RADIUS  # noqa: E731
    large = lambda cell: np.array(cell["radii"]) >= SMALL_RADIUS  # noqa: E731
    rows, by_type = [], []
    for arm, title in ARMS.items():
        dice = bootstrap(values(cells, arm))
        against = "-" if arm == "real" else signed(difference(cells, arm, "real"))
        with_nodule, alarms = len(cells[next(iter(cells))]["dice"]), values(cells, arm, "alarms")
        rows.append(
            [
                title,
                f"{dice.value:.3f} ({dice.low:.3f} to {dice.high:.3f})",
                against,
                mean(values(cells, arm, "found")),
                mean(alarms[:, :with_nodule]),
                mean(alarms[:, with_nodule:]),
            ]
        )
        kinds = [mean(values(cells, arm, keep=of_kind(k))) for k in range(len(KINDS))]
        by_type.append([title, *kinds, *(mean(values(cells, arm, keep=keep)) for keep in (small, large))])
    over_real, over_hand = (difference(cells, "lefusion", other) for other in ("real", "hand_crafted"))
    asked = [cells[seed, "lefusion"] for seed in sorted({seed for seed, _ in cells})]
    return {
        "arms": {
            "columns": [
                "trained on",
                "Dice",
                "minus real only",
                "nodules found",
                "false alarms a patch with nodule",
                "false alarms a normal patch",
            ],
            "rows": rows,
        },
        "by_type": {
            "columns": ["Dice, trained on", *KINDS, f"radius < {SMALL_RADIUS:g}", f"radius >= {SMALL_RADIUS:g}"],
            "rows": by_type,
        },
        "over_real": entry(over_real),
        "over_hand_crafted": entry(over_hand),
        "over_copy_paste": entry(difference(cells, "lefusion", "copy_paste")),
        "verdict": {"value": verdict(over_real, over_hand)},
        "correlation": {"value": float(np.mean([cell["correlation"] for cell in asked])), "digits": 2},
        "distance": {"value": float(np.mean([cell["distance"] for cell in asked])), "digits": 2},
        "distance_shuffled": {"value": float(np.mean([cell["distance_shuffled"] for cell in asked])), "digits": 2},
        "cpu_minutes": {"value": sum(cell["cpu_seconds"] for cell in cells.values()) / 60, "digits": 2, "unit": "min"},
    }


def long_tail_entries(cells: Cells) -> Entries:
    """The variant with few solid nodules: Dice by type, and the difference that the hypothesis is about."""
    solid = KINDS.index("solid")
    rows = [
        [title, mean(values(cells, arm)), *(mean(values(cells, arm, keep=of_kind(k))) for k in range(len(KINDS)))]
        for arm, title in LONG_TAIL_ARMS.items()
    ]
    over = difference(cells, "lefusion", "copy_paste", solid)
    return {
        "long_tail": {"columns": ["trained on", "Dice", *KINDS], "rows": rows},
        "long_tail_over_copy_paste": entry(over),
        "long_tail_over_real": entry(difference(cells, "lefusion", "real", solid)),
        "long_tail_verdict": {
            "value": "supported" if over.low > 0 else "contradicted" if over.high < 0 else "undecided"
        },
    }


def patient_entries(cells: Mapping[tuple[str, str, str], Mapping[str, Any]]) -> Entries:
    """The real patients: mean and range over the training runs."""
    rows = []
    for (a, b, arm), cell in cells.items():
        dice = [run["dice"] for run in cell["runs"]]
        found, alarms = (float(np.mean([run[name] for run in cell["runs"]])) for name in ("found", "alarms"))
        spread = f"{np.mean(dice):.3f} ({min(dice):.3f} to {max(dice):.3f})"
        rows.append([f"{a} -> {b}", PATIENT_ARMS[arm], spread, f"{found:.2f}", f"{alarms:.0f}"])
    columns = ["patients", "trained on", "Dice of the volume (range)", "lesions found", "false alarms a brain"]
    return {"patients": {"columns": columns, "rows": rows}}


def cost_entries(*groups: Mapping[Any, Mapping[str, Any]]) -> Entries:
    """Processor time of all cells together: of every variant, and of the patients where they were run."""
    seconds = sum(cell["cpu_seconds"] for cells in groups for cell in cells.values())
    return {"cpu_minutes_all": {"value": seconds / 60, "digits": 2, "unit": "min"}}


ENTRIES: dict[str, Callable[[Cells], Entries]] = {"main": lung_entries, "long_tail": long_tail_entries}
assert ENTRIES.keys() == VARIANTS.keys()
