"""How much of what is known of a piece the extractors hear: composed pieces of the test split, played by the own synth.

Every piece has its controls exactly. Melody, notes, dynamics, beats, chords and key are extracted from the whole mix,
melody and notes also from the melody's part alone, rhythm also with tempo and metre given. Means over pieces with 95 %
bootstrap intervals, beside what chance gives where chance has a number. Writes docs/measured/audio_extract.json.
"""

from __future__ import annotations

import argparse
from typing import Any, Final

import numpy as np

from domains.audio.compose.composer import compose
from domains.audio.compose.performance import render
from domains.audio.compose.truth import controls_of, tracks_of
from domains.audio.controls.controls import Controls
from domains.audio.controls.frames import RATE, rasterise
from domains.audio.evaluate import beat_f1, bootstrap, correlation, level_error, melody_accuracy
from domains.audio.extract.agreement import chord_accuracy, key_score, note_f1, tempo_is
from domains.audio.extract.extract import Extracted, extract
from shared.measured import record

PIECES, BARS = 30, 8
# What is measured -> (how it is said, what chance gives).
ROWS: Final = {
    "melody_mix": ("melody: frames with the class of the score, mix", 1 / 12),
    "melody_solo": ("the same, melody alone", 1 / 12),
    "yin_solo": ("the same by YIN, melody alone", 1 / 12),
    "notes_mix": ("notes: F1 of onset and pitch, mix", None),
    "notes_class": ("the same, in any octave", None),
    "notes_solo": ("notes by YIN, melody alone", None),
    "notes_solo_class": ("the same, in any octave", None),
    "dynamics": ("dynamics: r with the curve asked, mix", 0.0),
    "level": ("the same: squared level error, dB²", None),
    "beat": ("beats: F1 within 70 ms, mix", None),
    "beat_known": ("the same, tempo and metre given", None),
    "downbeat": ("downbeats: F1 within 70 ms, mix", None),
    "downbeat_known": ("the same, tempo and metre given", None),
    "tempo": ("tempo: pieces within 4 %", None),
    "tempo_octaves": ("the same, double and half allowed", None),
    "offered": ("the same, among the tempi that are offered", None),
    "chords": ("chords: share of time with the right triad, mix", 1 / 24),
    "key": ("key: pieces with the right one, mix", 1 / 24),
    "key_score": ("the same, related keys in part (MIREX)", None),
}


def heard(found: Extracted, known: Controls) -> dict[str, Any]:
    """What the extraction of a mix got right."""
    assert known.grid is not None and known.key is not None and known.dynamics is not None
    frames = len(found.levels)
    curves = rasterise(known, RATE, frames=frames)
    levels = curves.dynamics[:, 0].astype(np.float64)
    beats, downbeats = known.grid.beats(known.length), known.grid.downbeats(known.length)
    bpm = known.grid.tempos[0].qpm / known.grid.metres[0].beat
    rhythm, key = found.rhythm, found.controls.key
    tempi = [] if rhythm is None else [rhythm.bpm, *(tempo for tempo, _ in rhythm.others)]
    return {
        "melody_mix": melody_accuracy(curves.melody, found.melody),
        "notes_mix": note_f1(known.melody or (), found.controls.melody or ()),
        "notes_class": note_f1(known.melody or (), found.controls.melody or (), octaves=True),
        "dynamics": correlation(levels, found.levels),
        "level": level_error(levels, found.levels),
        "beat": 0.0 if rhythm is None else beat_f1(beats, rhythm.beats),
        "downbeat": 0.0 if rhythm is None else beat_f1(downbeats, rhythm.downbeats),
        "tempo": bool(tempi) and tempo_is(bpm, tempi[0]),
        "tempo_octaves": bool(tempi) and tempo_is(bpm, tempi[0], octaves=True),
        "offered": any(tempo_is(bpm, tempo) for tempo in tempi),
        "chords": chord_accuracy(known.chords or (), found.controls.chords or (), known.length),
        "key": key == known.key,
        "key_score": 0.0 if key is None else key_score(known.key, key),
    }


def piece(index: int) -> dict[str, Any]:
    """All measures of one piece."""
    composed = compose(1, index, "test", bars=BARS)
    played = render(composed, RATE)
    known = controls_of(composed, played)
    mix = played.mix.mean(0)[: played.body].astype(np.float32)
    measures = heard(extract(mix), known)
    assert known.grid is not None and played.stems is not None
    bpm, metre = known.grid.tempos[0].qpm / known.grid.metres[0].beat, known.grid.metres[0].name
    told = extract(mix, kinds=("rhythm",), bpm=bpm, metre=metre).rhythm
    beats, downbeats = known.grid.beats(known.length), known.grid.downbeats(known.length)
    measures["beat_known"] = 0.0 if told is None else beat_f1(beats, told.beats)
    measures["downbeat_known"] = 0.0 if told is None else beat_f1(downbeats, told.downbeats)
    place = [track.name for track in tracks_of(composed)].index("melody")
    alone = extract(played.stems[place].mean(0)[: played.body].astype(np.float32), kinds=("melody",), voice="solo")
    asked = rasterise(known, RATE, frames=len(alone.levels)).melody
    measures["melody_solo"] = melody_accuracy(asked, alone.melody)
    measures["yin_solo"] = melody_accuracy(asked, rasterise(alone.controls, RATE, frames=len(asked)).melody)
    measures["notes_solo"] = note_f1(known.melody or (), alone.controls.melody or ())
    measures["notes_solo_class"] = note_f1(known.melody or (), alone.controls.melody or (), octaves=True)
    return measures


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pieces", type=int, default=PIECES)
    pieces = [piece(index) for index in range(parser.parse_args().pieces)]
    rows: list[list[Any]] = []
    for name, (said, chance) in ROWS.items():
        values = [float(value) for each in pieces if (value := each[name]) is not None]
        low, high = bootstrap(values, lambda drawn: float(np.mean(drawn)))
        rows.append(
            [said, float(np.mean(values)), f"{low:.3g} to {high:.3g}", "" if chance is None else f"{chance:.2g}"]
        )
        print(*rows[-1], sep="  ", flush=True)
    record(
        "audio_extract",
        {
            "accuracy": {"columns": ["what", "mean", "95 % interval", "chance"], "rows": rows, "digits": 3},
            "pieces": {"value": len(pieces), "digits": 2},
        },
        command="python -m benchmarks.audio_extract",
    )


if __name__ == "__main__":
    main()
