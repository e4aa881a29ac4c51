"""Operation -> command of the command line; and the one place where errors become a sentence and an exit code.

    ADD_COMMAND = command(ADD)                                     # click.Command, every option generated
    app = group("lesions", "Lesions in scans.", {"add": Lazy("domains.medical.lesions.cli:ADD_COMMAND", "Put ...")})

Groups are lazy: a sub-command's module is imported when it is used, not when its name is listed.
Exit codes: 0 done, 2 bad input (one sentence on stderr), 130 stopped by the user, 128 + the number of a signal that
ended it: 143 (SIGTERM), 129 (SIGHUP, a closed terminal).
"""

from __future__ import annotations

import difflib
import errno
import importlib
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from shared.errors import Cancelled, UserError
from shared.front.atomic import untaken
from shared.front.embedded import carried
from shared.front.endings import endings
from shared.front.extras import absent
from shared.front.operation import Operation
from shared.front.option import EXAMPLE
from shared.front.progress import TerminalReport, clock, silence
from shared.front.provenance import differences, input_files
from shared.front.settings import Option, Settings, read_json

BAD_INPUT, STOPPED = 2, 130
BARE = "words"
_NAMED = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)=(.+)", re.DOTALL)


@dataclass(frozen=True)
class Lazy:
    """A sub-command that is imported when used: ``path`` is ``module:attribute``, ``help`` one line for the list."""

    path: str
    help: str


class LazyGroup(click.Group):
    """A group whose sub-commands are imported when they are used; listing them imports nothing."""

    def __init__(self, name: str, help: str, lazy: Mapping[str, Lazy], **options: Any) -> None:
        super().__init__(name=name, help=help, **options)
        self.lazy = dict(lazy)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        found = load(self.lazy[cmd_name].path)
        if not isinstance(found, click.Command):
            raise TypeError(f"{self.lazy[cmd_name].path} is not a command")
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            names = self.list_commands(ctx)
            near = difflib.get_close_matches(args[0], names, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"the commands are {', '.join(names)}"
            raise UserError(f"no command {args[0]!r}", where=ctx.command_path, remedy=remedy)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, lazy.help) for name, lazy in self.lazy.items()]
        for name in super().list_commands(ctx):
            own = super().get_command(ctx, name)
            rows.append((name, own.get_short_help_str(100) if own else ""))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def group(name: str, help: str, commands: Mapping[str, Lazy]) -> LazyGroup:
    """A group of lazily imported sub-commands; without a sub-command it prints its help."""
    return LazyGroup(name, help, commands, no_args_is_help=False, invoke_without_command=True, callback=_print_help)


def command(operation: Operation) -> click.Command:
    """The command of an operation: one flag an option of its settings class, and ``--settings`` to replay a sidecar.

    Words without a flag are the value of the option that is declared ``bare``.
    """
    options = operation.settings.options()
    parameters: list[click.Parameter] = [_parameter(option) for option in options]
    bare = next((option for option in options if option.bare), None)
    if bare is not None:
        parameters.append(click.Argument([BARE], nargs=-1, metavar=f"[{bare.name.upper()}]"))
    replay = "Start from a settings or sidecar file (JSON, or a PNG that holds one); options typed beside it win."
    parameters.append(click.Option(["--settings", "settings_file"], metavar="FILE", help=replay))

    def callback(settings_file: str | None, words: tuple[str, ...] = (), **typed: Any) -> None:
        if bare is not None and words:
            if _given(typed[bare.name]):
                raise UserError(
                    f"is given twice, here and as {' '.join(words)!r}", where=bare.flag, remedy="say it once"
                )
            typed[bare.name] = " ".join(words)
        values = {option.name: _value(option, typed[option.name]) for option in options if _given(typed[option.name])}
        settings = _settings(operation, settings_file, values)
        for option in options:
            if option.local:
                untaken(getattr(settings, option.name))  # before the work imports what it needs, which takes seconds
        report = TerminalReport()
        try:
            outcome = operation.run(settings, report)
        finally:
            report.close()
        click.echo(f"{outcome.sentence.rstrip('.')}; {in_all()}")
        for file in outcome.files:
            click.echo(f"  {file}")

    return click.Command(operation.command[-1], params=parameters, callback=callback, help=operation.help)


def invoke(entry: click.Command, args: Sequence[str], *, program: str, began: Callable[[], float] | None = None) -> int:
    """Run a command and return its exit code; whatever the user did wrong becomes one sentence on stderr.

    began   says when the user called, on the clock of ``time.monotonic``; None: now
    """
    now = time.monotonic()
    with endings() as ended:
        code = _invoke(entry, args, program, (lambda: now) if began is None else began, ended)
    return 128 + ended[0] if ended else code


def in_all() -> str:
    """How long the user of this command has waited, in words: what a result's own measure of time leaves out."""
    began: Callable[[], float] = click.get_current_context().obj
    return f"{clock(time.monotonic() - began())} in all, start-up and loading included"


