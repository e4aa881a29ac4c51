"""`suite audio ...`: every command is made from its operation; nothing heavy is imported here."""

from __future__ import annotations

import click

from domains.audio.compose.operations import COMPOSE
from domains.audio.operations import EXTRACT, OPERATIONS, PREVIEW
from domains.audio.score.operations import GENERATE
from shared.front.command import Lazy, command, group

__all__ = ["COMPOSE_COMMAND", "EXTRACT_COMMAND", "GENERATE_COMMAND", "OPERATIONS", "PREVIEW_COMMAND", "app"]


class FileFirst(click.Command):
    """A command whose first word may be its file: `extract SONG --out X` is `extract --audio SONG --out X`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = ["--audio", *args] if args and not args[0].startswith("-") else args
        return super().parse_args(ctx, given)


_PLAIN = command(EXTRACT)
EXTRACT_COMMAND = FileFirst(
    _PLAIN.name,
    params=_PLAIN.params,
    callback=_PLAIN.callback,
    help=f"{EXTRACT.help} The file may stand first, without --audio.",
)
COMPOSE_COMMAND = command(COMPOSE)
GENERATE_COMMAND = command(GENERATE)
PREVIEW_COMMAND = command(PREVIEW)

app = group(
    "audio",
    "Music that follows melody, dynamics and rhythm.",
    {
        "generate": Lazy("domains.audio.cli:GENERATE_COMMAND", GENERATE.help),
        "extract": Lazy("domains.audio.cli:EXTRACT_COMMAND", EXTRACT.help),
        "compose": Lazy("domains.audio.cli:COMPOSE_COMMAND", COMPOSE.help),
        "preview": Lazy("domains.audio.cli:PREVIEW_COMMAND", PREVIEW.help),
    },
)
