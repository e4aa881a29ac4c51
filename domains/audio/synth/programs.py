"""Which voice a General MIDI program has: one for each of the sixteen families, and many programs of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from domains.audio.synth.voices import Voice

_PIANO: Final = Voice(
    tilt=0.9, pluck=0.12, stretch=3e-4, decay=1.1, damping=0.35, release=0.18, bright=1.0, noise=(0.02, 300, 2500, 0.03)
)
_MALLET: Final = Voice(ratios=(1.0, 4.0, 9.2), harmonics=(1.0, 0.35, 0.1), decay=5.0, damping=0.6, release=0.2)
_ORGAN: Final = Voice(harmonics=(0.8, 1.0, 0.6, 0.5, 0.0, 0.3, 0.0, 0.25), attack=0.006, release=0.05, bright=0.1)
_GUITAR: Final = Voice(tilt=0.9, pluck=0.18, decay=1.6, damping=0.5, release=0.12, noise=(0.03, 1500, 5000, 0.02))
_BASS: Final = Voice(tilt=1.1, pluck=0.22, decay=1.2, damping=2.0, release=0.08, noise=(0.02, 500, 2000, 0.02))
_VIOLIN: Final = Voice(
    tilt=1.0,
    attack=0.06,
    release=0.12,
    formants=((460, 120, 2.0), (1100, 300, 1.8), (2700, 700, 2.5)),
    tremolo=(5.6, 0.12),
    unison=(-3.0, 3.0),
    noise=(0.02, 3000, 8000, 0.0),
    bright=0.5,
)
_STRINGS: Final = Voice(
    tilt=1.1, attack=0.12, release=0.3, unison=(-9.0, -3.0, 4.0, 10.0), formants=((600, 300, 1.6),), bright=0.4
)
_BRASS: Final = Voice(
    tilt=0.5, attack=0.035, release=0.08, cutoff=2400, sweep=0.5, closing=0.06, formants=((1200, 500, 1.7),), bright=0.9
)
_REED: Final = Voice(
    tilt=0.8, attack=0.03, release=0.07, formants=((800, 300, 2.2), (1900, 600, 1.6)), noise=(0.02, 2000, 7000, 0.0)
)
_PIPE: Final = Voice(
    harmonics=(1.0, 0.35, 0.12, 0.06, 0.03), attack=0.05, release=0.09, tremolo=(5.2, 0.1), noise=(0.06, 800, 7000, 0.0)
)
_LEAD: Final = Voice(tilt=1.0, attack=0.004, release=0.06, cutoff=5200, sweep=1.8, closing=0.25, unison=(-6.0, 6.0))
_PAD: Final = Voice(
    tilt=1.2, attack=0.35, release=0.7, cutoff=1500, unison=(-11.0, -4.0, 5.0, 12.0), tremolo=(0.3, 0.1), bright=0.2
)
_GLASS: Final = Voice(fm=(3.5, 3.0, 0.5, 0.4), decay=1.3, attack=0.01, release=0.6)
_BANJO: Final = replace(_GUITAR, pluck=0.08, tilt=0.5, decay=4.0, damping=0.3, formants=((900, 300, 2.0),))
_BELL: Final = Voice(
    ratios=(0.5, 1.0, 1.2, 1.5, 2.0, 2.67, 3.01, 4.1), harmonics=(0.5, 0.8, 0.5, 0.4, 0.7, 0.3, 0.25, 0.15), decay=1.1,
    damping=0.1, release=0.8,
)  # fmt: skip

FAMILIES: Final = (  # programs 0-7, 8-15, ...
    _PIANO,
    _MALLET,
    _ORGAN,
    _GUITAR,
    _BASS,
    _VIOLIN,
    _STRINGS,
    _BRASS,
    _REED,
    _PIPE,
    _LEAD,
    _PAD,
    _GLASS,
    _BANJO,
    _BELL,
    replace(_PIPE, noise=(0.5, 500, 9000, 0.0)),
)
_EPIANO: Final = Voice(fm=(1.0, 1.8, 0.35, 0.3), decay=1.2, attack=0.002, release=0.15)
_DRIVE: Final = Voice(
    tilt=0.55, pluck=0.2, decay=0.35, attack=0.003, release=0.06, cutoff=4200, formants=((1100, 600, 1.8),), bright=0.2
)
PROGRAMS: Final[dict[int, Voice]] = {
    1: replace(_PIANO, tilt=0.7, damping=0.25),
    2: Voice(fm=(1.0, 1.2, 0.6, 0.5), decay=1.0, release=0.15, unison=(-3.0, 3.0)),
    3: replace(_PIANO, unison=(-11.0, 11.0), tilt=0.75),
    4: _EPIANO,
    5: replace(_EPIANO, fm=(14.0, 0.7, 0.12, 0.05)),
    6: replace(_PIANO, pluck=0.07, tilt=0.35, stretch=0.0, decay=1.8, damping=0.12, bright=0.1),
    7: replace(_GUITAR, pluck=0.1, tilt=0.45, decay=2.4, damping=0.15, cutoff=3500, sweep=2.0, closing=0.1),
    11: Voice(ratios=(1.0, 4.0, 10.0), harmonics=(1.0, 0.12, 0.04), decay=1.4, tremolo=(5.5, 0.25), release=0.4),
    12: Voice(ratios=(1.0, 3.93, 9.2), harmonics=(1.0, 0.25, 0.08), decay=6.0, damping=1.0),
    13: Voice(ratios=(1.0, 3.0, 6.1), harmonics=(1.0, 0.45, 0.2), decay=8.0, damping=0.4),
    14: _BELL,
    15: replace(_GUITAR, pluck=0.11, tilt=0.6, decay=1.2, damping=0.2, unison=(-4.0, 4.0)),
    16: _ORGAN,
    17: replace(_ORGAN, harmonics=(1.0, 0.8, 0.9, 0.1), noise=(0.12, 1500, 5000, 0.02)),
    19: replace(_ORGAN, harmonics=(0.7, 1, 0.5, 0.8, 0.2, 0.4, 0.1, 0.5), attack=0.04, release=0.2, unison=(-4.0, 4.0)),
    21: Voice(tilt=0.6, attack=0.03, release=0.06, formants=((700, 300, 1.8),), unison=(-7.0, 7.0), bright=0.3),
    22: Voice(tilt=0.7, even=0.7, attack=0.03, release=0.06, formants=((1500, 500, 2.4),), tremolo=(5.0, 0.2)),
    23: Voice(tilt=0.7, attack=0.03, release=0.08, formants=((500, 200, 2.0),), unison=(-5.0, 5.0), bright=0.3),
    24: replace(_GUITAR, tilt=1.3, pluck=0.3, damping=0.9, noise=(0.02, 800, 3000, 0.02)),
    26: replace(_GUITAR, tilt=1.4, pluck=0.33, damping=1.2),
    27: replace(_GUITAR, tilt=0.8, pluck=0.25, decay=1.0, damping=0.3),
    28: replace(_GUITAR, tilt=1.0, decay=9.0, damping=1.5),
    29: _DRIVE,
    30: replace(_DRIVE, tilt=0.35, decay=0.15, cutoff=5200, unison=(-5.0, 5.0)),
    31: replace(_DRIVE, tilt=0.2, even=0.2, decay=0.5),
    32: replace(_BASS, tilt=1.3, decay=1.8, damping=3.0),
    34: replace(_BASS, pluck=0.1, tilt=0.8, damping=1.0),
    35: replace(_BASS, tilt=1.5, decay=0.6, damping=1.5, attack=0.012),
    36: replace(_BASS, pluck=0.08, tilt=0.5, decay=2.2, damping=0.6, noise=(0.12, 1500, 6000, 0.015)),
    37: replace(_BASS, pluck=0.06, tilt=0.6, decay=3.0, damping=0.8, noise=(0.15, 1000, 5000, 0.02)),
    38: Voice(tilt=1.0, attack=0.003, release=0.05, cutoff=700, sweep=5.0, closing=0.09, decay=0.4),
    39: Voice(fm=(1.0, 2.2, 0.2, 0.6), decay=0.5, release=0.06),
    42: replace(_VIOLIN, formants=((250, 90, 2.0), (600, 200, 1.8), (1800, 600, 1.8)), attack=0.07),
    43: replace(_VIOLIN, tilt=1.4, formants=((120, 60, 2.0), (350, 150, 1.6)), attack=0.06, tremolo=(0.0, 0.0)),
    45: replace(_GUITAR, tilt=1.3, decay=5.0, damping=1.5),
    46: replace(_GUITAR, pluck=0.4, tilt=1.2, decay=1.0, damping=0.5),
    50: replace(_PAD, tilt=0.9, attack=0.09, release=0.25, cutoff=3000),
    51: replace(_PAD, tilt=0.8, even=0.3, attack=0.12, release=0.3, cutoff=2600),
    53: Voice(
        tilt=1.1, attack=0.07, release=0.15, formants=((500, 130, 4.0), (900, 160, 2.5), (2700, 400, 1.6)),
        tremolo=(5.2, 0.15), unison=(-5.0, 5.0), noise=(0.02, 2000, 8000, 0.0), bright=0.3,
    ),
    54: Voice(tilt=0.9, attack=0.05, release=0.15, formants=((700, 180, 4.0), (1150, 200, 3.0)), unison=(-6.0, 6.0)),
    57: replace(_BRASS, cutoff=1700, formants=((550, 250, 1.8),)),
    61: replace(_BRASS, unison=(-7.0, 0.0, 7.0), attack=0.025),
    62: replace(_BRASS, unison=(-9.0, 9.0), cutoff=2000, sweep=1.6, closing=0.2, tilt=0.9),
    64: replace(_REED, formants=((1100, 350, 2.2), (2300, 600, 1.6))),
    66: replace(_REED, formants=((550, 220, 2.2), (1500, 500, 1.6))),
    68: replace(_REED, tilt=0.5, formants=((1100, 250, 3.0), (2900, 600, 2.0))),
    71: replace(_REED, even=0.15, tilt=0.9, formants=((1500, 600, 1.4),)),
    80: replace(_LEAD, even=0.03, unison=(0.0,)),
    84: replace(_LEAD, tilt=0.6, unison=(-10.0, 10.0), cutoff=3600),
    88: replace(_PAD, attack=0.25, ratios=(1.0, 2.0, 3.0, 4.02, 6.01), harmonics=(1.0, 0.4, 0.3, 0.2, 0.2)),
    90: replace(_LEAD, cutoff=2600, sweep=2.5, closing=0.15, unison=(-8.0, 8.0), release=0.12),
    91: replace(_PAD, formants=((500, 150, 3.0), (1000, 200, 2.0))),
    92: replace(_PAD, even=0.2, tilt=1.6, cutoff=2500),
    93: replace(_PAD, ratios=(1.0, 2.76, 5.4, 8.9), harmonics=(1.0, 0.3, 0.2, 0.1), attack=0.1),
    94: replace(_PAD, formants=((800, 250, 2.5),), tilt=1.4),
    95: replace(_PAD, cutoff=500, sweep=5.0, closing=2.0, tilt=0.9),
    105: _BANJO,
    110: replace(_VIOLIN, attack=0.03, tilt=0.8, unison=(0.0,), tremolo=(6.0, 0.08)),
}  # fmt: skip


def voice_of(program: int) -> Voice:
    """The voice of a program 0..127: its own, or that of its family."""
    return PROGRAMS.get(program, FAMILIES[program // 8])
