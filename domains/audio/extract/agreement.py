"""How well extracted controls agree with known ones, in the measures of mir_eval: notes, chords, key, tempo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from domains.audio.controls.chords import Chord
from domains.audio.controls.notes import Key, Note


def note_f1(known: Sequence[Note], found: Sequence[Note], *, octaves: bool = False) -> float:
    """F1 of notes whose onset is within 50 ms and whose pitch is right, in any octave if so; ends are not compared."""
    import mir_eval

    if not known or not found:
        return float(not known and not found)

    def plain(notes: Sequence[Note]) -> tuple[np.ndarray, np.ndarray]:
        told = [replace(note, pitch=60 + note.pitch_class) for note in notes] if octaves else notes
        return np.array([[note.start, note.end] for note in told]), np.array([note.frequency for note in told])

    return float(mir_eval.transcription.precision_recall_f1_overlap(*plain(known), *plain(found), offset_ratio=None)[2])


def chord_accuracy(known: Sequence[Chord], found: Sequence[Chord], length: float) -> float:
    """Share of the clip in which the triad (major or minor) is right, as MIREX weighs it."""
    import mir_eval

    def plain(chords: Sequence[Chord]) -> tuple[np.ndarray, list[str]]:
        spans: list[tuple[float, float]] = []
        labels: list[str] = []
        now = 0.0
        for chord in (replace(chord, end=min(chord.end, length)) for chord in chords if chord.start < length):
            for start, end, label in ((now, chord.start, "N"), (chord.start, chord.end, chord.label)):
                if end > start:
                    spans.append((start, end))
                    labels.append(label)
            now = chord.end
        if now < length:
            spans.append((now, length))
            labels.append("N")
        return np.array(spans), labels

    (one, first), (two, second) = plain(known), plain(found)
    spans, left, right = mir_eval.util.merge_labeled_intervals(one, first, two, second)
    same = mir_eval.chord.majmin(left, right)
    return float(mir_eval.chord.weighted_accuracy(same, mir_eval.util.intervals_to_durations(spans)))


def key_score(known: Key, found: Key) -> float:
    """1 for the key, 0.5 for the fifth above, 0.3 for the relative, 0.2 for the parallel key (MIREX)."""
    import mir_eval

    return float(mir_eval.key.weighted_score(known.name, found.name))


def tempo_is(known: float, found: float, *, octaves: bool = False) -> bool:
    """Whether a tempo is right within 4 %; with `octaves`, double and half count, too."""
    ratios = (0.5, 1.0, 2.0) if octaves else (1.0,)
    return any(abs(found / (known * ratio) - 1) <= 0.04 for ratio in ratios)
