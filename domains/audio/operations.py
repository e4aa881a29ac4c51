"""What a user can ask of the audio domain; command line, page, API and MCP are made from it. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from domains.audio.compose.operations import COMPOSE
from domains.audio.controls.spans import KINDS
from domains.audio.score.operations import GENERATE
from domains.audio.studio.operations import STUDIO
from domains.audio.suffixes import SCORES, SOUNDS
from shared.front.operation import Operation, Outcome, Report
from shared.front.settings import REQUIRED, Settings, option

CONTROL_EXAMPLES: Final = ("theme", "curve", "beat", "jazz", "waltz")  # names of controls/examples.py
METRES: Final = ("auto", "2/4", "3/4", "4/4", "5/4", "6/8", "7/8", "9/8", "12/8")


@dataclass(frozen=True, kw_only=True)
class ExtractControls(Settings):
    """Read melody, dynamics, rhythm, chords and key from a recording or a MIDI file."""

    audio: str = option(REQUIRED, kind="file", suffixes=(*SOUNDS, *SCORES), help="A recording, or a MIDI file.")
    only: tuple[str, ...] = option(
        (), kind="choice", choices=KINDS, many=True, help="Controls that are wanted; say none for all of them."
    )
    voice: str = option(
        "mix",
        choices=("mix", "solo"),
        help="One voice alone (humming, a flute), or a mix whose strongest tone is taken.",
    )
    bpm: float | None = option(None, kind="float", low=20, high=400, unit="BPM", help="The tempo, when it is known.")
    metre: str = option("auto", choices=METRES, help="The metre, when it is known; auto chooses 4/4 or 3/4.")
    start: float = option(0.0, low=0, high=86_400, unit="s", help="Where the part begins that is read.")
    seconds: float | None = option(
        None,
        kind="float",
        low=0.1,
        high=1800,
        unit="s",
        help="How long that part is; say nothing for all that follows.",
    )
    out: str = option(REQUIRED, kind="folder", help="A file that ends in .json, or a new folder for JSON and MIDI.")


def extract_controls(settings: ExtractControls, report: Report) -> Outcome:
    """The work of `suite audio extract`."""
    from domains.audio.extract.run import run

    return run(settings, report, EXTRACT)


EXTRACT = Operation(
    "audio_extract",
    ExtractControls,
    extract_controls,
    command=("audio", "extract"),
    help="Read melody, dynamics, rhythm, chords and key from a recording or a MIDI file.",
)


@dataclass(frozen=True, kw_only=True)
class PreviewControls(Settings):
    """Hear what controls ask for, before anything is generated."""

    controls: str = option(
        REQUIRED,
        kind="file",
        suffixes=(".json",),
        examples=CONTROL_EXAMPLES,
        help="Controls, as extract and the page write them.",
    )
    out: str = option(REQUIRED, kind="folder", help="Folder for the sound; made when absent, refused when not empty.")


def preview_controls(settings: PreviewControls, report: Report) -> Outcome:
    """The work of `suite audio preview`."""
    from domains.audio.preview import run

    return run(settings, report, PREVIEW)


PREVIEW = Operation(
    "audio_preview",
    PreviewControls,
    preview_controls,
    command=("audio", "preview"),
    help="Hear what controls ask for: the melody as a plain tone, chords, clicks at the beats, the asked loudness.",
)
OPERATIONS: Final = (GENERATE, *STUDIO, EXTRACT, COMPOSE, PREVIEW)
