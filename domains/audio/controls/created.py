"""The created controls of Music ControlNet (Wu et al. 2023), item for item: 20 melodies, 24 curves of dynamics and 20
rhythms, each about six seconds long and each the whole of what is asked; and a part of any of them.

    melodies   ten themes in the public domain x two cuts (themes.py)
    dynamics   {linear, tanh, cosine} x {up, flipped} x {6, 9, 12, 15 dB} around a middle level
    rhythms    four grooves of this project in place of the paper's four songs x tempo {0.8, 0.9, 1, 1.1, 1.2}
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from domains.audio.controls.beats import BeatGrid
from domains.audio.controls.controls import Controls
from domains.audio.controls.dynamics import SHAPES, Dynamics
from domains.audio.controls.notes import Note
from domains.audio.controls.spans import Span, Spans
from domains.audio.controls.themes import THEMES, theme_melody

LENGTH: Final = 6.0  # seconds
RANGES: Final = (6.0, 9.0, 12.0, 15.0)  # dB from end to end
STRETCHES: Final = (0.8, 0.9, 1.0, 1.1, 1.2)  # of the tempo
SHORTEST, LONGEST = 1.0, 4.5  # seconds of a part that binds
PLAIN_BPM: Final = 120.0  # of what asks for no rhythm
KICK, SNARE, RIM, HAT, RIDE = 36, 38, 37, 42, 51  # keys of General MIDI's percussion map
VELOCITIES: Final = {"X": 110, "x": 80, "o": 50}

# metre, felt beats a minute, and a bar of each drum, a character a sixteenth: X accented, x plain, o soft, . rests
GROOVES: Final[dict[str, tuple[str, float, dict[int, str]]]] = {
    "backbeat": (
        "4/4",
        120.0,
        {KICK: "X.....x.X.x.....", SNARE: "....X.......X..o", HAT: "x.x.x.x.x.x.x.x."},
    ),
    "clave": (
        "4/4",
        112.0,
        {KICK: "X..xX..xX..xX..x", RIM: "X..X..X...X.X...", HAT: "x.o.x.o.x.o.x.o."},
    ),
    "waltz": ("3/4", 120.0, {KICK: "X...........", SNARE: "....x...x...", RIDE: "x...x.x.x..."}),
    "jig": ("6/8", 80.0, {KICK: "X.....x...x.", SNARE: "......X.....", HAT: "x.x.x.x.x.x."}),
}


def melodies() -> dict[str, Controls]:
    """Twenty: "canon 1", "canon 2" ..."""
    return {f"{name} {cut + 1}": theme_melody(name, cut) for name in THEMES for cut in (0, 1)}


def curves(middle: float = -20.0) -> dict[str, Controls]:
    """Twenty-four, `middle` dB in the middle of each; a plain grid lies under them."""
    grid = BeatGrid.steady(PLAIN_BPM)
    return {
        f"{kind} {'down' if falling else 'up'} {span:g} dB": Controls(
            length=LENGTH,
            dynamics=Dynamics.shape(kind, LENGTH, middle=middle, span=span, falling=falling),
            grid=grid,
        )
        for kind in SHAPES
        for falling in (False, True)
        for span in RANGES
    }


def rhythms() -> dict[str, tuple[Controls, tuple[Note, ...]]]:
    """Twenty: a beat grid and the strokes of the drums on it, which the control language keeps apart."""
    return {f"{name} x {stretch:g}": groove(name, stretch) for name in GROOVES for stretch in STRETCHES}


def groove(name: str, stretch: float = 1.0, length: float = LENGTH) -> tuple[Controls, tuple[Note, ...]]:
    """One of `GROOVES` at `stretch` of its tempo, as many seconds of it."""
    metre, bpm, bar = GROOVES[name]
    grid = BeatGrid.steady(bpm * stretch, metre)
    strokes = [
        Note(
            grid.seconds_at(first + step / 4),
            min(grid.seconds_at(first + step / 4 + 0.25), length),
            key,
            VELOCITIES[sign],
        )
        for first, _ in grid.bars(length)
        for key, pattern in bar.items()
        for step, sign in enumerate(pattern)
        if sign != "." and grid.seconds_at(first + step / 4 + 0.125) < length  # most of its sixteenth
    ]
    return Controls(length=length, grid=grid), tuple(sorted(strokes))


def in_part(controls: Controls, kind: str, rng: np.random.Generator) -> Controls:
    """The same with one control ("melody", "dynamics", "rhythm") binding in a random 1.0 to 4.5 s of the clip alone."""
    lasts = float(rng.uniform(SHORTEST, min(LONGEST, controls.length)))
    start = float(rng.uniform(0.0, controls.length - lasts))
    return replace(controls, spans=Spans(**{kind: (Span(start, start + lasts),)}))
