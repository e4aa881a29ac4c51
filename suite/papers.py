"""The paper ledger: what each of the fifty papers gives here, what it must show, and what was measured.

One JSON file a paper in ``suite/ledger``; one module an experiment in ``suite/experiments``.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import platform
import time
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from shared.errors import UserError
from shared.front.command import in_all
from shared.front.provenance import versions, write_atomic
from shared.measured import commit

LEDGER = Path(__file__).with_name("ledger")
STATUSES = ("not built", "built", "held", "partly held", "not held")
VERDICTS = STATUSES[2:]
MEASURED = (
    "status", "measured", "baseline", "ci_low", "ci_high", "negative_control", "seconds", "date", "machine", "command",
)  # fmt: skip


@dataclass(frozen=True)
class Paper:
    """One entry. ``home`` is where the method belongs; ``module`` is null while ``status`` is "not built"."""

    number: int
    slug: str
    title: str
    home: str
    gives: str
    module: str | None
    claim: str
    status: str
    threshold: float | None
    rule: str | None
    measured: float | None
    baseline: float | None
    ci_low: float | None
    ci_high: float | None
    seeds: list[int]
    negative_control: float | str | None
    seconds: float | None
    date: str | None
    machine: str | None
    commit: str | None
    command: str | None


def papers() -> tuple[Paper, ...]:
    """All entries in the order of their numbers. A wrong file raises ValueError."""
    return tuple(sorted(map(_read, LEDGER.glob("*.json")), key=lambda paper: paper.number))


def paper(slug: str) -> Paper:
    """The entry of one slug; UserError when there is none."""
    for entry in papers():
        if entry.slug == slug:
            return entry
    raise UserError(f"no paper {slug!r}", where="papers run", remedy="see the slugs in: suite papers")


def run_experiment(slug: str, *, seed: int, out: Path) -> dict[str, Any]:
    """Run a paper's experiment and write ``<slug>.json`` beside its plot in ``out``.

    Raises UserError for an unknown slug or a paper whose experiment is not built yet.
    """
    entry = paper(slug)
    name = f"suite.experiments.{slug.replace('-', '_')}"
    if importlib.util.find_spec(name) is None:
        raise UserError(
            f"{slug} has no experiment yet (status: {entry.status})",
            where="papers run",
            remedy="run one whose status in `suite papers` is not 'not built'",
        )
    module = importlib.import_module(name)
    out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    found: dict[str, Any] = module.run(seed, out)
    if found["status"] not in VERDICTS:
        raise ValueError(f"{name} gave the verdict {found['status']!r}, not one of {VERDICTS}")
    result = {
        "slug": slug,
        "claim": entry.claim,
        "threshold": entry.threshold,
        "rule": entry.rule,
        **found,
        "seeds": [seed],
        "seconds": round(time.monotonic() - start, 2),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()} {platform.system()}",
        "versions": versions(),
        "command": f"suite papers run {slug} --seed {seed}",
    }
    write_atomic(out / f"{slug}.json", json.dumps(result, indent=1) + "\n")
    return result


def record(result: dict[str, Any], folder: Path = LEDGER) -> None:
    """Put what an experiment measured into its entry; claim, threshold and rule are never touched by a result."""
    file = folder / f"{result['slug']}.json"
    entry = json.loads(file.read_text(encoding="utf-8"))
    measured = {name: result[name] for name in MEASURED if name in result}
    measured |= {"seeds": result.get("sub_seeds", result["seeds"]), "commit": commit()}
    write_atomic(file, json.dumps({**entry, **measured}, indent=1, ensure_ascii=False) + "\n")


@click.group("papers", invoke_without_command=True, no_args_is_help=False)
@click.option("--json", "as_json", is_flag=True, help="The whole ledger as JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """The fifty papers: what each gives, its claim, and the measured verdict."""
    if ctx.invoked_subcommand is not None:
        return
    entries = papers()
    if as_json:
        click.echo(json.dumps([_plain(entry) for entry in entries], indent=1, ensure_ascii=False))
        return
    width = max(len(entry.slug) for entry in entries)
    for entry in entries:
        click.echo(f"{entry.number:>2}  {entry.slug:<{width}}  {entry.status:<11}  {entry.gives}")
    built = sum(entry.status != "not built" for entry in entries)
    click.echo(f"{built} of {len(entries)} built. Details: suite papers --json")


@command.command("run")
@click.argument("slug")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, metavar="N", help="Seed (default 0).")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    metavar="DIR",
    help="Folder to write.",
)
@click.option("--record", "keep", is_flag=True, help="Put the numbers into the ledger (maintainers).")
def run_command(slug: str, seed: int, out: Path, keep: bool) -> None:
    """Run a paper's experiment again: JSON, plot and verdict."""
    result = run_experiment(slug, seed=seed, out=out)
    if keep:
        record(result)
    click.echo(f"{slug}: {result['status']} in {result['seconds']} s, {in_all()}; {out / (slug + '.json')}")


def _plain(entry: Paper) -> dict[str, Any]:
    return {field.name: getattr(entry, field.name) for field in fields(Paper)}


def _read(file: Path) -> Paper:
    data = json.loads(file.read_text(encoding="utf-8"))
    expected = [field.name for field in fields(Paper)]
    if sorted(data) != sorted(expected):
        raise ValueError(f"{file.name}: fields {sorted(set(data) ^ set(expected))} are missing or unknown")
    if data["slug"] != file.stem or data["status"] not in STATUSES:
        raise ValueError(f"{file.name}: slug {data['slug']!r} or status {data['status']!r} is wrong")
    if (data["module"] is None) != (data["status"] == "not built"):
        raise ValueError(f"{file.name}: a module and the status 'not built' exclude each other")
    return Paper(**data)
