"""An operation: what a user can ask for, said once; command line, page, API and MCP are made from it.

How a domain uses it (in a module that imports nothing heavy, for ``--help`` reads it)::

    def add(settings: AddLesions, report: Report) -> Outcome:
        from domains.medical.lesions.add import add_lesions      # torch is imported here, not above
        return add_lesions(settings, report)

    ADD = Operation("medical_lesions_add", AddLesions, add, command=("medical", "lesions", "add"),
                    help="Put lesions into a scan, with their label.")

The work calls ``report(done, total, note)`` between network calls: that shows progress, and raises ``Cancelled`` when
the user has pressed Stop. On a server, options of kind "folder" are set by the server to a private temporary folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from shared.front.settings import Settings


class Report(Protocol):
    """Progress of a running operation."""

    def __call__(self, done: int, total: int, note: str = "", preview: Any = None) -> None:
        """Say that ``done`` of ``total`` steps are finished; raises ``Cancelled`` when the user stopped the run.

        preview is anything that the domain's own page can draw; the command line ignores it.
        """


@dataclass(frozen=True)
class Outcome:
    """What an operation gives.

    sentence   one sentence for people ("3 lesions, 2.4 mL, in 9.1 s")
    files      what was written, the main result first
    report     plain JSON: measured numbers, warnings
    view       what the domain's own page draws from; stays in the process
    """

    sentence: str
    files: tuple[Path, ...] = ()
    report: Mapping[str, Any] = field(default_factory=dict)
    view: Any = None


@dataclass(frozen=True)
class Operation:
    """Settings, work and names of one thing that a user can ask for.

    name       ``domain_verb``: the name of the public endpoint in the API and over MCP
    settings   the settings class
    run        ``run(settings, report) -> Outcome``
    command    words of the command line after ``suite``
    help       one sentence
    """

    name: str
    settings: type[Settings]
    run: Callable[[Any, Report], Outcome]
    command: tuple[str, ...]
    help: str
