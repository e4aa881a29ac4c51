"""``suite models``: the checkpoints that ship with the suite, read from their cards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from suite.apps import ROOT


def checkpoints() -> tuple[Path, ...]:
    """Every shipped weights file: ``*.safetensors`` with a card (``*.json``) beside it, under domains/."""
    return tuple(
        sorted(file for file in (ROOT / "domains").rglob("*.safetensors") if file.with_suffix(".json").is_file())
    )


def card(weights: Path) -> Mapping[str, Any]:
    """The card of a weights file."""
    data: Mapping[str, Any] = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    return data


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="The cards as JSON.")
def command(as_json: bool) -> None:
    """The checkpoints that ship with the suite, and their cards."""
    found = checkpoints()
    if as_json:
        cards = [{"file": str(file.relative_to(ROOT)), **card(file)} for file in found]
        click.echo(json.dumps(cards, indent=1))
        return
    for file in found:
        facts = card(file)
        size = file.stat().st_size / 2**20
        click.echo(f"{facts.get('name', file.stem)}  {size:.1f} MiB  {file.relative_to(ROOT)}")
        for key in ("recipe", "data", "licence", "minutes", "metrics"):
            if facts.get(key) is not None:
                click.echo(f"    {key}: {_line(facts[key])}")
    if not found:
        click.echo("no checkpoint ships with this installation; make one with: suite train RECIPE")


def _line(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
