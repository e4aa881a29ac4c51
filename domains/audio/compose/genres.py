"""What makes a genre: tempo, metre, swing, instruments, progressions, and the patterns of its band.

Patterns are strings of one bar, a character a sixteenth: 16 for 4/4, 12 for 3/4 and 6/8. `-` holds, `.` rests.
    chords  # the whole chord, 1..4 one voice from below
    bass    r root, 3 third, 5 fifth, 8 octave, a the tone that leads to the next root
    drums   X accented, x plain, o soft; keys of General MIDI's percussion map
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

KICK, STICK, SNARE, CLAP, CLOSED, OPEN, CRASH, RIDE = 36, 37, 38, 39, 42, 46, 49, 51
LOW_TOM, MID_TOM, HIGH_TOM, TAMBOURINE, BRUSH = 45, 47, 50, 54, 40
Groove = Mapping[int, str]  # drum -> pattern


@dataclass(frozen=True)
class Genre:
    """A genre.

    tempo    felt beats a minute, slowest and fastest;  metres  chances
    melody, chords, bass   programs; those of `held` serve the split "instruments" alone
    comping, lines, grooves   patterns of chords, bass and drums by metre
    swing    (share, unit in quarter notes);  busy  of the melody, 1 is plain;  offbeat  share of syncopated cells
    sevenths share of chords with one;  gate  sounding share of chords and bass;  room  0..1;  fill  chance of one
    gains    dB of melody, chords, bass, drums;  half_bar_chords  chance of two chords a bar
    slows    whether a quiet piece slows down at its end
    """

    tempo: tuple[float, float]
    metres: Mapping[str, float]
    melody: tuple[int, ...]
    chords: tuple[int, ...]
    bass: tuple[int, ...]
    held: Mapping[str, tuple[int, ...]]
    comping: Mapping[str, tuple[str, ...]]
    lines: Mapping[str, tuple[str, ...]]
    grooves: Mapping[str, tuple[Groove, ...]]
    swing: tuple[float, float] = (0.5, 1.0)
    busy: float = 1.0
    offbeat: float = 0.2
    sevenths: float = 0.1
    gate: float = 0.9
    room: float = 0.2
    fill: float = 0.7
    gains: tuple[float, float, float, float] = (0.0, -8.0, -4.0, -4.0)
    half_bar_chords: float = 0.0
    slows: bool = False


GENRES_TABLE: Final[Mapping[str, Genre]] = {
    "pop": Genre(
        tempo=(98, 126),
        metres={"4/4": 1.0},
        melody=(53, 1),
        chords=(0, 4),
        bass=(33,),
        held={"melody": (54,), "chords": (2,), "bass": (34,)},
        comping={"4/4": ("#---#---#---#---", "#-----#-----#---")},
        lines={"4/4": ("r-r-r-r-r-r-r-r-", "r-----r-r-----r-")},
        grooves={
            "4/4": (
                {KICK: "X.......X.x.....", SNARE: "....X.......X...", CLOSED: "x.x.x.x.x.x.x.x."},
                {
                    KICK: "X..x....X.......",
                    SNARE: "....X.......X...",
                    CLOSED: "x.x.x.x.x.x.x.x.",
                    CLAP: "....x.......x...",
                },
            )
        },
        offbeat=0.35,
    ),
    "rock": Genre(
        tempo=(116, 160),
        metres={"4/4": 0.85, "6/8": 0.15},
        melody=(30,),
        chords=(29,),
        bass=(33,),
        held={"melody": (31,), "chords": (28,), "bass": (34,)},
        comping={"4/4": ("#-#-#-#-#-#-#-#-", "#---#-#-..#-#-#-"), "6/8": ("#-#-#-#-#-#-",)},
        lines={"4/4": ("r-r-r-r-r-r-r-r-",), "6/8": ("r-r-r-r-r-r-",)},
        grooves={
            "4/4": (
                {KICK: "X.....x.X.x.....", SNARE: "....X.......X...", OPEN: "X...x...X...x..."},
                {KICK: "X.x...x.X.......", SNARE: "....X.......X..x", RIDE: "x.x.x.x.x.x.x.x."},
            ),
            "6/8": ({KICK: "X...x.......", SNARE: "......X.....", OPEN: "x.x.x.x.x.x."},),
        },
        gate=0.95,
        room=0.15,
        fill=1.0,
        gains=(-1.0, -7.0, -3.0, -1.0),
    ),
    "jazz": Genre(
        tempo=(110, 190),
        metres={"4/4": 0.85, "3/4": 0.15},
        melody=(65, 56, 66),
        chords=(0, 26),
        bass=(32,),
        held={"melody": (64,), "chords": (2,), "bass": (43,)},
        comping={
            "4/4": ("..#-......#-....", "#-....#-......#-", "......#---....#-"),
            "3/4": ("....#-..#-..", "..#-......#-"),
        },
        lines={"4/4": ("r---3---5---a---", "r---5---8---a---"), "3/4": ("r---3---a---",)},
        grooves={
            "4/4": (
                {
                    RIDE: "X...x.x.X...x.x.",
                    CLOSED: "....x.......x...",
                    KICK: "o.......o.......",
                    BRUSH: "......o........o",
                },
            ),
            "3/4": ({RIDE: "X...x.x.x...", CLOSED: "....x...x...", KICK: "o..........."},),
        },
        swing=(0.66, 1.0),
        busy=1.4,
        offbeat=0.5,
        sevenths=1.0,
        gate=0.7,
        half_bar_chords=0.4,
    ),
    "classical": Genre(
        tempo=(72, 132),
        metres={"4/4": 0.5, "3/4": 0.35, "6/8": 0.15},
        melody=(40, 73),
        chords=(48, 6),
        bass=(42,),
        held={"melody": (68,), "chords": (46,), "bass": (43,)},
        comping={
            "4/4": ("1-3-2-3-1-3-2-3-", "1-2-3-2-1-2-3-2-"),
            "3/4": ("1-3-2-3-2-3-", "1---#---#---"),
            "6/8": ("1-2-3-1-2-3-",),
        },
        lines={"4/4": ("r-------5-------", "r---------------"), "3/4": ("r-----------",), "6/8": ("r-----5-----",)},
        grooves={},
        busy=1.15,
        offbeat=0.0,
        gate=1.0,
        room=0.4,
        gains=(0.0, -8.0, -4.0, 0.0),
        slows=True,
    ),
    "electronic": Genre(
        tempo=(122, 140),
        metres={"4/4": 1.0},
        melody=(81, 80),
        chords=(90, 50),
        bass=(38,),
        held={"melody": (84,), "chords": (51,), "bass": (39,)},
        comping={"4/4": ("..#-..#-..#-..#-", "#--#--#--#--#-#-")},
        lines={"4/4": ("..rr..rr..rr..rr", "r.rrr.rrr.rrr.rr", "..r-..8-..r-..8-")},
        grooves={
            "4/4": (
                {KICK: "X...X...X...X...", CLAP: "....X.......X...", OPEN: "..x...x...x...x."},
                {
                    KICK: "X...X...X...X...",
                    CLAP: "....X.......X...",
                    OPEN: "..x...x...x...x.",
                    CLOSED: "xoxoxoxoxoxoxoxo",
                },
            )
        },
        busy=1.5,
        offbeat=0.6,
        gate=0.6,
        gains=(-1.0, -8.0, -3.0, 0.0),
    ),
    "hip_hop": Genre(
        tempo=(76, 96),
        metres={"4/4": 1.0},
        melody=(11,),
        chords=(4,),
        bass=(35,),
        held={"melody": (12,), "chords": (5,), "bass": (39,)},
        comping={"4/4": ("#-------......#-", "#---------#-....")},
        lines={"4/4": ("r-----..r-r---..", "r--r------..5-a-")},
        grooves={
            "4/4": (
                {KICK: "X..x......xx....", SNARE: "....X.......X...", CLOSED: "x.x.x.x.x.x.x.xx"},
                {KICK: "X.....x.x.x.....", SNARE: "....X.......X..o", CLOSED: "xxx.x.xxx.x.xxx."},
            )
        },
        swing=(0.6, 0.5),
        busy=0.9,
        offbeat=0.6,
        sevenths=0.8,
        gains=(0.0, -7.0, -2.0, 0.0),
    ),
    "folk": Genre(
        tempo=(84, 124),
        metres={"4/4": 0.4, "3/4": 0.3, "6/8": 0.3},
        melody=(110, 21),
        chords=(25,),
        bass=(32,),
        held={"melody": (105,), "chords": (15,), "bass": (43,)},
        comping={
            "4/4": ("1-#-1-##1-#-1-##", "1---#-#-1---#-#-"),
            "3/4": ("1---#-#-#-#-", "1---#---#-#-"),
            "6/8": ("1-#-#-1-#-#-",),
        },
        lines={"4/4": ("r-------5-------",), "3/4": ("r-------....",), "6/8": ("r-----5-----",)},
        grooves={
            "4/4": ({TAMBOURINE: "....x.......x..."}, {}),
            "3/4": ({TAMBOURINE: "....x...x..."}, {}),
            "6/8": ({TAMBOURINE: "......x....."}, {}),
        },
        fill=0.0,
        gains=(0.0, -6.0, -5.0, -8.0),
        slows=True,
    ),
    "blues": Genre(
        tempo=(76, 118),
        metres={"4/4": 0.7, "6/8": 0.3},
        melody=(27, 22),
        chords=(3, 16),
        bass=(32,),
        held={"melody": (23,), "chords": (17,), "bass": (43,)},
        comping={
            "4/4": ("#-#-#-#-#-#-#-#-", "#-....#-#-....#-"),
            "6/8": ("#-#-#-#-#-#-", "#---#-#---#-"),
        },
        lines={"4/4": ("r-r-5-5-r-r-8-8-", "r---3---5---8---"), "6/8": ("r---3-5---8-", "r---r-5---5-")},
        grooves={
            "4/4": (
                {RIDE: "X.x.x.x.X.x.x.x.", SNARE: "....X.......X...", KICK: "X.......X......."},
                {CLOSED: "X.x.x.x.X.x.x.x.", STICK: "....x.......x..x", KICK: "X.....x.X......."},
            ),
            "6/8": ({CLOSED: "x.x.x.x.x.x.", SNARE: "......X.....", KICK: "X.........x."},),
        },
        swing=(0.66, 1.0),
        busy=1.05,
        offbeat=0.6,
        sevenths=0.9,
        gate=0.65,
        gains=(0.0, -8.0, -3.0, -3.0),
    ),
    "ambient": Genre(
        tempo=(56, 78),
        metres={"4/4": 0.8, "3/4": 0.2},
        melody=(98, 88),
        chords=(89, 95),
        bass=(91,),
        held={"melody": (93,), "chords": (94,), "bass": (92,)},
        comping={"4/4": ("#---------------",), "3/4": ("#-----------",)},
        lines={"4/4": ("r---------------",), "3/4": ("r-----------",)},
        grooves={},
        busy=0.5,
        offbeat=0.1,
        sevenths=0.5,
        gate=1.0,
        room=0.7,
        gains=(0.0, -7.0, -6.0, 0.0),
    ),
    "funk": Genre(
        tempo=(96, 118),
        metres={"4/4": 1.0},
        melody=(61, 16),
        chords=(7, 27),
        bass=(36,),
        held={"melody": (62,), "chords": (28,), "bass": (37,)},
        comping={"4/4": ("..#.#..#..#.#..#", "#.#..##...#..##.")},
        lines={"4/4": ("r..r..8.r..r.5a.", "r.rr..8...r.8.5a")},
        grooves={
            "4/4": (
                {KICK: "X.x...x...x..x..", SNARE: "....X..o.o..X..o", CLOSED: "xxxxxxxxxxxxxxxx"},
                {
                    KICK: "X..x..x.X.x.....",
                    SNARE: "o...X..o.o..X...",
                    CLOSED: "xxx.xxx.xxx.xxxx",
                    OPEN: "...x...x...x....",
                },
            )
        },
        swing=(0.54, 0.5),
        busy=1.3,
        offbeat=0.9,
        sevenths=0.9,
        gate=0.45,
        gains=(0.0, -7.0, -2.0, -2.0),
    ),
}

HELD_PROGRAMS: Final = frozenset(
    program for genre in GENRES_TABLE.values() for programs in genre.held.values() for program in programs
)
