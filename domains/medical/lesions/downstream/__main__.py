"""`python -m domains.medical.lesions.downstream`: run what has not been run yet and print the tables."""

from __future__ import annotations

from pathlib import Path

import click
import torch

from domains.medical.lesions.downstream.cells import VARIANTS, run_all
from domains.medical.lesions.downstream.plan import SMALL, Plan


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("results/downstream"), help="Folder of the cells.")
@click.option("--seed", "seeds", type=int, multiple=True, help="Only these data seeds, to share work over processes.")
@click.option("--small", is_flag=True, help="One seed, a minute: a look, not a measurement.")
def main(out: Path, seeds: tuple[int, ...], small: bool) -> None:
    """Run the downstream experiment; a run that was stopped goes on where it was."""
    torch.set_num_threads(1)
    plan = SMALL if small else Plan()
    for variant in VARIANTS:
        run_all(plan, out, variant=variant, seeds=seeds or None, say=click.echo)


if __name__ == "__main__":
    main()
