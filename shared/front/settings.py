"""One settings object an operation: the only place where an option is declared.

How a domain uses it::

    from dataclasses import dataclass
    from shared.front.settings import REQUIRED, Settings, option

    @dataclass(frozen=True, kw_only=True)
    class AddLesions(Settings):
        image: Mapping[str, str] = option(REQUIRED, kind="files", suffixes=(".nii", ".nii.gz"), help="A scan.")
        count: int = option(1, low=1, high=20, unit="lesions", help="How many lesions to add.")
        texture: str = option("typical", choices=("dark", "typical", "bright"), help="Intensity of the lesion.")
        seed: int = option(0, kind="seed", help="Same seed, same lesion.")
        out: str = option(REQUIRED, kind="folder", help="Folder for the results; made when absent.")

Command-line options, page controls, API and MCP schema, sidecar and validation are generated from the declaration.
A value out of its range never reaches the domain: construction raises ``UserError`` that names option, value and range.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from shared.errors import UserError
from shared.front.embedded import SIGNATURE, sidecar_text
from shared.front.option import REQUIRED, Option

__all__ = ["REQUIRED", "Option", "Settings", "option"]

LARGEST_SIDECAR = 16 * 2**20  # bytes; a settings file is a few kilobytes, so a larger one is a mistake


def option(
    default: Any,
    *,
    help: str,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
    kind: str | None = None,
    many: bool = False,
    advanced: bool = False,
    suffixes: tuple[str, ...] = (),
    examples: tuple[str, ...] = (),
    rule: Callable[[Any], object] | None = None,
    bare: bool = False,
) -> Any:
    """A field of a settings class.

    default     value when nothing is given; ``REQUIRED`` for none, ``None`` for an option that may stay empty
    help        one sentence for people, without range and default (these are added everywhere)
    low, high   inclusive bounds of numbers
    choices     allowed words (kind "choice")
    kind        int, float, bool, str, choice, seed, file, files (name -> path) or folder; None: by the default
    many        a tuple of values; repeat the flag on the command line
    advanced    shown under "more" on the page
    suffixes    accepted endings of file names (file, files)
    examples    names usable as ``example:NAME`` instead of a file (file, files)
    rule        what else a value must be: called with it, raises ``UserError``; cheap, as it runs at every change
    bare        the command line takes words without a flag for it (str; one option of a class)
    """
    declared = Option.declare(
        default=default,
        help=help,
        unit=unit,
        low=low,
        high=high,
        choices=choices,
        kind=kind,
        many=many,
        advanced=advanced,
        suffixes=suffixes,
        examples=examples,
        rule=rule,
        bare=bare,
    )
    if default is REQUIRED:
        return dataclasses.field(metadata={"option": declared})
    if isinstance(declared.default, Mapping):
        return dataclasses.field(default_factory=lambda: declared.default, metadata={"option": declared})
    return dataclasses.field(default=declared.default, metadata={"option": declared})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of all settings classes; subclasses are ``@dataclass(frozen=True, kw_only=True)`` with ``option`` fields.

    Construction checks every value; ``check`` may be overridden for rules over several fields.
    """

    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        for declared in type(self).options():
            object.__setattr__(self, declared.name, declared.check(getattr(self, declared.name)))
        self.check()

    def check(self) -> None:
        """Rules over several options; raise ``UserError``. The base class has none."""

    @classmethod
    def options(cls) -> tuple[Option, ...]:
        """The declared options, in the order of declaration."""
        return tuple(
            dataclasses.replace(field.metadata["option"], name=field.name)
            for field in dataclasses.fields(cls)
            if "option" in field.metadata
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values by option name, and ``version``."""
        values = {declared.name: declared.plain(getattr(self, declared.name)) for declared in type(self).options()}
        return {"version": self.VERSION, **values}

    @classmethod
    def from_json(cls, source: Mapping[str, Any] | Path | str, **overrides: Any) -> Self:
        """The inverse of ``to_json``; also reads a sidecar, whose settings are under ``settings``.

        source      a mapping, or the path of a JSON file
        overrides   values that win over those of the source (options typed beside ``--settings``)
        Raises UserError for a file that is not JSON, another version, or keys that no option has.
        """
        where, data = ("settings", source) if isinstance(source, Mapping) else (str(source), read_json(source))
        if isinstance(data.get("settings"), Mapping):
            data = data["settings"]
        version = data.get("version", cls.VERSION)
        if version != cls.VERSION:
            raise UserError(
                f"settings of version {version!r}, this release reads version {cls.VERSION}",
                where=where,
                remedy="use the release that wrote them, or write them again",
            )
        known = [declared.name for declared in cls.options()]
        unknown = sorted(set(data) - set(known) - {"version"})
        if unknown:
            raise UserError(
                f"unknown option{'s' if len(unknown) > 1 else ''} {', '.join(map(repr, unknown))}",
                where=where,
                remedy=f"the options are {', '.join(known)}",
            )
        return cls.build({**{name: data[name] for name in known if name in data}, **overrides})

    @classmethod
    def build(cls, values: Mapping[str, Any]) -> Self:
        """Settings from values by name; a missing required option is one sentence instead of a ``TypeError``.

        What is there is checked before what is missing: who has to mend a value shall not first have to name a folder.
        """
        missing = [declared for declared in cls.options() if declared.required and declared.name not in values]
        if missing:
            for declared in cls.options():
                if declared.name in values:
                    declared.check(values[declared.name])
            if all(declared.local for declared in missing):
                cls(**{**values, **{declared.name: "unnamed" for declared in missing}})
            raise UserError(
                f"missing {', '.join(declared.flag for declared in missing)}",
                remedy=f"give {missing[0].flag}: {missing[0].help}",
            )
        return cls(**values)


def read_json(path: Path | str) -> Mapping[str, Any]:
    """The JSON object in a file; in a PNG, the sidecar that it carries.

    Raises UserError when the file is absent, larger than 16 MiB, not JSON, not an object, or a picture without one.
    """
    path = Path(path)
    remedy = "give a settings or sidecar file written by this suite"
    try:
        if path.stat().st_size > LARGEST_SIDECAR:
            raise UserError(f"{path.stat().st_size} bytes are too many for settings", where=str(path), remedy=remedy)
        body = path.read_bytes()
        text = sidecar_text(body) if body.startswith(SIGNATURE) else body.decode("utf-8")
        if text is None:
            raise UserError("is a picture without settings", where=str(path), remedy=remedy)
        data = json.loads(text)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=str(path), remedy=remedy) from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise UserError("is not JSON", where=str(path), remedy=remedy) from None
    if not isinstance(data, Mapping):
        raise UserError("holds no JSON object", where=str(path), remedy=remedy)
    return data
