"""``suite train RECIPE``: make a checkpoint again. Recipes are registered in ``suite/apps.py``."""

from __future__ import annotations

from pathlib import Path

import click

from shared.errors import Cancelled, UserError
from shared.front.command import load
from suite.apps import RECIPES

STATE = "training.safetensors"  # of shared/training/state.py, which would import torch for `suite train --help`


@click.command("train")
@click.argument("recipe")
@click.option("--size", type=click.Choice(["cpu", "gpu"]), default="cpu", help="Network and data for this machine.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), metavar="M", help="Stop after M minutes.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Default: runs/RECIPE.")
@click.option("--resume", is_flag=True, help="Go on from the last save in the folder.")
def command(recipe: str, size: str, minutes: float | None, out: Path | None, resume: bool) -> None:
    """Make a checkpoint again from its recipe: data, network and budget are the recipe's own."""
    if recipe not in RECIPES:
        known = ", ".join(RECIPES)
        raise UserError(f"no recipe {recipe!r}", where="train", remedy=f"the recipes are {known}")
    folder = Path("runs") / recipe if out is None else out
    begun = folder.is_dir() and any(folder.rglob(STATE))
    if resume and not begun:
        raise UserError("holds no training to go on from", where=str(folder), remedy="leave out --resume to start one")
    if not resume and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        go_on = "add --resume to go on, or " if begun else ""
        raise UserError("holds files already", where=str(folder), remedy=f"{go_on}choose another --out")
    train = load(RECIPES[recipe])
    length = "as long as the recipe says" if minutes is None else f"for {minutes:g} min"
    click.echo(f"{recipe}, {size}: trains {length} into {folder}; data and network are made first", err=True)
    budget = {} if minutes is None else {"minutes": minutes}  # without it, the recipe's own
    try:
        train(size=size, out=folder, resume=resume, **budget)
    except (Cancelled, KeyboardInterrupt):
        if any(folder.rglob(STATE)):
            raise Cancelled(f"go on from the last save in {folder} with --resume") from None
        raise Cancelled(f"nothing was saved in {folder} yet") from None
