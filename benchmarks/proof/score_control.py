"""How far the score engine does what it is asked: four rows a control, on composed pieces that no recipe has heard.

    chance        the answer to another piece's controls, scored against these
    uncontrolled  the model with genre, mood and tempo alone
    controlled    the model with melody, dynamics, chords, drums and key; nothing but the key is law (--no-strict)
    ceiling       the composed piece itself
    share         (controlled - uncontrolled) / (ceiling - uncontrolled), 95 % bootstrap intervals over pieces

A second table asks in the first half of a clip alone: how well that half follows, and whether the other half stays
free, that is, as different from seed to seed as without controls (share of melody and chord entries in which two takes
differ, over the entries that either plays). A third plays takes of both arms and has the extractors listen.
Writes docs/measured/score_control.json.

    python benchmarks/proof/score_control.py
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from domains.audio.compose.composer import compose
from domains.audio.compose.score import Score
from domains.audio.compose.truth import controls_of
from domains.audio.controls.controls import Controls
from domains.audio.evaluate import bootstrap
from domains.audio.score import arrange, roll
from domains.audio.score.judge import judged
from domains.audio.score.model import WEIGHTS, from_pretrained
from domains.audio.score.perform import perform
from domains.audio.score.plan import Plan, plan
from domains.audio.score.takes import listened, scores_of
from domains.audio.score.writing import Wanted, write
from shared.measured import record

FIRST: Final = 4000  # seed of the pieces; the card's have 101
KINDS: Final = {
    "melody": "melody: sixteenths with the asked class alone",
    "dynamics": "dynamics: r with the asked curve",
    "chords": "chords: share of what sounds in the asked chord",
    "drums": "drums: F1 of kick, snare and cymbal",
    "in_key": "key: share of pitches in it",
}
HEARD: Final = {
    "melody": "melody: frames with the asked class",
    "dynamics_r": "dynamics: r with the asked curve",
    "level_error_db2": "dynamics: squared level error, dB²",
    "beat_f1": "beats: F1 within 70 ms",
    "downbeat_f1": "downbeats: F1 within 70 ms",
    "in_key": "key: share of frames in it",
}


def piece(index: int, bars: int) -> tuple[Score, Controls]:
    """A composed piece and the controls that are true of it; its tempo is held to the end."""
    score = compose(FIRST, index, "test", bars=bars)
    return score, controls_of(score)


def laid(score: Score, controls: Controls, *, asked: bool, half: bool = False) -> Plan:
    """The plan of a piece: all controls, those of the first half alone, or the beat grid alone."""
    strokes = next((track.notes for track in _tracks(score) if track.drums), ())
    given = plan(controls, drums=strokes, swing=score.swing, strict=False)
    if asked and not half:
        return given
    bound = given.bound.copy()
    bound[:, given.steps // 2 if asked else 0 :] = 0
    free = replace(controls, key=controls.key if asked else None)
    law = given.law if asked else np.full_like(given.law, np.nan)
    return replace(given, controls=free, bound=bound, law=law)


def _tracks(score: Score) -> Sequence[Any]:
    from domains.audio.compose.truth import tracks_of

    return tracks_of(score)


def answer(network: nn.Module, one: Plan, score: Score, seeds: Sequence[int]) -> NDArray:
    """Takes of a plan, (takes, CHANNELS, steps)."""
    count = len(seeds)
    return write(network, one, Wanted([score.genre] * count, [score.mood] * count, seeds))


def measured(network: nn.Module, pieces: int, bars: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Every arm of every piece: its roll, its plan and its scores against the whole of what is asked."""
    found: list[dict[str, Any]] = []
    for index in range(pieces):
        score, controls = piece(index, bars)
        full: Plan = laid(score, controls, asked=True)
        own = roll.encode(score.notes, 0, full.steps)
        arms = {
            "controlled": answer(network, full, score, [index])[0],
            "uncontrolled": answer(network, laid(score, controls, asked=False), score, [index])[0],
            "ceiling": own,
        }
        half = answer(network, laid(score, controls, asked=True, half=True), score, [index, index + pieces])
        free = answer(network, laid(score, controls, asked=False), score, [index, index + pieces])
        found.append(
            {
                "score": score,
                "controls": controls,
                "plan": full,
                "rolls": arms,
                "half": half,
                "free": free,
                **{arm: judged(x, full) for arm, x in arms.items()},
            }
        )
        say(f"piece {index + 1} of {pieces}: {found[-1]['controlled']}")
    for index, one in enumerate(found):  # one cycle: nobody keeps his own
        other = next(
            each
            for each in (*found[index + 1 :], *found[: index + 1])
            if each["plan"].steps >= one["plan"].steps or each is one
        )
        one["chance"] = judged(other["rolls"]["controlled"][:, : one["plan"].steps], one["plan"])
    return found


# -------------------------------------------------------------------------------------------------------------- tables


def mean_of(rows: Sequence[dict[str, Any]], arm: str, kind: str) -> float | None:
    values = [row[arm][kind] for row in rows if row[arm].get(kind) is not None]
    return float(np.mean(values)) if values else None


