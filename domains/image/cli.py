"""`suite image ...`: every command is made from its operation; nothing heavy is imported here."""

from __future__ import annotations

from domains.image.control.operations import DETECT, GENERATE, SCENE
from shared.front.command import Lazy, command, group

OPERATIONS = (GENERATE, DETECT, SCENE)

GENERATE_COMMAND = command(GENERATE)
DETECT_COMMAND = command(DETECT)
SCENE_COMMAND = command(SCENE)

shapes = group(
    "shapes",
    "Pictures from a caption and edges, measured.",
    {
        "generate": Lazy("domains.image.cli:GENERATE_COMMAND", GENERATE.help),
        "detect": Lazy("domains.image.cli:DETECT_COMMAND", DETECT.help),
        "scene": Lazy("domains.image.cli:SCENE_COMMAND", SCENE.help),
    },
)

app = group(
    "image",
    "Pictures controlled, edited and restored; objects in 3-d; garments.",
    {"shapes": Lazy("domains.image.cli:shapes", "Pictures from a caption and edges, measured.")},
)
