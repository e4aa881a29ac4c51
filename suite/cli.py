"""The command line ``suite``: one entry for everything; nothing heavy is imported before it is needed."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Sequence

import click

from shared.errors import UserError
from shared.front.command import Lazy, LazyGroup, invoke, load
from shared.front.progress import process_start
from shared.front.provenance import DISTRIBUTION
from suite.apps import DOMAINS, built_apps, domain_built

OWN = {
    "hub": Lazy("suite.hub:command", "Serve the page with all apps."),
    "apps": Lazy("suite.apps:command", "The apps of this installation and whether each is ready."),
    "models": Lazy("suite.models:command", "The checkpoints that ship with the suite, and their cards."),
    "laboratory": Lazy("suite.laboratory.cli:app", "Compose and run samplers on laws whose answer is known."),
    "papers": Lazy("suite.papers:command", "The fifty papers: what each gives, its claim, the measured verdict."),
    "train": Lazy("suite.train:command", "Make a checkpoint again from its recipe."),
    "batch": Lazy("suite.batch:command", "Run one operation over a list of settings, on this machine or on many."),
    "doctor": Lazy("suite.doctor:command", "Check this installation and say how to mend it."),
}


class Suite(LazyGroup):
    """The root: the suite's own commands, then one a domain."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in DOMAINS:
            return super().get_command(ctx, cmd_name)
        if not domain_built(cmd_name):
            raise UserError(f"{cmd_name} is not built yet", where="suite", remedy="see what is there with: suite apps")
        found: click.Group = load(f"domains.{cmd_name}.cli:app")
        if any(app.domain == cmd_name for app in built_apps()):
            from suite.hub import alone

            found.add_command(alone(cmd_name))
        return found


def _start(ctx: click.Context, version: bool) -> None:
    if version:
        click.echo(f"suite {importlib.metadata.version(DISTRIBUTION)}")
    elif ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


app = Suite(
    "suite",
    "One diffusion core, five domains, one front door.",
    {
        **OWN,
        **{name: Lazy(f"domains.{name}.cli:app", line) for name, line in DOMAINS.items() if domain_built(name)},
    },
    invoke_without_command=True,
    callback=click.pass_context(_start),
    params=[click.Option(["--version"], is_flag=True, help="Print the version.")],
)


def main(args: Sequence[str] | None = None) -> int:
    """Entry of the console script; returns the exit code. Without `args`, it is what this process was started for."""
    began = process_start if args is None else None
    return invoke(app, sys.argv[1:] if args is None else args, program="suite", began=began)


if __name__ == "__main__":
    sys.exit(main())
