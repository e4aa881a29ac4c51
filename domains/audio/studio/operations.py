"""What a user can ask of finished music: go on, mend, play, loop, judge. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from domains.audio.controls.tags import GENRES
from domains.audio.score.operations import (
    AUTO,
    BITS,
    FORMATS,
    KEYS,
    MOST_BARS,
    RATES,
    Playing,
    known_words,
    sampled,
)
from domains.audio.suffixes import SCORES, SOUNDS
from shared.errors import UserError
from shared.front.operation import Operation, Outcome, Report
from shared.front.settings import REQUIRED, Settings, option

PARTS: Final = ("melody", "chords", "bass", "drums")
MUSIC: Final = (*SOUNDS, *SCORES)


def notes_alone(music: str, soundfont: str | None) -> None:
    """UserError for a soundfont where the music is a recording."""
    if soundfont is not None and not music.lower().endswith(SCORES):
        raise UserError(
            "a recording is not played by instruments", where="--soundfont", remedy="leave it out, or give a MIDI file"
        )


def _folder() -> Any:
    return option(REQUIRED, kind="folder", help="Folder for the results; made when absent, refused when not empty.")


@dataclass(frozen=True, kw_only=True)
class Mending(Playing):
    """What going on and mending share."""

    music: str = option(REQUIRED, kind="file", suffixes=MUSIC, help="A MIDI file, such as a take, or a recording.")
    controls: str | None = option(
        None, kind="file", suffixes=(".json",), help="Controls that bind in the new bars; times count from the start."
    )
    tags: str = option("", kind="str", rule=known_words, help="Genre and mood of what is new; empty: of the file.")
    key: str = option(AUTO, choices=(AUTO, *KEYS), help="Key of what is new; auto: that of the file or of its notes.")

    def check(self) -> None:
        super().check()
        notes_alone(self.music, self.soundfont)

    @property
    def sounds(self) -> bool:
        """Whether the music is a recording."""
        return not self.music.lower().endswith(SCORES)


@dataclass(frozen=True, kw_only=True)
class ContinueMusic(Mending):
    """Let music go on."""

    bars: int = option(4, low=1, high=MOST_BARS - 1, unit="bars", help="How many bars to add.")


@dataclass(frozen=True, kw_only=True)
class InpaintMusic(Mending):
    """Write some bars, or some parts of them, anew and keep the rest note for note."""

    from_bar: int = option(1, low=1, high=MOST_BARS, help="The first bar to write, counted from 1.")
    to_bar: int | None = option(
        None, kind="int", low=1, high=MOST_BARS, help="The last bar to write; none: the last there is."
    )
    parts: tuple[str, ...] = option(
        (),
        kind="choice",
        choices=PARTS,
        many=True,
        help="Parts to write; say none for all. The others stay.",
    )

    def check(self) -> None:
        super().check()
        if self.to_bar is not None and self.to_bar < self.from_bar:
            raise UserError(
                f"bar {self.to_bar} lies before bar {self.from_bar}", where="--to-bar", remedy="name the later bar here"
            )


@dataclass(frozen=True, kw_only=True)
class RenderMusic(Settings):
    """Play a MIDI file with the suite's own instruments."""

    music: str = option(REQUIRED, kind="file", suffixes=SCORES, help="A MIDI file.")
    style: str = option(AUTO, choices=(AUTO, *GENRES), help="Whose balance and room; auto: the file's genre, or pop.")
    stems: bool = option(False, help="Write every track into a file of its own, and all into stems.zip.")
    loop: bool = option(False, help="Exactly the whole bars, the end rings into the start.")
    rate: str = option("44100", choices=RATES, advanced=True, help="Samples a second.")
    format: str = option("wav", choices=FORMATS, advanced=True, help="Format of the recordings.")
    bits: str = option("24", choices=BITS, advanced=True, help="Bits a sample; 32f is floating point, in WAV alone.")
    soundfont: str | None = sampled()
    out: str = _folder()

    def check(self) -> None:
        if self.bits == "32f" and self.format == "flac":
            raise UserError("FLAC holds whole numbers", where="--bits", remedy="choose 16 or 24, or --format wav")


