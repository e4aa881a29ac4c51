"""`suite audio ...`: every command is made from its operation; nothing heavy is imported here."""

from __future__ import annotations

import click

from domains.audio.compose.operations import COMPOSE
from domains.audio.operations import EXTRACT, OPERATIONS, PREVIEW
from domains.audio.score.operations import GENERATE
from domains.audio.studio.operations import CONTINUE, EVALUATE, INPAINT, LOOP, RENDER, STUDIO
from shared.front.command import Lazy, command, group
from shared.front.operation import Operation

__all__ = [
    "COMPOSE_COMMAND",
    "CONTINUE_COMMAND",
    "EVALUATE_COMMAND",
    "EXTRACT_COMMAND",
    "GENERATE_COMMAND",
    "INPAINT_COMMAND",
    "LOOP_COMMAND",
    "OPERATIONS",
    "PREVIEW_COMMAND",
    "RENDER_COMMAND",
    "app",
]


class FileFirst(click.Command):
    """A command whose first word may be its file: `extract SONG --out X` is `extract --audio SONG --out X`."""

    flag = "--music"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = [self.flag, *args] if args and not args[0].startswith("-") else args
        return super().parse_args(ctx, given)


def file_first(operation: Operation, flag: str = "--music") -> FileFirst:
    """The command of an operation, whose file may stand first."""
    plain = command(operation)
    words = f"{operation.help} The file may stand first, without {flag}."
    made = FileFirst(plain.name, params=plain.params, callback=plain.callback, help=words)
    made.flag = flag
    return made


EXTRACT_COMMAND = file_first(EXTRACT, "--audio")
CONTINUE_COMMAND = file_first(CONTINUE)
INPAINT_COMMAND = file_first(INPAINT)
RENDER_COMMAND = file_first(RENDER)
LOOP_COMMAND = file_first(LOOP)
EVALUATE_COMMAND = file_first(EVALUATE)
COMPOSE_COMMAND = command(COMPOSE)
GENERATE_COMMAND = command(GENERATE)
PREVIEW_COMMAND = command(PREVIEW)

app = group(
    "audio",
    "Music that follows melody, dynamics and rhythm.",
    {
        "generate": Lazy("domains.audio.cli:GENERATE_COMMAND", GENERATE.help),
        **{
            each.command[-1]: Lazy(f"domains.audio.cli:{each.command[-1].upper()}_COMMAND", each.help)
            for each in STUDIO
        },
        "extract": Lazy("domains.audio.cli:EXTRACT_COMMAND", EXTRACT.help),
        "compose": Lazy("domains.audio.cli:COMPOSE_COMMAND", COMPOSE.help),
        "preview": Lazy("domains.audio.cli:PREVIEW_COMMAND", PREVIEW.help),
    },
)
