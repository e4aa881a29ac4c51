"""`suite laboratory ...`: the command is made from its operation; nothing heavy is imported here."""

from __future__ import annotations

from shared.front.command import Lazy, command, group
from suite.laboratory.operations import RUN

OPERATIONS = (RUN,)

RUN_COMMAND = command(RUN)

app = group(
    "laboratory",
    "Compose process, head, sampler and guidance on laws whose answer is known.",
    {
        "run": Lazy("suite.laboratory.cli:RUN_COMMAND", RUN.help),
        "app": Lazy("suite.laboratory.serve:command", "Serve the laboratory page alone."),
    },
)
