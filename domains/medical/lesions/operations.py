"""What a user can ask of the lesion app; command line, page, API and MCP are made from it. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shared.errors import UserError
from shared.front.operation import Operation, Outcome, Report
from shared.front.settings import REQUIRED, Settings, option

NIFTI = (".nii", ".nii.gz")
PRESETS = ("faint", "typical", "bright")
EXAMPLES = ("brain",)
RESEARCH_USE = (
    "Research use only. Not a medical device. Not for diagnosis or treatment. Images may contain synthetic findings."
)


@dataclass(frozen=True, kw_only=True)
class AddLesions(Settings):
    """Put lesions into a scan."""

    image: Mapping[str, str] = option(
        REQUIRED,
        kind="files",
        suffixes=NIFTI,
        examples=EXAMPLES,
        help="A skull-stripped brain scan, FLAIR unless named: T1=scan.nii.gz; repeat for contrasts on one grid.",
    )
    mask: str = option(
        REQUIRED,
        kind="file",
        suffixes=NIFTI,
        examples=EXAMPLES,
        help="Where the lesions go: 1 (or another whole number) inside, 0 outside, on the grid of the scan.",
    )
    label: str | None = option(
        None,
        kind="file",
        suffixes=NIFTI,
        help="What the scan has already; its values stay in the label of the result, new lesions are 1 where it is 0.",
    )
    texture: str = option(
        "example:typical",
        kind="file",
        suffixes=(".json",),
        examples=PRESETS,
        help="How bright: a preset learned from real lesions, or own histograms {contrast: 16 shares}.",
    )
    texture_guidance: float = option(
        0.9,
        low=0,
        high=1,
        help="How closely the asked texture is followed: 0 as the network does by itself, 1 exactly.",
    )
    count: int = option(1, low=1, high=20, unit="variations", help="How many variations to make.")
    seed: int = option(0, kind="seed", help="Same seed, same lesions; variation k uses seed + k.")
    anywhere: bool = option(False, advanced=True, help="Allow lesion voxels outside the brain.")
    outside_training: bool = option(
        False, advanced=True, help="Go on with a scan unlike those the model was trained on; recorded in the result."
    )
    steps: int = option(60, low=10, high=300, advanced=True, help="Levels visited on the way from noise.")
    jump: int = option(2, low=1, high=20, unit="levels", advanced=True, help="Length of the jumps back up in noise.")
    repeats: int = option(2, low=1, high=10, advanced=True, help="How often each stretch is walked; 1 means no jumps.")
    checkpoint: str | None = option(
        None, kind="file", suffixes=(".safetensors",), advanced=True, help="Other weights than the shipped ones."
    )
    out: str = option(REQUIRED, kind="folder", help="Folder for the results; made when absent, refused when not empty.")

    def check(self) -> None:
        if self.jump >= self.steps:
            raise UserError(
                f"a jump of {self.jump} levels in a run of {self.steps}", where="--jump", remedy="make it shorter"
            )


def add(settings: AddLesions, report: Report) -> Outcome:
    """Run `AddLesions`."""
    from domains.medical.lesions.run import add_lesions

    return add_lesions(settings, report, ADD)


ADD = Operation(
    "medical_add_lesions",
    AddLesions,
    add,
    command=("medical", "lesions", "add"),
    help="Put controlled lesions into a brain scan, with their label.",
)
