"""What a user can ask of the composer; command line, API and MCP are made from it. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from domains.audio.controls.tags import GENRES, MOODS
from shared.front.operation import Operation, Outcome, Report
from shared.front.settings import REQUIRED, Settings, option

ANY: Final = "any"
SPLITS: Final = ("train", "test", "keys", "progressions", "instruments")
RATES: Final = ("44100", "48000", "22050")


@dataclass(frozen=True, kw_only=True)
class ComposeMusic(Settings):
    """Compose a piece and play it."""

    genre: str = option(ANY, choices=(ANY, *GENRES), help="Genre; any: drawn by the seed.")
    mood: str = option(ANY, choices=(ANY, *MOODS), help="Mood; any: drawn by the seed.")
    bars: int = option(16, low=2, high=64, unit="bars", help="Length.")
    seed: int = option(0, kind="seed", help="Same seed, same music.")
    rate: str = option("44100", choices=RATES, help="Samples a second of the recordings.")
    split: str = option(
        "train",
        choices=SPLITS,
        advanced=True,
        help="Part of the training world; the last three have keys, progressions or instruments of their own.",
    )
    soundfont: str | None = option(
        None,
        kind="file",
        suffixes=(".sf2", ".sf3"),
        advanced=True,
        help="Sampled instruments in place of the suite's own; needs the package tinysoundfont.",
    )
    out: str = option(REQUIRED, kind="folder", help="Folder for the results; made when absent, refused when not empty.")


def compose(settings: ComposeMusic, report: Report) -> Outcome:
    """Run `ComposeMusic`."""
    from domains.audio.compose.record import compose_music

    return compose_music(settings, report, COMPOSE)


COMPOSE = Operation(
    "audio_compose",
    ComposeMusic,
    compose,
    command=("audio", "compose"),
    help="Compose a piece by rule and play it: MIDI, mix, stems, and the controls that are exactly true of it.",
)
