"""The composed world: can its styles be heard, is it music, and how fast is it played.

Styles: a multinomial logistic regression learns from the training split and reads pieces of the others, once from
features of the score, once from mel statistics of six-second crops of the recording (22.05 kHz, mono). Music: share of
pitches in the key, of downbeats on chord tones, distance from the grid of sixteenths, share of phrases that repeat as
the form says. Speed: seconds of music a second of one core, cold (no tone cached) and warm. Writes
docs/measured/music_world.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.listening.styles import RATE, interval, mel_bank, readings, score_features, sound_features
from domains.audio.compose.composer import SPLITS, compose
from domains.audio.compose.performance import render
from domains.audio.compose.score import STEP, Score
from domains.audio.compose.truth import controls_of
from domains.audio.controls.tags import GENRES, MOODS
from domains.audio.synth import render as synthesis
from shared.measured import record

CROP = 6.0  # seconds
TRAIN, TEST, HELD, BARS = 400, 120, 40, 8
SPEED_RATE, MOVING, PLAIN = 44_100, 24, 100  # pieces whose dynamics, and whose notes, are looked at


def dataset(split: Any, count: int, bank: torch.Tensor) -> tuple[NDArray, NDArray, NDArray]:
    """Score features, sound features and labels (count, 2) of pieces of a split."""
    scores, sounds, labels = [], [], []
    for index in range(count):
        score = compose(11, index, split, bars=BARS)
        played = render(score, RATE, stems=False).mix.mean(0)
        crop = int(CROP * RATE)
        first = int(np.random.default_rng((7, index)).integers(max(len(played) - 2 * RATE - crop, 1)))
        scores.append(score_features(score))
        sounds.append(sound_features(played[first : first + crop], bank))
        labels.append((GENRES.index(score.genre), MOODS.index(score.mood)))
    return np.array(scores), np.array(sounds), np.array(labels)


# -- is it music -----------------------------------------------------------------------------------


def musical(score: Score) -> tuple[float, float, float, float]:
    """In-key share, strong beats on chord tones, mean distance from the grid in steps, share of equal repeats."""
    pitched = np.array([not score.tracks[track].drums for track in score.notes.track])
    inside = np.isin(score.notes.pitch[pitched] % 12, score.scale).mean()
    tune = score.part("melody")
    strong = tune.take(np.isclose(tune.onset % score.bar, 0))
    tones = [
        p % 12 in score.harmony.classes(int(score.harmony.at(q)))
        for q, p in zip(strong.onset, strong.pitch, strict=True)
    ]
    grid = np.abs(score.notes.onset / STEP - np.rint(score.notes.onset / STEP)).mean()
    length, same, sung = score.phrase * score.bar, [], dict[str, list[Any]]()
    for k, letter in enumerate(score.form):
        part = (tune.onset >= k * length) & (tune.onset < (k + 1) * length - score.bar)
        line = [(q - k * length, p) for q, p in zip(tune.onset[part].tolist(), tune.pitch[part].tolist(), strict=True)]
        if letter in sung:
            same.append(line == sung[letter])
        sung.setdefault(letter, line)
    return float(inside), float(np.mean(tones)), float(grid), float(np.mean(same)) if same else 1.0


def heard_dynamics(count: int) -> NDArray:
    """Correlation of the asked curve with second means of the recording, a piece whose level moves.

    Recorded as the median with the tenth and the ninetieth percentile of the pieces.
    """
    out = []
    for index in range(count):
        score = compose(12, index, "test")
        asked = controls_of(score).dynamics
        played = render(score, RATE, stems=False).mix.mean(0)
        seconds = np.arange(int(score.seconds_in_all))
        wanted = asked.at(seconds + 0.5) if asked else np.zeros(len(seconds))
        if np.std(wanted) > 1:
            heard = [np.square(played[s * RATE : (s + 1) * RATE]).mean() for s in seconds]
            out.append(np.corrcoef(10 * np.log10(np.array(heard) + 1e-9), wanted)[0, 1])
    return np.array(out)


# -- how fast --------------------------------------------------------------------------------------


def speed(cold: bool) -> list[float]:
    """Seconds of music a second of processor time, a piece; 44.1 kHz, stems and room included."""
    ratios = []
    for index, genre in enumerate(GENRES):
        score = compose(13, index, genre=genre)
        if cold:
            synthesis._tone.cache_clear()
        else:
            render(score, SPEED_RATE)
        start = time.process_time()
        render(score, SPEED_RATE)
        ratios.append(score.seconds_in_all / (time.process_time() - start))
    return ratios


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description="Measure the composed world; writes docs/measured/music_world.json.")
    parser.add_argument("--pieces", type=int, default=TRAIN, help="training pieces of the classifier")
    pieces = parser.parse_args(arguments).pieces
    torch.set_num_threads(1)
    bank = mel_bank()
    known = dataset("train", pieces, bank)
    entries: dict[str, dict[str, Any]] = {}
    rows = []
    for split in SPLITS[1:]:
        new = dataset(split, TEST if split == "test" else HELD, bank)
        for which, what in ((0, "score"), (1, "6 s of sound")):
            row: list[Any] = [split, what]
            for tag, name in ((0, "genre"), (1, "mood")):
                read = readings(known[which], known[2][:, tag], new[which])
                mean, low, high = interval((read == new[2][:, tag]).astype(float))
                row += [mean, low, high]
                if split == "test":
                    key = f"{name}_from_{'score' if which == 0 else 'sound'}"
                    entries[key] = {"value": mean, "low": low, "high": high, "digits": 2}
            rows.append(row)
    columns = ["split", "read from", "genre", "low", "high", "mood", "low", "high"]
    entries["styles"] = {"columns": columns, "rows": rows, "digits": 2}
    facts = np.array([musical(compose(14, index, "test")) for index in range(PLAIN)]).mean(0)
    for name, value in zip(
        ("in_key", "chord_tones_on_downbeats", "grid_deviation", "equal_repeats"), facts, strict=True
    ):
        entries[name] = {"value": float(value)}
    followed = heard_dynamics(MOVING)
    low, middle, high = np.percentile(followed, (10, 50, 90))
    entries["dynamics_r"] = {"value": float(middle), "low": float(low), "high": float(high)}
    for name in ("cold", "warm"):
        ratios = speed(name == "cold")
        entries[f"speed_{name}"] = {
            "value": float(np.median(ratios)),
            "low": min(ratios),
            "high": max(ratios),
            "unit": "x real time",
        }
    start = time.process_time()
    for index in range(50):
        compose(15, index)
    entries["compose"] = {"value": (time.process_time() - start) / 50 * 1000, "unit": "ms a piece of 16 bars"}
    path = record("music_world", entries, command="make bench")
    print(path.read_text())


if __name__ == "__main__":
    main()
