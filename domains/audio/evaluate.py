"""The metrics of Music ControlNet (Wu et al. 2023), item for item, and what else tells music from noise.

melody accuracy     share of frames whose class was asked for in which the class heard is the one asked (chance 1/12)
dynamics micro r    mean over clips of Pearson's r between the curves asked and heard; macro: one r over all frames
level error         mean squared difference of the two, dB^2: what the paper's r does not see
beat, downbeat F1   beats matched one to one within 70 ms (mir_eval)
in key, off grid    share of sounding frames in the key; mean distance of onsets from the nearest sixteenth, seconds
All are taken inside the spans alone in which a control binds. What was not asked for has no score: None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from domains.audio.controls.beats import BeatGrid
from domains.audio.controls.controls import Controls
from domains.audio.controls.frames import RATE, inside, rasterise
from domains.audio.controls.notes import Key
from domains.audio.controls.spans import Span

WINDOW: Final = 0.07  # seconds; a beat found this near is a hit
METRICS: Final = ("melody", "dynamics_micro", "dynamics_macro", "level_error", "beat", "downbeat", "in_key", "off_grid")
Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Heard:
    """What is heard in a clip: melody (T, 12), levels (T,) dB, beats, downbeats and onsets in seconds."""

    melody: NDArray[np.float32]
    levels: NDArray[np.float64]
    beats: NDArray[np.float64]
    downbeats: NDArray[np.float64]
    onsets: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClipScores:
    """The scores of one clip; asked and heard (n,) dB hold the frames in which dynamics bind, for the macro r."""

    melody: float | None
    dynamics_micro: float | None
    level_error: float | None
    beat: float | None
    downbeat: float | None
    in_key: float | None
    off_grid: float | None
    asked: NDArray[np.float64]
    heard: NDArray[np.float64]


# ----------------------------------------------------------------------------------------------------------- one number


def melody_accuracy(
    asked: NDArray[np.float32], heard: NDArray[np.float32], where: NDArray[np.bool_] | None = None
) -> float | None:
    """Share of frames with an asked class in which the heard one is equal; (T, 12) one-hot, where (T,)."""
    counted = asked.any(axis=1) if where is None else asked.any(axis=1) & where
    if not counted.any():
        return None
    right = (asked.argmax(axis=1) == heard.argmax(axis=1)) & heard.any(axis=1)
    return float(right[counted].mean())


def correlation(asked: NDArray[np.float64], heard: NDArray[np.float64]) -> float | None:
    """Pearson's r of two curves (T,); None where one of them is flat or has fewer than two frames."""
    if len(asked) < 2 or np.ptp(asked) < 1e-6 or np.ptp(heard) < 1e-6:
        return None
    return float(np.corrcoef(asked, heard)[0, 1])


def level_error(asked: NDArray[np.float64], heard: NDArray[np.float64]) -> float | None:
    """Mean squared difference, dB^2."""
    return float(np.mean((np.asarray(asked) - heard) ** 2)) if len(asked) else None


def beat_f1(
    asked: NDArray[np.float64], heard: NDArray[np.float64], spans: Sequence[Span] | None = None
) -> float | None:
    """F1 of beats (seconds, ascending) within 70 ms; inside spans, at whose borders a hit may lie just outside."""
    import mir_eval

    asked, heard = np.asarray(asked, dtype=np.float64), np.asarray(heard, dtype=np.float64)
    if spans is not None:
        asked = asked[inside(spans, asked)]
        near = np.abs(heard[:, None] - asked[None]).min(axis=1, initial=np.inf) <= WINDOW
        heard = heard[inside(spans, heard) | near]
    if not len(asked):
        return None
    if not len(heard):
        return 0.0
    return float(mir_eval.beat.f_measure(asked, heard, f_measure_threshold=WINDOW))


def in_key_share(melody: NDArray[np.float32], key: Key) -> float | None:
    """Share of sounding frames (T, 12) whose class is in the key; chance 7/12."""
    sounding = melody.any(axis=1)
    if not sounding.any():
        return None
    return float(np.isin(melody[sounding].argmax(axis=1), list(key.pitch_classes)).mean())


