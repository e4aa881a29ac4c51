"""What a user can ask of the shape app; command line, page, API and MCP are made from it. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from shared.errors import UserError
from shared.front.operation import Operation, Outcome, Report
from shared.front.settings import REQUIRED, Settings, option

PICTURES: Final = (".png", ".jpg", ".jpeg", ".webp")
# Edge maps that the world draws when they are asked for, and the caption each was drawn for.
EXAMPLES: Final = {
    "pair": "a red circle left of a blue square on a plain white background",
    "inside": "a yellow star inside a purple circle on a mint background",
    "front": "an orange cross in front of a cyan square on a gradient cream background",
    "pull": "a pink figure pulling a blue square on a plain silver background",
    "three": "a green triangle above an orange circle and a purple star on a checkered sky background",
}
MODES: Final = ("balanced", "control", "prompt")
SAMPLERS: Final = ("dpmpp_2m", "dpmpp_2m_sde", "ddim", "ddpm", "plms", "heun")  # names of shared/samplers/named.py
DETECTORS: Final = ("none", "canny")
FITS: Final = ("crop", "fill", "stretch")
FIT_HELP: Final = "How a picture becomes square: its middle, all of it with a border, or all of it distorted."
# What a caption that is refused is shown: relation, joint and background, each as it is written.
MODEL_CAPTION: Final = "a small red circle left of a blue square and a green star on a plain white background"
LEAST: Final = 0.02  # width of a window that a step is sure to fall into at the fewest steps


def readable(caption: str) -> None:
    """The rule of a caption: a sentence of the shape world; UserError says which word is not, and shows one that is."""
    from domains.image.shapes.captions import parse

    try:
        parse(caption)
    except UserError as error:
        remedy = f"write it as in '{MODEL_CAPTION}'; {error.remedy}"
        raise UserError(error.what, where="--caption", remedy=remedy) from None


def _folder() -> Any:
    return option(REQUIRED, kind="folder", help="Folder for the results; made when absent, refused when not empty.")


@dataclass(frozen=True, kw_only=True)
class GenerateShapes(Settings):
    """Make pictures from a caption and, if given, an edge map."""

    caption: str = option(
        REQUIRED,
        kind="str",
        rule=readable,
        bare=True,
        help="What the picture shows, in the words of the shape world; '' leaves everything open.",
    )
    edges: str | None = option(
        None,
        kind="file",
        suffixes=PICTURES,
        examples=tuple(EXAMPLES),
        help="White lines on black where the picture shall have edges; or any picture, with a detector.",
    )
    detector: str = option(
        "none", choices=DETECTORS, help="How edges are taken from that file: none, it is an edge map; Canny's method."
    )
    fit: str = option("crop", choices=FITS, advanced=True, help=FIT_HELP)
    strength: float = option(1.0, low=0, high=2, help="How strongly the edges act; 0 switches them off.")
    control_from: float = option(
        0.0, low=0, high=1, help="Where the edges begin to act: 0 is noise alone, 1 the finished picture."
    )
    control_until: float = option(1.0, low=0, high=1, help="Where they cease to act, on the same scale.")
    mode: str = option(
        "balanced",
        choices=MODES,
        advanced=True,
        help="Who wins: balanced; control, guidance exaggerates the edges; prompt, early layers hardly see them.",
    )
    guidance: float = option(
        4.0, low=0, high=15, help="How strongly the caption acts; 1 is the plain caption, at half the cost."
    )
    steps: int = option(32, low=2, high=200, help="Steps on the way from noise to the picture.")
    count: int = option(4, low=1, high=16, unit="pictures", help="How many pictures to make.")
    seed: int = option(0, kind="seed", help="Same seed, same pictures; picture k uses seed + k.")
    sampler: str = option("dpmpp_2m_sde", choices=SAMPLERS, advanced=True, help="The rule of a step.")
    out: str = _folder()

    def check(self) -> None:
        if self.control_until < self.control_from + LEAST:
            raise UserError(
                f"the edges act from {self.control_from:g} until {self.control_until:g}, which is nowhere",
                where="--control-until",
                remedy=f"let it be at least {LEAST:g} beyond --control-from, or give --strength 0",
            )


@dataclass(frozen=True, kw_only=True)
class DetectShapes(Settings):
    """Say what a picture shows."""

    image: str = option(
        REQUIRED,
        kind="file",
        suffixes=PICTURES,
        examples=tuple(EXAMPLES),
        help="Any picture; what the decoder says is sure for pictures of the shape world only.",
    )
    fit: str = option("crop", choices=FITS, help=FIT_HELP)
    out: str = _folder()


@dataclass(frozen=True, kw_only=True)
class DrawScene(Settings):
    """Draw an exact example of the world."""

    caption: str = option(
        "", rule=readable, bare=True, help="What the scene shall show; what is left open is drawn at random."
    )
    seed: int = option(0, kind="seed", help="Same seed, same scene.")
    out: str = _folder()


def generate(settings: GenerateShapes, report: Report) -> Outcome:
    """Run `GenerateShapes`."""
    from domains.image.control.run import generate_shapes

    return generate_shapes(settings, report, GENERATE)


def detect(settings: DetectShapes, report: Report) -> Outcome:
    """Run `DetectShapes`."""
    from domains.image.control.look import detect_shapes

    return detect_shapes(settings, report, DETECT)


def scene(settings: DrawScene, report: Report) -> Outcome:
    """Run `DrawScene`."""
    from domains.image.control.look import draw_scene

    return draw_scene(settings, report, SCENE)


def _operation(verb: str, settings: type[Settings], run: Callable[[Any, Report], Outcome], help: str) -> Operation:
    return Operation(f"image_{verb}", settings, run, command=("image", "shapes", verb), help=help)


GENERATE = _operation(
    "generate",
    GenerateShapes,
    generate,
    "Make pictures of shapes from a caption and an edge map, and measure what they show.",
)
DETECT = _operation("detect", DetectShapes, detect, "Say which shapes a picture shows, and take its edges.")
SCENE = _operation(
    "scene", DrawScene, scene, "Draw an exact scene of the shape world, with its edges, masks and depth."
)
