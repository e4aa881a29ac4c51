"""Keys, progressions, chords and how their voices move.

A chord is a stack of thirds of the scale. In a minor key the fifth degree has the raised leading tone, as a dominant
has had since the seventeenth century; everything else stays in the scale. What the splits hold out stands here:
`HELD_KEYS` and `HELD_PROGRESSIONS` never sound in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from domains.audio.compose.score import CHORDS, MAJOR_LIKE, SCALES, Harmony

Progression = tuple[int, int, int, int]  # degrees 1..7

PROGRESSIONS: Final[dict[str, tuple[Progression, ...]]] = {
    "major": ((1, 5, 6, 4), (1, 6, 4, 5), (1, 4, 1, 5), (6, 4, 1, 5), (1, 4, 6, 5)),
    "lydian": ((1, 2, 1, 2), (1, 2, 6, 5), (1, 5, 2, 1), (6, 2, 1, 2)),
    "mixolydian": ((1, 7, 4, 1), (1, 4, 7, 4), (1, 7, 1, 4), (1, 4, 1, 7)),
    "dorian": ((1, 4, 1, 4), (1, 7, 4, 1), (1, 3, 4, 7), (1, 2, 7, 1)),
    "minor": ((1, 6, 3, 7), (1, 7, 6, 5), (1, 4, 6, 5), (1, 6, 4, 5), (1, 4, 7, 3)),
    "phrygian": ((1, 2, 1, 2), (1, 2, 3, 2), (1, 7, 2, 1), (1, 6, 2, 1)),
    "harmonic": ((1, 4, 5, 1), (1, 6, 4, 5), (1, 4, 1, 5), (1, 2, 5, 1)),
}
STYLED: Final[dict[tuple[str, str], tuple[Progression, ...]]] = {  # where a genre has turns of its own
    ("jazz", "major"): ((2, 5, 1, 6), (1, 6, 2, 5), (3, 6, 2, 5)),
    ("jazz", "dorian"): ((1, 4, 1, 4), (1, 2, 7, 1)),
    ("blues", "major"): ((1, 4, 1, 5), (1, 1, 4, 5), (4, 4, 1, 5)),
    ("blues", "mixolydian"): ((1, 1, 4, 4), (1, 4, 1, 4)),
    ("folk", "major"): ((1, 4, 1, 5), (1, 5, 4, 5), (1, 5, 6, 4)),
    ("classical", "major"): ((1, 4, 5, 1), (1, 6, 2, 5), (1, 5, 6, 3)),
    ("funk", "dorian"): ((1, 4, 1, 4),),
    ("funk", "mixolydian"): ((1, 4, 1, 7), (1, 7, 1, 4)),
}
HELD_PROGRESSIONS: Final[dict[str, tuple[Progression, ...]]] = {  # each has a step that training never takes
    "major": ((1, 3, 4, 5), (1, 2, 4, 5)),
    "lydian": ((1, 3, 6, 2), (2, 3, 6, 5)),
    "mixolydian": ((1, 5, 4, 7), (4, 1, 5, 7)),
    "dorian": ((1, 5, 4, 7), (4, 5, 1, 7)),
    "minor": ((6, 7, 1, 5), (1, 3, 7, 6)),
    "phrygian": ((1, 4, 2, 7), (1, 3, 2, 7)),
    "harmonic": ((4, 2, 1, 5), (6, 5, 4, 5)),
}
HELD_KEYS: Final = {True: (1, 6, 9), False: (3, 8, 11)}  # tonics, of modes with a major and with a minor third
_QUALITY: Final = {steps: name for name, steps in CHORDS.items()}


def progressions(genre: str, mode: str, split: str) -> tuple[Progression, ...]:
    """What a piece of a genre, mode and split may use."""
    if split == "progressions":
        return HELD_PROGRESSIONS[mode]
    return STYLED.get((genre, mode), PROGRESSIONS[mode])


def tonics(mode: str, split: str) -> tuple[int, ...]:
    """The tonics of a split, pitch classes."""
    held = HELD_KEYS[mode in MAJOR_LIKE]
    return held if split == "keys" else tuple(tonic for tonic in range(12) if tonic not in held)


def degree_pitch(tonic: int, mode: str, step: int, raised: bool = False) -> int:
    """MIDI pitch of a step of the scale counted from the tonic of octave 0; `raised` lifts a minor seventh degree."""
    octave, degree = divmod(step, 7)
    lift = int(raised and degree == 6 and SCALES[mode][6] == 10)
    return tonic + 12 * octave + SCALES[mode][degree] + lift


def has_leading_tone(mode: str, degree: int) -> bool:
    """Whether the chord on a degree raises the seventh degree of the scale."""
    return mode == "minor" and degree == 5


def chord(tonic: int, mode: str, degree: int, seventh: bool) -> tuple[int, str]:
    """Root pitch class and quality of the chord on a degree; a seventh that no word of CHORDS has is left away."""
    raised = has_leading_tone(mode, degree)
    tones = [degree_pitch(tonic, mode, degree - 1 + third, raised) for third in (0, 2, 4, 6)]
    steps = tuple(tone - tones[0] for tone in tones)
    return tones[0] % 12, _QUALITY[steps if seventh and steps in _QUALITY else steps[:3]]


def harmonise(
    tonic: int, mode: str, degrees: Sequence[int], sevenths: Sequence[bool], length: float, total: float
) -> Harmony:
    """Chords of equal length in quarter notes, one after another, the last one cut at `total`."""
    spelled = [chord(tonic, mode, degree, seventh) for degree, seventh in zip(degrees, sevenths, strict=True)]
    onset = np.arange(len(degrees)) * length
    return Harmony(
        onset=onset,
        duration=np.minimum(length, total - onset),
        root=np.array([root for root, _ in spelled]),
        degree=np.array(degrees),
        quality=tuple(quality for _, quality in spelled),
    )


def voicings(harmony: Harmony, centre: int) -> list[tuple[int, ...]]:
    """Close positions around `centre`, each the inversion whose voices move least from the one before."""
    out: list[tuple[int, ...]] = []
    known: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[int, ...]] = {}
    for index in range(len(harmony)):
        classes, past = harmony.classes(index), out[-1] if out else (centre,)
        if (past, classes) not in known:
            shapes = close_positions(classes, centre)
            known[past, classes] = min(shapes, key=lambda shape: movement(past, shape, centre))
        out.append(known[past, classes])
    return out


def close_positions(classes: Sequence[int], centre: int) -> list[tuple[int, ...]]:
    """Every inversion of a chord, in the two octaves around the centre."""
    shapes = []
    for lowest in classes:
        foot = centre - 8 + (lowest - centre + 8) % 12  # in the octave above centre - 8
        above = sorted((tone - lowest) % 12 for tone in classes)
        shapes += [tuple(foot + step + octave for step in above) for octave in (0, -12)]
    return shapes


def movement(past: Sequence[int], now: Sequence[int], centre: int) -> float:
    """Semitones that voices move, each to its nearest, both ways; and a pull to the centre: chords never climb away."""
    ahead = sum(min(abs(a - b) for b in now) for a in past) / len(past)
    back = sum(min(abs(a - b) for a in past) for b in now) / len(now)
    return ahead + back + 0.15 * abs(sum(now) / len(now) - centre)
