"""``suite models``: the checkpoints that ship with the suite, read from their cards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from suite.apps import APPS, ROOT


def checkpoints() -> tuple[Path, ...]:
    """Every shipped weights file: ``*.safetensors`` with a card (``*.json``) beside it, under domains/."""
    return tuple(
        sorted(file for file in (ROOT / "domains").rglob("*.safetensors") if file.with_suffix(".json").is_file())
    )


def card(weights: Path) -> Mapping[str, Any]:
    """The card of a weights file."""
    data: Mapping[str, Any] = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    return data


def of_apps() -> dict[str, dict[str, Any]]:
    """What an app's checkpoints weigh (MiB) and took to train (minutes), in all: APP.mib and APP.minutes for pages.

    Both are None where an app has no checkpoint, or one that is absent.
    """
    found: dict[str, dict[str, Any]] = {}
    for app in APPS:
        files = [] if app.absent else [ROOT / path for path in app.checkpoints]
        mib, minutes = sum(f.stat().st_size for f in files) / 2**20, sum(float(card(f)["minutes"]) for f in files)
        found[f"{app.slug}.mib"] = {"value": mib if files else None, "digits": 2}
        found[f"{app.slug}.minutes"] = {"value": minutes if files else None, "digits": 2}
    return found


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="The cards as JSON, with data, metrics and hashes in full.")
def command(as_json: bool) -> None:
    """The checkpoints that ship with the suite: size, licence, training, data and what was measured."""
    found = checkpoints()
    if as_json:
        cards = [{"file": str(file.relative_to(ROOT)), **card(file)} for file in found]
        click.echo(json.dumps(cards, indent=1))
    elif not found:
        click.echo("no checkpoint ships with this installation; make one with: suite train RECIPE")
    else:
        click.echo(table([(file, card(file)) for file in found]))


def table(found: Sequence[tuple[Path, Mapping[str, Any]]]) -> str:
    """A line a checkpoint; below it its data, its limits, and every measured value between its floor and ceiling."""
    heads = [("name", "size", "training", "licence", "file"), *(_head(file, facts) for file, facts in found)]
    first, *others = _aligned(heads)
    lines = [first]
    for line, (_, facts) in zip(others, found, strict=True):
        lines += ["", line, *(f"    {words}" for words in _below(facts))]
    return "\n".join(
        [*lines, "", "Floor and ceiling: chance, and what real or exact data reach. In full: suite models --json"]
    )


def _head(file: Path, facts: Mapping[str, Any]) -> tuple[str, ...]:
    minutes = facts.get("minutes")
    return (
        str(facts.get("name", file.stem)),
        f"{file.stat().st_size / 2**20:.1f} MiB",
        "" if minutes is None else f"{minutes:.0f} min",
        str(facts.get("licence", "not said")),
        str(file.relative_to(ROOT)),
    )


def _below(facts: Mapping[str, Any]) -> list[str]:
    lines = []
    if facts.get("data"):
        lines.append("trained on " + "; ".join(source["name"] for source in facts["data"]))
    lines += [str(facts[key]) for key in ("failures", "use") if key in facts]
    metrics = facts.get("metrics") or {}
    if metrics:
        lines += _aligned([("measured", "value", "floor", "ceiling"), *(_metric(*one) for one in metrics.items())])
    return lines


def _metric(name: str, said: Any) -> tuple[str, ...]:
    known = said if isinstance(said, Mapping) else {"value": said}
    return (name, *(f"{known[key]:.2f}" if key in known else "" for key in ("value", "floor", "ceiling")))


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
