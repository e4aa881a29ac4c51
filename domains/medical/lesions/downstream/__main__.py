"""`python -m domains.medical.lesions.downstream`: run what has not been run yet and print the tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import torch

from domains.medical.lesions.downstream.cells import Say, run_all
from domains.medical.lesions.downstream.patients import PatientPlan, run_patients
from domains.medical.lesions.downstream.plan import SMALL, Plan
from domains.medical.lesions.downstream.tables import ENTRIES, Entries, cost_entries, patient_entries
from domains.medical.lesions.train import data_folder
from shared.front.atomic import write_atomic
from shared.measured import record

COMMAND = "python -m domains.medical.lesions.downstream --record"


def run(out: Path, *, small: bool = False, seeds: Sequence[int] = (), say: Say = print) -> Entries:
    """Every cell that `out` lacks, then the entries of the tables, which are also written to `out`/entries.json.

    small   one seed, two minutes, no patients: a look;  seeds  only these, and no tables
    Without the open MS brains the table of the patients is left out.
    """
    torch.set_num_threads(1)
    plan = SMALL if small else Plan()
    entries, made = Entries(), list[Mapping[Any, Any]]()
    for variant, summary in ENTRIES.items():
        cells = run_all(plan, out, variant=variant, seeds=seeds or None, say=say)
        made.append(cells)
        if not seeds:
            entries |= summary(cells)
    data = data_folder()
    if data is not None and not small and not seeds:
        made.append(run_patients(PatientPlan(), data, out, say=say))
        entries |= patient_entries(made[-1])
    if not seeds:
        entries |= cost_entries(*made)
        write_atomic(out / "entries.json", json.dumps(entries, indent=1, allow_nan=False) + "\n")
    return entries


def lines(entry: dict[str, Any]) -> list[str]:
    """A table or a number as plain text."""
    if "rows" in entry:
        cells = [[str(cell) for cell in row] for row in (entry["columns"], *entry["rows"])]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    value = entry["value"]
    shown = value if isinstance(value, str) else f"{value:.3f}"
    return [shown + (f" ({entry['low']:.3f} to {entry['high']:.3f})" if "low" in entry else "")]


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("results/downstream"), help="Folder of the cells.")
@click.option("--seed", "seeds", type=int, multiple=True, help="Only these data seeds, to share work over processes.")
@click.option("--record", "keep", is_flag=True, help="Write docs/measured/lefusion_downstream.json (in a checkout).")
@click.option("--small", is_flag=True, help="One seed and no patients, two minutes: a look, not a measurement.")
def main(out: Path, seeds: tuple[int, ...], keep: bool, small: bool) -> None:
    """Run the downstream experiment; a run that was stopped goes on where it was."""
    if keep and (seeds or small):
        raise click.UsageError("--record needs the whole experiment: leave out --seed and --small")
    entries = run(out, small=small, seeds=seeds, say=click.echo)
    if keep:
        record("lefusion_downstream", entries, command=COMMAND)
    if not seeds:
        for name, entry in entries.items():
            click.echo("\n".join([f"\n{name}", *lines(entry)]))


if __name__ == "__main__":
    main()
