"""One declared option: its kind, bounds and words, and the check that every value passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from shared.errors import UserError


class _Required:
    """The type of ``REQUIRED``, so that it prints as a word."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = _Required()
KINDS: Final = ("int", "float", "bool", "str", "choice", "seed", "file", "files", "folder")
LARGEST_SEED: Final = 2**32 - 1  # exact in JSON, in a browser and in every generator
LONGEST_TEXT: Final = 4000  # characters; a prompt, not a book
EXAMPLE: Final = "example:"


@dataclass(frozen=True)
class Option:
    """A declared option. ``name`` is the field's; everything else is what the declaration says.

    Values by kind: int and seed -> int; float -> float; bool; str and choice -> str; file and folder -> str (a path, or
    ``example:NAME`` for a file); files -> mapping from a name to a path (the unnamed one under "").
    With ``many``: a tuple of such values. ``rule`` and ``bare`` are explained in `settings.option`.
    """

    kind: str
    default: Any
    help: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    many: bool = False
    advanced: bool = False
    suffixes: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    rule: Callable[[Any], object] | None = None
    bare: bool = False
    name: str = ""

    @classmethod
    def declare(cls, *, default: Any, kind: str | None, choices: tuple[str, ...] | None, **facts: Any) -> Option:
        """An option from its declaration; a declaration that contradicts itself raises ``TypeError`` at import."""
        if kind is None:
            kind = "choice" if choices else {bool: "bool", int: "int", float: "float", str: "str"}.get(type(default))
        if kind not in KINDS:
            raise TypeError(f"option kind {kind!r} with default {default!r}: say kind, one of {', '.join(KINDS)}")
        if (kind == "choice") != bool(choices):
            raise TypeError(f"an option has choices if and only if it is a choice: kind {kind!r}, choices {choices!r}")
        if kind == "seed":
            facts = {**facts, "low": 0, "high": LARGEST_SEED}
        declared = cls(kind=kind, default=default, choices=tuple(choices or ()), **facts)
        if (declared.low is not None or declared.high is not None) and kind not in ("int", "float", "seed"):
            raise TypeError(f"bounds are for numbers, not for kind {kind!r}")
        if (declared.suffixes or declared.examples) and kind not in ("file", "files"):
            raise TypeError(f"suffixes and examples are for files, not for kind {kind!r}")
        if declared.many and kind in ("bool", "seed", "files", "folder"):
            raise TypeError(f"an option of kind {kind!r} has one value")
        if declared.bare and (kind != "str" or declared.many):
            raise TypeError(f"words without a flag are for one text, not for kind {kind!r}")
        if default is REQUIRED:
            return declared
        return replace(declared, default=replace(declared, rule=None).check(default))  # a rule may import

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    @property
    def local(self) -> bool:
        """Whether the option is a place on the user's own disk, which a server never offers."""
        return self.kind == "folder"

    @property
    def flag(self) -> str:
        """The flag of the command line: ``--name-with-dashes``."""
        return "--" + self.name.replace("_", "-")

    @property
    def label(self) -> str:
        """The label of the control: words and unit."""
        words = self.name.replace("_", " ").capitalize()
        return f"{words} ({self.unit})" if self.unit and self.unit.lower() != words.lower() else words

    @property
    def allowed(self) -> str:
        """What is allowed, in words: a range, the choices, the endings; empty when anything is."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.kind in ("file", "files"):
            words = " or ".join(self.suffixes)
            return words + (" or " if words and self.examples else "") + ", ".join(EXAMPLE + n for n in self.examples)
        unit = f" {self.unit}" if self.unit else ""
        if self.low is not None and self.high is not None:
            return f"{_short(self.low)} to {_short(self.high)}{unit}"
        if self.low is not None:
            return f"at least {_short(self.low)}{unit}"
        if self.high is not None:
            return f"at most {_short(self.high)}{unit}"
        return ""

    def check(self, value: Any) -> Any:
        """The value in its normal form; raises ``UserError`` with the value and what is allowed."""
        if value is None and self.default is None:
            return None
        if self.kind == "files":
            return self._check_named(value)
        if not self.many:
            return self._check_one(value)
        if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__iter__"):
            raise self._refuse(value, "is not a list")
        return tuple(self._check_one(item) for item in value)

    def plain(self, value: Any) -> Any:
        """The value as JSON knows it: tuples become lists, mappings plain ones."""
        if isinstance(value, Mapping):
            return dict(value)
        return list(value) if isinstance(value, tuple) else value

    def schema(self) -> dict[str, Any]:
        """JSON schema of the option for the API and MCP: type, bounds, choices, default and help."""
        one: dict[str, Any] = {"type": _JSON_TYPES[self.kind]}
        if self.choices:
            one["enum"] = list(self.choices)
        if self.low is not None:
            one["minimum"] = self.low
        if self.high is not None:
            one["maximum"] = self.high
        if self.kind == "files":
            one["additionalProperties"] = {"type": "string"}
        schema = {"type": "array", "items": one} if self.many else one
        if not self.required:
            schema["default"] = self.plain(self.default)
        schema["description"] = self.sentence()
        return schema

    def sentence(self) -> str:
        """Help, what is allowed and the unit in one line: the text that every front end shows."""
        facts = self.allowed or self.unit
        return f"{self.help} [{facts}]" if facts else self.help

    def _check_one(self, value: Any) -> Any:
        checked = _CHECKS[self.kind](self, value)
        if self.rule is not None:
            self.rule(checked)
        return checked

    def _check_named(self, value: Any) -> Mapping[str, str]:
        if isinstance(value, str):
            value = {"": value}
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise self._refuse(value, "is not a mapping from names to files")
        if not value and self.required:
            raise self._refuse(value, "holds no file")
        return {name: self._check_one(path) for name, path in value.items()}

    def _refuse(self, value: Any, why: str) -> UserError:
        shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
        remedy = f"allowed: {self.allowed}" if self.allowed else f"give {_WORDS[self.kind]}"
        return UserError(f"{shown} {why}", where=self.flag, remedy=remedy)


def _integer(option: Option, value: Any) -> int:
    whole = isinstance(value, float) and math.isfinite(value) and value == int(value)  # sliders send 3.0
    if isinstance(value, bool) or not (isinstance(value, int) or whole):
        raise option._refuse(value, "is not a whole number")
    return int(_bounded(option, int(value)))


def _real(option: Option, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise option._refuse(value, "is not a finite number")
    return float(_bounded(option, value))


def _bounded(option: Option, value: float) -> float:
    if (option.low is not None and value < option.low) or (option.high is not None and value > option.high):
        raise option._refuse(value, "is out of range")
    return value


def _truth(option: Option, value: Any) -> bool:
    if not isinstance(value, bool):
        raise option._refuse(value, "is neither true nor false")
    return value


def _text(option: Option, value: Any) -> str:
    if not isinstance(value, str):
        raise option._refuse(value, "is not text")
    if len(value) > LONGEST_TEXT:
        raise option._refuse(value, f"has {len(value)} characters, at most {LONGEST_TEXT} are read,")
    return value


def _word(option: Option, value: Any) -> str:
    if value not in option.choices:
        raise option._refuse(value, "is not a choice")
    return str(value)


def _file(option: Option, value: Any) -> str:
    path = _path(option, value)
    if path in option.examples:  # the bare name: no file has it, for files need an ending
        path = EXAMPLE + path
    if path.startswith(EXAMPLE):
        if path.removeprefix(EXAMPLE) not in option.examples:
            raise option._refuse(path, "is not an example")
        return path
    if option.suffixes and not path.lower().endswith(tuple(suffix.lower() for suffix in option.suffixes)):
        raise option._refuse(path, "has another ending")
    return path


def _path(option: Option, value: Any) -> str:
    if not isinstance(value, (str, Path)) or not str(value) or "\0" in str(value):
        raise option._refuse(value, "is not a path")
    return str(value)


def _short(number: float) -> str:
    return f"{number:g}" if abs(number) < 1e6 and not isinstance(number, int) else str(number)


_CHECKS: Final[Mapping[str, Callable[[Option, Any], Any]]] = {
    "int": _integer,
    "seed": _integer,
    "float": _real,
    "bool": _truth,
    "str": _text,
    "choice": _word,
    "file": _file,
    "files": _file,
    "folder": _path,
}
_JSON_TYPES: Final = {
    "int": "integer",
    "seed": "integer",
    "float": "number",
    "bool": "boolean",
    "str": "string",
    "choice": "string",
    "file": "string",
    "files": "object",
    "folder": "string",
}
_WORDS: Final = {
    "int": "a whole number",
    "seed": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "choice": "one of the choices",
    "file": "the path of a file",
    "files": "files by name",
    "folder": "the path of a folder",
}
