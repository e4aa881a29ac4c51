"""`suite medical ...`: every command is made from its operation; nothing heavy is imported here."""

from __future__ import annotations

from domains.medical.lesions.operations import ADD, RESEARCH_USE
from shared.front.command import Lazy, command, group

OPERATIONS = (ADD,)

ADD_COMMAND = command(ADD)

lesions = group(
    "lesions", "Controlled lesions in real scans.", {"add": Lazy("domains.medical.cli:ADD_COMMAND", ADD.help)}
)

app = group(
    "medical", RESEARCH_USE, {"lesions": Lazy("domains.medical.cli:lesions", "Controlled lesions in real scans.")}
)
