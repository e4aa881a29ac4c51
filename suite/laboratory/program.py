"""A straight-line program that can be run and be written down: what the page does is what the copied Python does.

    line = Line("process", Call("shared.process", "vp", ("cosine",)))      # process = vp("cosine")
    program = Program((line, ...))
    program.run()["process"]         the object
    program.source()                 the same as Python, imports first

Both readings come from one description, so they cannot drift apart; nothing is ever evaluated from text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from shared.front.command import load

WIDTH: Final = 110  # characters of a written line; a longer call is wrapped


@dataclass(frozen=True)
class Name:
    """A value that an earlier line has given a name."""

    name: str

    def make(self, known: Mapping[str, Any]) -> Any:
        return known[self.name]

    def written(self, width: int) -> str:
        return self.name


@dataclass(frozen=True)
class Call:
    """module.name(*args, **kwargs); `of` makes it a method of that value, and then there is no module."""

    module: str
    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    of: Any = None

    def make(self, known: Mapping[str, Any], **more: Any) -> Any:
        """The value; `more` are further keyword arguments, which `written` does not show."""
        target = load(f"{self.module}:{self.name}") if self.of is None else getattr(made(self.of, known), self.name)
        args = [made(value, known) for value in self.args]
        return target(*args, **{key: made(value, known) for key, value in self.kwargs.items()}, **more)

    def written(self, width: int) -> str:
        whole = f"{self._head()}({', '.join(self._arguments(10_000))})"
        if len(whole) <= width:
            return whole
        rows: list[str] = []
        for part in self._arguments(width - 4):
            if rows and len(rows[-1]) + len(part) + 2 <= WIDTH - 4:
                rows[-1] += f", {part}"
            else:
                rows.append(part)
        inside = "".join(f"    {row},\n" for row in rows)
        return f"{self._head()}(\n{inside})"

    def _head(self) -> str:
        if self.of is not None:
            return f"{written(self.of, 10_000)}.{self.name}"
        return f"torch.{self.name}" if self.module == "torch" else self.name

    def _arguments(self, width: int) -> list[str]:
        keywords = [f"{key}={written(value, width)}" for key, value in self.kwargs.items()]
        return [*(written(value, width) for value in self.args), *keywords]


@dataclass(frozen=True)
class Attribute:
    """module.name, or a field of a named value."""

    module: str
    name: str
    of: Any = None

    def make(self, known: Mapping[str, Any]) -> Any:
        return load(f"{self.module}:{self.name}") if self.of is None else getattr(made(self.of, known), self.name)

    def written(self, width: int) -> str:
        if self.of is not None:
            return f"{written(self.of, width)}.{self.name}"
        return f"torch.{self.name}" if self.module == "torch" else self.name


@dataclass(frozen=True)
class Line:
    """name = value, with a remark behind it."""

    name: str
    value: Any
    remark: str = ""


@dataclass(frozen=True)
class Program:
    """Lines in order; the last one is the run."""

    lines: tuple[Line, ...]

    def prepare(self) -> dict[str, Any]:
        """The values of all lines but the last, by name: nothing has been sampled yet."""
        known: dict[str, Any] = {}
        for line in self.lines[:-1]:
            known[line.name] = made(line.value, known)
        return known

    def finish(self, known: Mapping[str, Any], **more: Any) -> Any:
        """The value of the last line, with further keyword arguments (observers) that change nothing in it."""
        return self.lines[-1].value.make(known, **more)

    def source(self, title: str) -> str:
        """The program as Python: title as a comment, imports, lines, and the printed samples."""
        found: dict[str, set[str]] = {}
        for line in self.lines:
            for module, name in imports(line.value):
                found.setdefault(module, set()).add(name)
        torch = ["import torch", ""] if "torch" in found else []
        froms = [
            f"from {module} import {', '.join(sorted(found[module]))}" for module in sorted(found) if "." in module
        ]
        body = []
        for line in self.lines:
            text = f"{line.name} = {written(line.value, WIDTH - len(line.name) - 3)}"
            remarked = f"{text}  # {line.remark}"
            body.append(remarked if line.remark and "\n" not in text and len(remarked) <= WIDTH else text)
        return "\n".join([f"# {title}", *torch, *froms, "", *body, f"print({self.lines[-1].name}.x)", ""])


def made(value: Any, known: Mapping[str, Any]) -> Any:
    """The value of an expression: calls are made, names looked up, containers gone through."""
    if isinstance(value, (Name, Call, Attribute)):
        return value.make(known)
    if isinstance(value, (list, tuple)):
        return type(value)(made(item, known) for item in value)
    if isinstance(value, dict):
        return {key: made(item, known) for key, item in value.items()}
    return value


def written(value: Any, width: int) -> str:
    """An expression as Python."""
    if isinstance(value, (Name, Call, Attribute)):
        return value.written(width)
    if isinstance(value, list):
        return f"[{', '.join(written(item, width) for item in value)}]"
    if isinstance(value, tuple):
        return f"({', '.join(written(item, width) for item in value)}{',' if len(value) == 1 else ''})"
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}": {written(item, width)}' for key, item in value.items()) + "}"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def imports(value: Any) -> Iterator[tuple[str, str]]:
    """(module, name) of everything that an expression takes from a module."""
    if isinstance(value, (Call, Attribute)):
        if value.of is None:
            yield value.module, value.name
        else:
            yield from imports(value.of)
    inside: list[Any] = []
    if isinstance(value, Call):
        inside = [*value.args, *value.kwargs.values()]
    elif isinstance(value, (list, tuple)):
        inside = list(value)
    elif isinstance(value, dict):
        inside = list(value.values())
    for item in inside:
        yield from imports(item)