def share_of(rows: Sequence[dict[str, Any]], kind: str) -> float | None:
    """(controlled - uncontrolled) / (ceiling - uncontrolled) of the means over pieces."""
    control, free, top = (mean_of(rows, arm, kind) for arm in ("controlled", "uncontrolled", "ceiling"))
    if control is None or free is None or top is None or abs(top - free) < 1e-6:
        return None
    return (control - free) / (top - free)


def table(found: Sequence[dict[str, Any]], words: dict[str, str]) -> dict[str, Any]:
    """One row a control: chance, uncontrolled, controlled with its interval, ceiling, share with its interval."""
    rows = []
    for kind, said in words.items():
        low, high = bootstrap(found, lambda drawn, kind=kind: mean_of(drawn, "controlled", kind))  # type: ignore[misc]
        worst, best = bootstrap(found, lambda drawn, kind=kind: share_of(drawn, kind))  # type: ignore[misc]
        rows.append(
            [
                said,
                *(mean_of(found, arm, kind) for arm in ("chance", "uncontrolled", "controlled")),
                f"{low:.2f} to {high:.2f}",
                mean_of(found, "ceiling", kind),
                share_of(found, kind),
                f"{worst:.2f} to {best:.2f}",
            ]
        )
    columns = ["what", "chance", "uncontrolled", "controlled", "95 %", "the world itself", "control share", "95 %"]
    return {"columns": columns, "rows": rows, "digits": 2}


def differing(pair: NDArray, where: slice) -> float:
    """Share of the melody, chord and bass entries that either of two takes plays in which they differ."""
    a, b = (x[: roll.CHANNELS - roll.LANES[-1].channels, where] > 0 for x in pair)
    either = (a | b).sum()
    return float((a != b).sum() / either) if either else 0.0


def halves(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Controls in the first half alone: how that half follows, and what stays free in the other."""
    rows = []
    for kind, said in KINDS.items():
        if kind == "in_key":
            continue
        inside = [_half_score(one, kind, one["half"][0]) for one in found]
        without = [_half_score(one, kind, one["free"][0]) for one in found]
        values = [[v for v in each if v is not None] for each in (without, inside)]
        rows.append([f"{said}, inside", *(float(np.mean(each)) if each else None for each in values)])
    for said, part in (("difference between two takes, inside", 0), ("the same, in the free half", 1)):
        cells = []
        for arm in ("free", "half"):
            cut = [one["plan"].steps // 2 for one in found]
            spans = [slice(0, at) if part == 0 else slice(at, None) for at in cut]
            cells.append(float(np.mean([differing(one[arm], span) for one, span in zip(found, spans, strict=True)])))
        rows.append([said, *cells])
    return {"columns": ["what", "nothing asked", "asked in the first half"], "rows": rows, "digits": 2}


def _half_score(one: dict[str, Any], kind: str, x: NDArray) -> float | None:
    bound = one["plan"].bound.copy()
    bound[:, one["plan"].steps // 2 :] = 0
    return judged(x, replace(one["plan"], bound=bound))[kind]


def by_ear(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The takes played, and what the extractors hear of the controls in them."""
    rows = []
    for one in found:
        score, full = one["score"], one["plan"]
        band = arrange.band_of(score.genre, score.mood, score.maker[1])
        heard: dict[str, Any] = {}
        for arm, x in one["rolls"].items():
            sound = perform(arrange.tracks_of(x, full, band), band, one["controls"], 44_100)
            heard[arm] = scores_of(listened(one["controls"], sound.heard)[0])
            if arm == "controlled":
                other = found[(found.index(one) + 1) % len(found)]["controls"]
                heard["chance"] = scores_of(listened(other, sound.heard)[0])
        rows.append(heard)
    return table(rows, HEARD)


@click.command()
@click.option("--pieces", default=40, show_default=True, help="Pieces of the first two tables.")
@click.option("--heard", default=12, show_default=True, help="Pieces that are played and listened to.")
@click.option("--bars", default=4, show_default=True, help="Bars of a piece.")
@click.option("--weights", type=click.Path(path_type=Path), default=WEIGHTS, help="Checkpoint.")
def main(pieces: int, heard: int, bars: int, weights: Path) -> None:
    """Measure and write the tables."""
    torch.set_num_threads(1)
    if weights == WEIGHTS and not weights.is_file():
        click.echo("the score model has no trained weights yet: there is nothing to measure, no table is written")
        return
    began = time.perf_counter()
    found = measured(from_pretrained(weights), pieces, bars, click.echo)
    entries: dict[str, dict[str, Any]] = {
        "pieces": {"value": pieces},
        "control": table(found, KINDS),
        "halves": halves(found),
        "heard_pieces": {"value": heard},
        "heard": by_ear(found[:heard]),
    }
    record("score_control", entries, command="python benchmarks/proof/score_control.py")
    for entry in entries.values():
        for row in (entry["columns"], *entry["rows"]) if "rows" in entry else ():
            click.echo("  ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row))
    click.echo(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