def _invoke(
    entry: click.Command, args: Sequence[str], program: str, began: Callable[[], float], ended: Sequence[int]
) -> int:
    try:
        code = entry.main(args=list(args), prog_name=program, standalone_mode=False, obj=began)
        sys.stdout.flush()
    except UserError as error:
        return _say(str(error), BAD_INPUT)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        remedy = f"; see {context.command_path} --help" if context is not None else ""
        return _say(error.format_message().rstrip(".") + remedy, BAD_INPUT)
    except (Cancelled, KeyboardInterrupt, click.Abort) as error:
        return _say(f"stopped; {error}" if str(error) else "stopped; nothing was written", STOPPED)
    except BrokenPipeError:  # the reader of our output left (``| head``): no words for it
        silence(sys.stdout)
        return 1
    except ModuleNotFoundError as error:
        told = absent(error)
        if told is None:
            raise
        return _say(str(told), BAD_INPUT)
    except OSError as error:
        if ended:  # the terminal is gone, and with it the place for words
            return _say("stopped; nothing was written", STOPPED)
        if error.errno not in _REMEDIES:
            raise
        place = f"{error.filename}: " if error.filename else ""
        return _say(f"{place}{(error.strerror or 'cannot be used').lower()}; {_REMEDIES[error.errno]}", BAD_INPUT)
    return code if isinstance(code, int) else 0


def load(path: str) -> Any:
    """The object at ``module:attribute``, a path written in this code base."""
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _settings(operation: Operation, settings_file: str | None, values: Mapping[str, Any]) -> Settings:
    if settings_file is None:
        return operation.settings.build(values)
    sidecar = read_json(settings_file)
    written_by = sidecar.get("operation", operation.name)
    if written_by != operation.name:
        raise UserError(
            f"belongs to {written_by}, not to {operation.name}", where=settings_file, remedy="use the command it names"
        )
    settings = operation.settings.from_json(_beside(operation, sidecar, Path(settings_file)), **values)
    for path in input_files(settings):
        if not path.is_file():
            remedy = "give its path again, with the option that names it"
            raise UserError(f"its input {path.name} is neither here nor beside it", where=settings_file, remedy=remedy)
    for note in differences(sidecar, settings):
        click.echo(f"note: {note}; the result may differ in its last digits or more", err=True)
    return settings


def _beside(operation: Operation, sidecar: Mapping[str, Any], file: Path) -> Mapping[str, Any]:
    """Settings whose input files are those that the sidecar carries, then as written, then beside the sidecar."""
    settings = sidecar["settings"] if isinstance(sidecar.get("settings"), Mapping) else sidecar

    def find(path: Any) -> Any:
        if not isinstance(path, str) or not path or path.startswith(EXAMPLE):
            return path
        inside, near = carried(sidecar, path), file.parent / path
        if inside is not None:
            return str(inside)
        return str(near) if not Path(path).exists() and near.is_file() else path

    found = dict(settings)
    for option in operation.settings.options():
        value = settings.get(option.name)
        if isinstance(value, Mapping) and option.kind == "files":
            found[option.name] = {name: find(path) for name, path in value.items()}
        elif isinstance(value, list) and option.kind == "file":
            found[option.name] = [find(path) for path in value]
        elif value is not None and option.kind == "file":
            found[option.name] = find(value)
    return found


def _parameter(option: Option) -> click.Option:
    text = option.sentence() + (f"  (default {_shown(option)})" if _shown(option) else "")
    if option.required:
        text += "  (required)"
    if option.kind == "bool":
        return click.Option([f"{option.flag}/--no-{option.flag[2:]}", option.name], default=None, help=text)
    several = option.many or option.kind == "files"
    metavar = {"files": "[NAME=]FILE", "file": "FILE", "folder": "FOLDER", "choice": "WORD", "str": "TEXT"}
    shown = metavar.get(option.kind, "N")
    return click.Option([option.flag, option.name], metavar=shown, multiple=several, default=None, help=text)


def _shown(option: Option) -> str:
    if option.required or option.default in (None, (), "") or option.kind == "files":
        return ""
    if option.kind == "bool":
        return "on" if option.default else "off"
    return ", ".join(map(str, option.default)) if option.many else str(option.default)


def _given(typed: Any) -> bool:
    return typed is not None and typed != ()


def _value(option: Option, typed: Any) -> Any:
    if option.kind == "files":
        return _named(option, typed)
    return [_parse(option, text) for text in typed] if option.many else _parse(option, typed)


def _named(option: Option, texts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        match = _NAMED.fullmatch(text)
        name, path = match.groups() if match else ("", text)
        if name in found:
            called = f"the name {name!r}" if name else "a file without a name"
            raise UserError(f"{called} is given twice", where=option.flag, remedy=f"name each: {option.flag} NAME=FILE")
        found[name] = path
    return found


def _parse(option: Option, text: Any) -> Any:
    """A typed word as the option's kind; what is not a number stays text, and the option refuses it with its range."""
    number = {"int": int, "seed": int, "float": float}.get(option.kind)
    try:
        return number(text) if number else text
    except ValueError:
        return text


def _print_help(**_: Any) -> None:
    ctx = click.get_current_context()
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _say(sentence: str, code: int) -> int:
    try:
        click.echo(" ".join(sentence.split()), err=True)
    except OSError:
        silence(sys.stderr)
    return code


_REMEDIES = {
    errno.ENOSPC: "free some space, or choose another folder",
    errno.EDQUOT: "free some space, or choose another folder",
    errno.EFBIG: "the limit for the size of a file is too small here; raise it, or choose another folder",
    errno.EEXIST: "a folder is needed, and a file has this name; choose another folder",
    errno.EACCES: "you may not write or read there; choose another folder or change its permissions",
    errno.EROFS: "this place is read-only; choose another folder",
    errno.ENOENT: "check the name",
    errno.EISDIR: "a file is needed here, not a folder",
    errno.ENOTDIR: "a part of this path is a file; choose another folder",
    errno.ENAMETOOLONG: "shorten the name",
}