def off_grid(onsets: NDArray[np.float64], grid: BeatGrid, steps: int = 4) -> float | None:
    """Mean distance, seconds, of onsets from the nearest of `steps` places a quarter; chance is a quarter of a step."""
    if not len(onsets):
        return None
    nearest = [grid.seconds_at(round(grid.quarter_at(float(at)) * steps) / steps) for at in onsets]
    return float(np.abs(np.asarray(nearest) - onsets).mean())


# ---------------------------------------------------------------------------------------------------------------- clips


def listen(wave: NDArray[np.float32], *, beats: bool = True) -> Heard:
    """What the extractors hear in a wave at 22 050 Hz, with no hint of what was asked; faster without `beats`."""
    from domains.audio.extract.extract import curves, extract
    from domains.audio.extract.extract import onsets as heard_onsets

    if not beats:
        melody, levels = curves(wave)
        return Heard(melody, levels, np.zeros(0), np.zeros(0), heard_onsets(wave))
    found = extract(wave, kinds=("rhythm",))
    beat = found.rhythm
    nothing = np.zeros(0)
    return Heard(
        found.melody,
        found.levels,
        nothing if beat is None else beat.beats,
        nothing if beat is None else beat.downbeats,
        found.onsets,
    )


def score(asked: Controls, heard: Heard) -> ClipScores:
    """The scores of a clip against what was asked; pair every controlled clip with the uncontrolled one of its seed."""
    frames = len(heard.levels)
    curves = rasterise(asked, RATE, frames=frames)
    bound = curves.bound("dynamics")
    levels = curves.dynamics[bound, 0].astype(np.float64)
    spans, grid = asked.bound("rhythm"), asked.grid if asked.given("rhythm") else None
    return ClipScores(
        melody=melody_accuracy(curves.melody, heard.melody, curves.bound("melody")),
        dynamics_micro=correlation(levels, heard.levels[bound]),
        level_error=level_error(levels, heard.levels[bound]),
        beat=None if grid is None else beat_f1(grid.beats(asked.length), heard.beats, spans),
        downbeat=None if grid is None else beat_f1(grid.downbeats(asked.length), heard.downbeats, spans),
        in_key=None if asked.key is None else in_key_share(heard.melody, asked.key),
        off_grid=None if grid is None else off_grid(heard.onsets[inside(spans, heard.onsets)], grid),
        asked=levels,
        heard=heard.levels[bound],
    )


def metric(name: str, clips: Sequence[ClipScores]) -> float | None:
    """One of `METRICS` over clips; None when no clip has it."""
    if name == "dynamics_macro":
        empty = [np.zeros(0)]
        return correlation(
            np.concatenate([clip.asked for clip in clips] or empty),
            np.concatenate([clip.heard for clip in clips] or empty),
        )
    found = [value for clip in clips if (value := getattr(clip, name)) is not None]
    return float(np.mean(found)) if found else None


def table(clips: Sequence[ClipScores], *, seed: int = 0) -> dict[str, Any]:
    """Every metric with its 95 % interval over clips: {name: {"value", "low", "high"}} or {name: None}."""
    rows: dict[str, Any] = {}
    for name in METRICS:
        value = metric(name, clips)
        if value is None:
            rows[name] = None
            continue
        low, high = bootstrap(clips, lambda drawn, name=name: metric(name, drawn), seed=seed)  # type: ignore[misc]
        rows[name] = {"value": value, "low": low, "high": high}
    return rows


def bootstrap(
    items: Sequence[Item],
    statistic: Callable[[Sequence[Item]], float | None],
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a statistic of items drawn with replacement; give pairs as items for a paired one."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        value = statistic([items[n] for n in rng.integers(0, len(items), len(items))])
        if value is not None:
            found.append(value)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def chance(asked: Sequence[Controls], heard: Sequence[Heard], *, seed: int = 0) -> list[ClipScores]:
    """Scores of clips against what was asked of another clip: the row that a control has to beat."""
    order = np.random.default_rng(seed).permutation(len(asked))
    other = np.empty_like(order)
    other[order] = np.roll(order, 1)  # one cycle: nobody keeps his own
    return [score(asked[n], heard[int(other[n])]) for n in range(len(asked))]
