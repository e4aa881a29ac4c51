"""The pictures of the audio app, made by the app itself: its card, and its page at a desk and on a phone.

    python -m benchmarks.pictures.audio [card | page]

Runs the first example with the shipped weights and the default settings; writes suite/pictures/ and docs/pictures/.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.pictures.photographer import keep, photographs, take
from suite.apps import APPS, ROOT

CARD: Final = (640, 360)  # pixels: two times the width of a card, 16 to 9
GROUND, BAR, BEAT = (15, 23, 32), (100, 116, 139), (42, 55, 70)
ASKED, OBTAINED = (45, 212, 191), (253, 186, 116)  # as the lanes in the dark have them
NOTES: Final = (20, 216)  # rows of the picture that hold the piano roll
LEVELS: Final = (240, 342)  # and the curve of loudness
LOUD, QUIET = -8.0, -44.0  # dB at its upper and lower border


def card() -> None:
    """The lanes of the example `theme` with what the first take of seed 0 does, as the page draws them."""
    from domains.audio.controls.examples import EXAMPLES
    from domains.audio.page.results import found_of
    from domains.audio.score.operations import GENERATE, GenerateMusic

    asked = EXAMPLES["theme"]()
    assert asked.melody and asked.dynamics and asked.grid
    with tempfile.TemporaryDirectory() as folder:
        settings = GenerateMusic(controls="example:theme", takes=1, out=str(Path(folder) / "made"))
        made = GENERATE.run(settings, lambda *said, **more: None)
        print(made.sentence)
        found = found_of(json.loads((Path(folder) / "made" / "take_1.obtained.json").read_text("utf-8")))
    twice = Image.new("RGB", (2 * CARD[0], 2 * CARD[1]), GROUND)
    pen = ImageDraw.Draw(twice)
    pitches = [note.pitch for note in asked.melody] + [note["pitch"] for note in found["melody"]]
    low, rows = min(pitches) - 2, max(pitches) - min(pitches) + 5

    def x(seconds: float) -> float:
        return 2 * (16 + seconds / asked.length * (CARD[0] - 32))

    def box(start: float, end: float, pitch: int) -> tuple[float, float, float, float]:
        tall = (NOTES[1] - NOTES[0]) / rows
        top = NOTES[0] + (low + rows - 1 - pitch) * tall
        return x(start) + 2, 2 * top + 2, x(end) - 3, 2 * (top + tall) - 2

    def line(points: list[tuple[float, float]], colour: tuple[int, int, int]) -> None:
        spread = [(x(at), 2 * np.interp(level, (QUIET, LOUD), (LEVELS[1], LEVELS[0]))) for at, level in points]
        pen.line(spread, fill=colour, width=7, joint="curve")

    for beat in asked.grid.beats(asked.length):
        down = bool(np.isclose(asked.grid.downbeats(asked.length), beat).any())
        pen.line((x(beat), 2 * NOTES[0], x(beat), 2 * LEVELS[1]), fill=BAR if down else BEAT, width=3 if down else 2)
    for note in asked.melody:
        pen.rounded_rectangle(box(note.start, note.end, note.pitch), 5, fill=ASKED)
    for each in found["melody"]:
        pen.rounded_rectangle(box(each["start"], each["end"], each["pitch"]), 5, outline=OBTAINED, width=5)
    line(list(asked.dynamics.points), ASKED)
    line([(at, level) for at, level in found["dynamics"]], OBTAINED)
    app = next(app for app in APPS if app.slug == "audio/score")
    keep(twice.resize(CARD, Image.Resampling.LANCZOS), ROOT / app.picture, colours=128)


def page() -> None:
    """The page after the first example, at every look."""
    photographs("audio", ready=lambda view: view.get_by_text("Asked: melody").wait_for(), shown=("#table table",))


if __name__ == "__main__":
    take({"card": card, "page": page})