@dataclass(frozen=True, kw_only=True)
class LoopMusic(Settings):
    """Cut a loop of whole bars out of a recording, or play a MIDI file as one."""

    music: str = option(REQUIRED, kind="file", suffixes=MUSIC, help="A recording or a MIDI file.")
    bpm: float | None = option(
        None, kind="float", low=30, high=300, unit="BPM", help="Felt beats a minute; none: as heard, or as written."
    )
    metre: str = option("4/4", choices=("4/4", "3/4", "6/8"), help="Metre of a recording.")
    bars: int | None = option(
        None, kind="int", low=1, high=MOST_BARS, unit="bars", help="Length; none: as many as there are."
    )
    start: float = option(0.0, low=0, high=1800, unit="s", help="Where the loop begins in a recording.")
    bits: str = option("24", choices=BITS, advanced=True, help="Bits a sample.")
    soundfont: str | None = sampled()
    out: str = _folder()

    def check(self) -> None:
        notes_alone(self.music, self.soundfont)


@dataclass(frozen=True, kw_only=True)
class EvaluateMusic(Settings):
    """Compare a recording or a MIDI file with what was asked, control by control."""

    music: str = option(REQUIRED, kind="file", suffixes=MUSIC, help="A recording or a MIDI file.")
    controls: str = option(REQUIRED, kind="file", suffixes=(".json",), help="What was asked: asked.json, or controls.")
    out: str = _folder()


def continue_music(settings: ContinueMusic, report: Report) -> Outcome:
    """The work of `suite audio continue`: notes go on by the score engine, recordings by the spectrogram engine."""
    if settings.sounds:
        from domains.audio.spectrogram.mend import go_on as sound_goes_on

        return sound_goes_on(settings, report, CONTINUE)
    from domains.audio.studio.mend import go_on

    return go_on(settings, report, CONTINUE)


def inpaint_music(settings: InpaintMusic, report: Report) -> Outcome:
    """The work of `suite audio inpaint`, by the same engines."""
    if settings.sounds:
        from domains.audio.spectrogram.mend import inpaint as inpaint_sound

        return inpaint_sound(settings, report, INPAINT)
    from domains.audio.studio.mend import inpaint

    return inpaint(settings, report, INPAINT)


def render_music(settings: RenderMusic, report: Report) -> Outcome:
    """The work of `suite audio render`."""
    from domains.audio.studio.play import render

    return render(settings, report, RENDER)


def loop_music(settings: LoopMusic, report: Report) -> Outcome:
    """The work of `suite audio loop`."""
    from domains.audio.studio.play import loop

    return loop(settings, report, LOOP)


def evaluate_music(settings: EvaluateMusic, report: Report) -> Outcome:
    """The work of `suite audio evaluate`."""
    from domains.audio.studio.compare import evaluate

    return evaluate(settings, report, EVALUATE)


CONTINUE = Operation(
    "audio_continue",
    ContinueMusic,
    continue_music,
    command=("audio", "continue"),
    help="Let music go on for some bars.",
)
INPAINT = Operation(
    "audio_inpaint",
    InpaintMusic,
    inpaint_music,
    command=("audio", "inpaint"),
    help="Write some bars or parts anew, such as a bass under a melody, and keep the rest note for note.",
)
RENDER = Operation(
    "audio_render",
    RenderMusic,
    render_music,
    command=("audio", "render"),
    help="Play a MIDI file with the suite's own instruments: mix and stems.",
)
LOOP = Operation(
    "audio_loop",
    LoopMusic,
    loop_music,
    command=("audio", "loop"),
    help="Make a loop of whole bars, exact to the sample, whose end rings into its start.",
)
EVALUATE = Operation(
    "audio_evaluate",
    EvaluateMusic,
    evaluate_music,
    command=("audio", "evaluate"),
    help="Compare a recording or a MIDI file with what was asked, control by control.",
)
STUDIO: Final = (CONTINUE, INPAINT, RENDER, LOOP, EVALUATE)
