"""What a user can ask of the score engine; command line, page, API and MCP are made from it. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from domains.audio.controls.notes import MODES, NAMES
from domains.audio.controls.tags import Tags
from domains.audio.suffixes import SCORES
from shared.errors import UserError
from shared.front.operation import Operation, Outcome, Report
from shared.front.settings import REQUIRED, Settings, option

AUTO: Final = "auto"
ENGINES: Final = ("score", "spectrogram")
METRES: Final = ("4/4", "3/4", "6/8")  # those of the music that the model learned from
KEYS: Final = tuple(f"{tonic} {mode}" for mode in MODES for tonic in NAMES)
BINDING: Final = ("melody", "dynamics", "rhythm", "chords", "drums")
MOST_BARS: Final = 64
GUIDANCE: Final = 1.5  # of genre and mood; more makes music denser than that of the world
RATES: Final = ("44100", "48000", "22050")
FORMATS: Final = ("wav", "flac")
BITS: Final = ("16", "24", "32f")


def known_words(text: str) -> None:
    """The rule of tags: some word means a genre or a mood; where none does, UserError names the first."""
    known, unknown = Tags.read(text)
    if unknown and known == Tags():
        raise UserError(
            f"{unknown[0]!r} is no genre or mood that the model knows",
            where="--tags",
            remedy="write one genre and one mood, as in jazz,happy",
        )


def not_understood(text: str) -> list[str]:
    """A sentence on the words of tags that mean nothing, or another genre or mood than the first, if any."""
    _, unknown = Tags.read(text)
    return [f"not understood: {', '.join(unknown)}"] if unknown else []


def sampled() -> Any:
    """The option that has instruments of a soundfont play."""
    return option(
        None,
        kind="file",
        suffixes=(".sf2", ".sf3"),
        advanced=True,
        help="Sampled instruments in place of the suite's own; needs the package tinysoundfont.",
    )


@dataclass(frozen=True, kw_only=True)
class Playing(Settings):
    """What every command that writes music shares."""

    takes: int = option(4, low=1, high=16, unit="takes", help="How many answers to make.")
    seed: int = option(0, kind="seed", help="Same seed, same music; take k uses seed + k - 1.")
    stems: bool = option(False, help="Write every instrument into a file of its own, and all into stems.zip.")
    strict: bool = option(
        True,
        help="What is asked is law: melody and drums note for note, chord tones alone; off: as the model learned it.",
    )
    guidance: float = option(
        GUIDANCE, low=0, high=15, advanced=True, help="How strongly genre and mood act; 1 is plain, at half the cost."
    )
    steps: int = option(20, low=2, high=200, advanced=True, help="Steps on the way from noise to a score.")
    listen: bool = option(
        True, advanced=True, help="Also extract what is heard in every take and compare it with what was asked."
    )
    rate: str = option("44100", choices=RATES, advanced=True, help="Samples a second.")
    format: str = option("wav", choices=FORMATS, advanced=True, help="Format of the recordings.")
    bits: str = option("24", choices=BITS, advanced=True, help="Bits a sample; 32f is floating point, in WAV alone.")
    soundfont: str | None = sampled()
    out: str = option(REQUIRED, kind="folder", help="Folder for the results; made when absent, refused when not empty.")

    def check(self) -> None:
        if self.bits == "32f" and self.format == "flac":
            raise UserError("FLAC holds whole numbers", where="--bits", remedy="choose 16 or 24, or --format wav")


@dataclass(frozen=True, kw_only=True)
class GenerateMusic(Playing):
    """Write and play music that follows what is asked."""

    controls: str | None = option(
        None,
        kind="file",
        suffixes=(".json",),
        examples=("theme", "curve", "beat", "jazz", "waltz"),
        help="Controls, as `suite audio extract` and the page write them.",
    )
    midi: str | None = option(
        None, kind="file", suffixes=SCORES, help="A MIDI file whose melody, dynamics, beats and drums are asked for."
    )
    only: tuple[str, ...] = option(
        (), kind="choice", choices=BINDING, many=True, help="Controls of that file that bind; say none for all."
    )
    tags: str = option("", kind="str", rule=known_words, help="Genre and mood; empty leaves both to the controls.")
    engine: str = option(
        "score", choices=ENGINES, help="score writes notes and plays them; spectrogram makes sound at once, up to 24 s."
    )
    bars: int | None = option(
        None, kind="int", low=1, high=MOST_BARS, unit="bars", help="Length; none: that of the controls, or 4 bars."
    )
    bpm: float | None = option(
        None, kind="float", low=30, high=300, unit="BPM", help="Felt beats a minute; none: as asked, or of the genre."
    )
    metre: str = option(AUTO, choices=(AUTO, *METRES), help="Metre where the controls have no beat grid.")
    key: str = option(AUTO, choices=(AUTO, *KEYS), help="Key; auto: that of the controls, or drawn.")
    loop: bool = option(False, help="Make loops: exactly the bars, the end rings into the start.")
    like: str | None = option(
        None, kind="file", suffixes=SCORES, help="A take (MIDI) to stay near to; what was asked for it is asked again."
    )
    change: float = option(0.4, low=0.0, high=1.0, help="How far from that take: 0 the same, 1 another.")
    swing: float | None = option(
        None,
        kind="float",
        low=0.5,
        high=0.75,
        advanced=True,
        help="Where the off-beat eighth falls; 0.5 is straight, none: as the genre has it. Beats never swing.",
    )

    def check(self) -> None:
        super().check()
        if self.controls is not None and self.midi is not None:
            raise UserError("two sources of controls", where="--midi", remedy="give --controls or --midi")
        if self.soundfont is not None and self.engine != "score":
            raise UserError(
                "this engine plays no instruments", where="--soundfont", remedy="leave it out, or use --engine score"
            )
        if self.only and self.controls is None and self.midi is None:
            raise UserError(
                "there is no file to take controls from", where="--only", remedy="give --controls or --midi"
            )


def generate_music(settings: GenerateMusic, report: Report) -> Outcome:
    """The work of `suite audio generate`."""
    if settings.engine == "spectrogram":
        from domains.audio.spectrogram.run import run

        return run(settings, report, GENERATE)
    from domains.audio.score.run import generate

    return generate(settings, report, GENERATE)


GENERATE = Operation(
    "audio_generate",
    GenerateMusic,
    generate_music,
    command=("audio", "generate"),
    help="Write and play music that follows melody, dynamics, beats, chords, key and tags; sound, MIDI and stems.",
)
