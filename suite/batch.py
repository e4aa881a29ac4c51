"""``suite batch OPERATION --settings FILE.jsonl --out DIR``: one operation over a list of settings, into DIR/00001, ...

A line of the file is a JSON object with the operation's options, less its folder for results. Every item is a folder
that appears whole or not at all: the operation's files, and item.json with its settings, its sentence and its report.
With --resume, items that are there are kept; summary.json lists all of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import click

from shared.errors import UserError
from shared.front.atomic import staged_folder, sweep, write_atomic
from shared.front.command import STOPPED, load
from shared.front.extras import absent
from shared.front.operation import Operation
from shared.front.option import EXAMPLE
from shared.front.progress import TerminalReport, counted
from shared.launch import Done, Failed, Workers, launch

ITEM, SUMMARY = "item.json", "summary.json"
LARGEST_LIST = 64 * 2**20  # bytes; a line of settings is below a kilobyte


class Batch(click.Command):
    """The command, whose help names what it can do many times."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Operations"):
            formatter.write_dl([(each.name, each.help) for each in known().values()])


@click.command("batch", cls=Batch)
@click.argument("operation", metavar="OPERATION")
@click.option(
    "--settings", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="One JSON object a line."
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Folder for the items.")
@click.option("--launcher", type=click.Choice(["local", "ray"]), default="local", help="Where the workers run (local).")
@click.option("--workers", type=click.IntRange(1, 4096), default=1, metavar="N", help="Items at a time (1).")
@click.option("--gpus", type=click.IntRange(0, 64), default=0, metavar="N", help="Accelerators of each worker (0).")
@click.option("--address", default="", metavar="HOST:PORT", help="A running Ray cluster; none: one of this machine.")
@click.option("--resume", is_flag=True, help="Keep the items that are there, and make the others.")
@click.pass_context
def command(
    ctx: click.Context,
    operation: str,
    settings: Path | None,
    out: Path | None,
    launcher: Literal["local", "ray"],
    workers: int,
    gpus: int,
    address: str,
    resume: bool,
) -> None:
    """Run an operation over a list of settings: local processes, or Ray on many machines."""
    if settings is None or out is None:
        raise UserError("--settings and --out are needed", where="batch", remedy="name the list and a folder")
    if address and launcher != "ray":
        raise UserError("--address is of Ray", where="batch", remedy="add --launcher ray")
    jobs = jobs_of(operation, tables(), settings, out)
    try:
        failed = run(jobs, out, Workers(launcher, workers, gpus, address), resume=resume)
    except KeyboardInterrupt:
        there = sum(finished(job) is not None for job in jobs)
        click.echo(f"stopped; {there} of {counted(len(jobs), 'item')} are done: add --resume to go on", err=True)
        ctx.exit(STOPPED)
    if failed:
        first, why = next(iter(failed.items()))
        raise UserError(
            f"{len(failed)} of {counted(len(jobs), 'item')} failed ({first}: {why})",
            where=str(out / SUMMARY),
            remedy="mend their settings and add --resume",
        )


# ------------------------------------------------------------------------------------------------------------- the list


def tables() -> dict[str, str]:
    """App -> `module:attribute` of the tuple of its operations, for the apps of this installation."""
    from suite.apps import built_apps

    return {app.slug: app.operations for app in built_apps()}


def known() -> dict[str, Operation]:
    """The operations that write a folder of results, by name."""
    each = (operation for table in dict.fromkeys(tables().values()) for operation in load(table))
    return {operation.name: operation for operation in each if _folders(operation)}


def jobs_of(name: str, tables: Mapping[str, str], file: Path, out: Path) -> list[dict[str, Any]]:
    """One plain job a line of the list, all checked before any is done.

    tables   app -> `module:attribute` of the tuple of its operations
    Raises UserError for an operation that is not known or has no folder, and for the first line that is no settings.
    """
    places = {each.name: table for table in dict.fromkeys(tables.values()) for each in load(table)}
    if name not in places:
        raise UserError(
            f"no operation {name!r}", where="batch", remedy=f"the operations are {', '.join(sorted(places))}"
        )
    operation = _operation(places[name], name)
    folders = _folders(operation)
    if len(folders) != 1:
        raise UserError(f"{name} writes no folder of results", where="batch", remedy="choose another operation")
    jobs = []
    for number, (line, text) in enumerate(_lines(file), 1):
        where = f"{file.name}, line {line}"
        try:
            values = json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            raise UserError("is not JSON", where=where, remedy="write one object a line") from None
        if not isinstance(values, dict) or folders[0] in values:
            raise UserError(
                "is no object of settings"
                if not isinstance(values, dict)
                else f"names {folders[0]!r}, which --out gives",
                where=where,
                remedy="write the options of the operation, less its folder",
            )
        try:
            found = operation.settings.from_json({**_placed(operation, values, file.parent), folders[0]: "item"})
        except UserError as error:
            place = f"{where}, {error.where}" if error.where else where
            raise UserError(error.what, where=place, remedy=error.remedy) from None
        plain = {key: value for key, value in found.to_json().items() if key not in ("version", folders[0])}
        place = str((out / f"{number:05d}").absolute())
        jobs.append({"operation": name, "table": places[name], "settings": plain, "folder": folders[0], "place": place})
    if not jobs:
        raise UserError("holds no settings", where=str(file), remedy="write one JSON object a line")
    return jobs


def _lines(file: Path) -> list[tuple[int, str]]:
    try:
        if file.stat().st_size > LARGEST_LIST:
            raise UserError(f"{file.stat().st_size} bytes are too many", where=str(file), remedy="split the list")
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or "is not text"
        raise UserError(f"cannot be read ({words})", where=str(file), remedy="name a file of settings") from None
    return [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _placed(operation: Operation, values: Mapping[str, Any], beside: Path) -> dict[str, Any]:
    """Input files by their whole path, as workers stand elsewhere: as written, or beside the list."""

    def find(path: Any) -> Any:
        if not isinstance(path, str) or not path or path.startswith(EXAMPLE):
            return path
        return str(next((p.absolute() for p in (Path(path), beside / path) if p.is_file()), path))

    found = dict(values)
    for option in operation.settings.options():
        value = values.get(option.name)
        if option.kind == "files" and isinstance(value, Mapping):
            found[option.name] = {name: find(path) for name, path in value.items()}
        elif option.kind in ("file", "files") and value is not None:
            found[option.name] = [find(path) for path in value] if isinstance(value, list) else find(value)
    return found


def _folders(operation: Operation) -> list[str]:
    return [option.name for option in operation.settings.options() if option.local]


def _operation(table: str, name: str) -> Operation:
    found: Operation = next(each for each in load(table) if each.name == name)
    return found


# ------------------------------------------------------------------------------------------------------------ the items


def run(jobs: list[dict[str, Any]], out: Path, workers: Workers, *, resume: bool) -> dict[str, str]:
    """Make the items that are not there; writes summary.json and returns the failures, item -> why.

    Raises UserError when the folder holds anything and resume is off, or holds an item of other settings.
    """
    if not resume and out.is_dir() and any(out.iterdir()):
        raise UserError("holds files already", where=str(out), remedy="add --resume to go on, or choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    sweep(out)
    there = {job["place"]: found for job in jobs if (found := finished(job)) is not None}
    todo = [job for job in jobs if job["place"] not in there]
    begin, failed, report = time.monotonic(), dict[str, str](), TerminalReport()
    try:
        report(len(there), len(jobs))
        for place, answer in launch(make, todo, workers):
            job = todo[place]
            if isinstance(answer, Done):
                there[job["place"]] = answer.result
            elif isinstance(answer, Failed):
                failed[Path(job["place"]).name] = answer.why
            report(len(there) + len(failed), len(jobs), f"{len(failed)} failed" if failed else "")
    finally:
        report.close()
        summary = {
            "operation": jobs[0]["operation"],
            "items": len(jobs),
            "done": len(there),
            "failed": failed,
            "launcher": workers.launcher,
            "workers": workers.count,
            "seconds": round(time.monotonic() - begin, 3),
            "sentences": {Path(place).name: there[place]["sentence"] for place in sorted(there)},
        }
        write_atomic(out / SUMMARY, json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    click.echo(f"{len(there)} of {counted(len(jobs), 'item')} in {out}")
    return failed


def finished(job: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """item.json of an item that is there; raises UserError when it was made with other settings."""
    file = Path(job["place"]) / ITEM
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        same = (found["operation"], found["settings"]) == (job["operation"], job["settings"])
        str(found["sentence"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError("is no item", where=str(file), remedy="remove its folder, and resume") from None
    if not same:
        remedy = "resume with the list it was made from, or choose another folder"
        raise UserError("was made with other settings", where=str(file.parent), remedy=remedy)
    return dict(found)


def make(job: Mapping[str, Any]) -> dict[str, Any]:
    """One item, whole or not at all: what a worker does."""
    operation = _operation(job["table"], job["operation"])
    with staged_folder(job["place"]) as folder:
        settings = operation.settings.from_json({**job["settings"], job["folder"]: str(folder)})
        begin = time.monotonic()
        try:
            outcome = operation.run(settings, lambda done, total, note="", preview=None: None)
        except ModuleNotFoundError as error:
            raise absent(error) or error from None
        item = {
            "operation": job["operation"],
            "settings": job["settings"],
            "sentence": outcome.sentence,
            "files": [str(file.relative_to(folder)) for file in outcome.files],
            "report": dict(outcome.report),
            "seconds": round(time.monotonic() - begin, 3),
        }
        write_atomic(folder / ITEM, json.dumps(item, indent=1, ensure_ascii=False) + "\n")
    return item
