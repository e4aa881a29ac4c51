"""How far the score engine follows CREATED controls: the protocol of Music ControlNet (Wu et al. 2023) at our size.

Twenty melodies, twenty-four curves of dynamics and twenty rhythms (domains/audio/controls/created.py), each the only
control that is asked, each with the same pairs of tags; in full, and in a random 1.0 to 4.5 s alone, inside which it is
then scored. Rows of a table:

    chance        takes that were asked another melody, curve or groove, scored against these: all of them
    uncontrolled  genre, mood and a beat grid alone, the same seeds; of rhythms, genre and mood at their own tempo
    grid alone    of rhythms: the asked tempo and metre, which are law in this engine, but no strokes
    controlled    the model alone (--no-strict)
    ceiling       what is asked, rendered exactly: the melody alone; a composed piece of the first tags with the
                  velocities that the curve asks for, or with the asked strokes on the asked grid
    control share (controlled - uncontrolled) / (ceiling - uncontrolled), where the ceiling is the better of these
    strict        what users get by default, where asked notes, strokes and levels are law; the first pair of tags

Columns are read from the notes (score/judge.py), or heard by the extractors in the rendered sound. Micro is the mean of
r over takes, macro one r over all their frames. Intervals: bootstrap over items.
Writes docs/measured/score_created.json.

    python benchmarks/proof/score_created.py
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from domains.audio.compose.composer import compose
from domains.audio.compose.genres import GENRES_TABLE
from domains.audio.compose.score import STEP, Score, velocity_of
from domains.audio.compose.truth import controls_of
from domains.audio.controls import created
from domains.audio.controls.controls import Controls
from domains.audio.controls.frames import RATE
from domains.audio.controls.notes import Note
from domains.audio.evaluate import Heard, bootstrap, correlation, listen, score
from domains.audio.score import arrange, roll, wishes
from domains.audio.score.ask import asked
from domains.audio.score.judge import judged, onset_levels
from domains.audio.score.model import WEIGHTS, from_pretrained
from domains.audio.score.operations import GenerateMusic
from domains.audio.score.perform import perform
from domains.audio.score.plan import Plan, levelled, plan
from domains.audio.score.writing import Wanted, write
from shared.errors import UserError
from shared.measured import MEASURED, record

FIRST: Final = 4000  # seed of the composed pieces
TAGS: Final = (("pop", "happy"), ("folk", "calm"))  # genres without swing, so that one grid serves both
MEASURES: Final = {
    "melody": ("melody, notes", "melody, sound"),
    "dynamics": ("micro r, notes", "macro r, notes", "dB², notes", "micro r, sound", "macro r, sound", "dB², sound"),
    "rhythm": ("strokes F1, notes", "beat F1, sound", "downbeat F1, sound"),
}
LABELS: Final = {
    "chance": "chance: takes of other controls",
    "uncontrolled": "uncontrolled: tags alone",
    "grid": "the beat grid alone, which is law",
    "controlled": "controlled: the model alone (--no-strict)",
    "ceiling": "ceiling: what is asked, rendered exactly",
    "strict": "strict, the default: what is asked is law",
}


@dataclass(frozen=True, eq=False)
class Item:
    """One created control: the melody, curve or groove it is cut or stretched from, what is asked, strokes of drums."""

    source: str
    asked: Controls
    drums: tuple[Note, ...] = ()


@dataclass(frozen=True, eq=False)
class Reading:
    """What one take scores: numbers by measure, and (asked, obtained) of every frame for what is pooled."""

    values: dict[str, float | None]
    pairs: dict[str, tuple[NDArray, NDArray]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Answered:
    """A take: its roll (CHANNELS, steps), and what the extractors hear in it."""

    x: NDArray
    heard: Heard


# --------------------------------------------------------------------------------------------------------------- items


def items(kind: str, middle: float, *, part: bool) -> list[Item]:
    """The created controls of a kind, in full or binding in part of their time; no key is told."""
    rng = np.random.default_rng(("melody", "dynamics", "rhythm").index(kind))
    if kind == "rhythm":
        found = [Item(name.split()[0], controls, strokes) for name, (controls, strokes) in created.rhythms().items()]
    elif kind == "melody":
        found = [Item(name.split()[0], replace(one, key=None)) for name, one in created.melodies().items()]
    else:
        found = [Item(name, one) for name, one in created.curves(middle).items()]
    return [replace(one, asked=created.in_part(one.asked, kind, rng)) for one in found] if part else found


def chosen(asks: Sequence[Item], most: int | None) -> list[Item]:
    """So many of the items, evenly spread over all of them; None for all."""
    count = len(asks) if most is None else min(most, len(asks))
    return [asks[k * len(asks) // count] for k in range(count)]


def middle_level(pieces: int = 200) -> float:
    """Mean level of the curves that are true of composed pieces, dB: the data mean of the protocol."""
    curves = [controls_of(compose(0, index)) for index in range(pieces)]
    means = [one.dynamics.at(np.arange(0, one.length, 0.25)).mean() for one in curves if one.dynamics is not None]
    return float(np.mean(means))


def free_plan(one: Item, kind: str, tags: tuple[str, str]) -> Plan:
    """The plan of nothing but tags: on the grid of the item, or, of a rhythm, at the tempo and metre of the tags."""
    if kind != "rhythm":
        return plan(one.asked.only("rhythm"), strict=False)
    own = asked(GenerateMusic(tags=" ".join(tags), bars=8, out="unused")).controls
    return plan(own.crop(0.0, one.asked.length), strict=False)


# --------------------------------------------------------------------------------------------------------------- takes


def free_answers(network: nn.Module, one: Item, kind: str, number: int) -> dict[str, list[Answered]]:
    """Takes that were not asked the control, one a pair of tags: they serve the item in full and in part."""
    seeds = seeds_of(number)
    if kind != "rhythm":
        return {"uncontrolled": _of_all(network, free_plan(one, kind, TAGS[0]), seeds, kind)}
    own = [free_plan(one, kind, tags) for tags in TAGS]
    found = [
        heard(written(network, laid, (tags,), (seed,))[0], laid, tags, seed, kind)
        for laid, tags, seed in zip(own, TAGS, seeds, strict=True)
    ]
    return {"uncontrolled": found, "grid": _of_all(network, plan(one.asked, strict=False), seeds, kind)}


def answers(network: nn.Module, one: Item, kind: str, number: int, *, part: bool) -> dict[str, list[Answered]]:
    """Takes that were asked, one a pair of tags, and the ceiling; in full also the strict take of the first pair."""
    seeds = seeds_of(number)
    law = plan(one.asked, drums=one.drums, strict=True)
    found = {
        "controlled": _of_all(network, plan(one.asked, drums=one.drums, strict=False), seeds, kind),
        "ceiling": [heard(exactly(law, kind, number), law, TAGS[0], seeds[0], kind)],
    }
    if not part:
        x = levelled(written(network, law, TAGS[:1], seeds[:1])[0], law)
        found["strict"] = [heard(x, law, TAGS[0], seeds[0], kind)]
    return found


def seeds_of(number: int) -> list[int]:
    """The seeds of an item's takes, one a pair of tags."""
    return [number * len(TAGS) + k for k in range(len(TAGS))]


def _of_all(network: nn.Module, laid: Plan, seeds: Sequence[int], kind: str) -> list[Answered]:
    rolls = written(network, laid, TAGS, seeds)
    return [heard(x, laid, tags, seed, kind) for x, tags, seed in zip(rolls, TAGS, seeds, strict=True)]


def written(network: nn.Module, laid: Plan, tags: Sequence[tuple[str, str]], seeds: Sequence[int]) -> NDArray:
    """Takes of a plan, (takes, CHANNELS, steps)."""
    return write(network, laid, Wanted([genre for genre, _ in tags], [mood for _, mood in tags], list(seeds)))


def exactly(law: Plan, kind: str, number: int) -> NDArray:
    """What a strict plan asks as a roll: the melody alone, or a composed piece that keeps to curve or strokes."""
    if kind == "melody":
        return np.where(np.isnan(law.law), roll.SILENT, law.law)
    notes = piece(law.grid.metres[0].name, number).notes
    x = roll.encode(notes, 0, law.steps)
    return following(x, law) if kind == "dynamics" else np.where(np.isnan(law.law), x, law.law)


def piece(metre: str, number: int) -> Score:
    """A composed piece in a metre, of the first tags that know it."""
    genre, mood = next(tags for tags in TAGS if metre in GENRES_TABLE[tags[0]].metres)
    made = (compose(FIRST, 1000 * number + k, "test", genre=genre, mood=mood) for k in range(1000))
    return next(one for one in made if one.metre == metre)


def following(x: NDArray, law: Plan) -> NDArray:
    """A roll with the velocities that the curve of a plan asks for, without any accent."""
    notes = roll.decode(x)
    level = asked_levels(law)[np.rint(notes.onset / STEP).astype(int)]
    return roll.encode(replace(notes, velocity=velocity_of(level)), 0, law.steps)


def heard(x: NDArray, laid: Plan, tags: tuple[str, str], seed: int, kind: str) -> Answered:
    """A roll, played by the band of the tags, and what is heard of it; beats are tracked of rhythms alone."""
    band = arrange.band_of(*tags, seed)
    wave = perform(arrange.tracks_of(x, laid, band), band, laid.controls, RATE).heard
    if not wave.any():
        silent, nothing = listen(wave, beats=False), np.zeros(0)
        return Answered(x, replace(silent, beats=nothing, downbeats=nothing))
    return Answered(x, listen(wave, beats=kind == "rhythm"))


# ------------------------------------------------------------------------------------------------------------- scoring


def reading(kind: str, take: Answered, given: Plan) -> Reading:
    """The scores of a take against what was asked, wherever it binds; a roll of another length is cut or filled up."""
    x = fitted(take.x, given.steps)
    kept, clip = judged(x, given), score(given.controls, take.heard)
    if kind == "melody":
        return Reading({"melody, notes": kept["melody"], "melody, sound": clip.melody})
    if kind == "rhythm":
        return Reading(
            {"strokes F1, notes": kept["drums"], "beat F1, sound": clip.beat, "downbeat F1, sound": clip.downbeat}
        )
    level, where = onset_levels(x), given.bound[wishes.KINDS.index("dynamics")] > 0
    where &= np.isfinite(level)
    asks = asked_levels(given)[where]
    return Reading(
        {
            "micro r, notes": kept["dynamics"],
            "dB², notes": float(np.mean((asks - level[where]) ** 2)) if where.any() else None,
            "micro r, sound": clip.dynamics_micro,
            "dB², sound": clip.level_error,
        },
        {"macro r, notes": (asks, level[where]), "macro r, sound": (clip.asked, clip.heard)},
    )


def asked_levels(given: Plan) -> NDArray:
    """(steps,) dB below full velocity."""
    return np.asarray(given.asked["dynamics"][0] * wishes.SPAN + wishes.MIDDLE, np.float64)


def fitted(x: NDArray, steps: int) -> NDArray:
    """A roll of so many steps: cut, or silent behind its end."""
    out = np.full((len(x), steps), roll.SILENT, x.dtype)
    out[:, : min(steps, x.shape[1])] = x[:, :steps]
    return out


Arms = Mapping[str, Sequence[Reading]]


def arms_of(kind: str, asks: Sequence[Item], takes: Sequence[Mapping[str, Sequence[Answered]]]) -> list[Arms]:
    """The readings of every item by arm; chance reads the controlled takes of all other items against its controls."""
    plans = [plan(one.asked, drums=one.drums, strict=False) for one in asks]
    rows: list[Arms] = []
    for own, (given, answered) in enumerate(zip(plans, takes, strict=True)):
        arms = {arm: [reading(kind, take, given) for take in found] for arm, found in answered.items()}
        others = [each["controlled"][0] for it, each in zip(asks, takes, strict=True) if it.source != asks[own].source]
        rows.append({**arms, "chance": [reading(kind, take, given) for take in others]})
    return rows


def pooled(rows: Sequence[Arms], arm: str, measure: str) -> float | None:
    """A measure over the takes of an arm: r over all their frames where they are pooled, else the mean."""
    readings = [one for row in rows for one in row[arm]]
    if measure.startswith("macro"):
        both = [one.pairs[measure] for one in readings]
        return correlation(*(np.concatenate([pair[side] for pair in both]) for side in (0, 1)))
    values = [value for one in readings if (value := one.values[measure]) is not None]
    return float(np.mean(values)) if values else None


def share(rows: Sequence[Arms], measure: str) -> float | None:
    """(controlled - uncontrolled) / (ceiling - uncontrolled)."""
    control, nothing, top = (pooled(rows, arm, measure) for arm in ("controlled", "uncontrolled", "ceiling"))
    if control is None or nothing is None or top is None or not better(measure, top, nothing):
        return None
    return (control - nothing) / (top - nothing)


def better(measure: str, one: float, other: float) -> bool:
    """Whether a value is better than another; of errors the smaller one."""
    return one < other if measure.startswith("dB²") else one > other


def table(kind: str, rows: Sequence[Arms]) -> dict[str, Any]:
    """One row an arm and two for the control share, one column a measure."""
    measures, lines = MEASURES[kind], list[list[Any]]()
    for arm, label in LABELS.items():
        if any(arm not in row for row in rows):
            continue
        lines.append([label, *(pooled(rows, arm, measure) for measure in measures)])
        if arm in ("uncontrolled", "controlled"):
            lines.append(["95 % over items", *(between(rows, _arm(arm, measure)) for measure in measures)])
        if arm == "ceiling":
            lines.append(["control share", *(share(rows, measure) for measure in measures)])
            lines.append(["95 % over items", *(between(rows, _share(measure)) for measure in measures)])
    return {"columns": ["", *measures], "rows": lines, "digits": 3}


Statistic = Callable[[Sequence[Arms]], float | None]


def _arm(arm: str, measure: str) -> Statistic:
    return lambda drawn: pooled(drawn, arm, measure)


def _share(measure: str) -> Statistic:
    return lambda drawn: share(drawn, measure)


def between(rows: Sequence[Arms], statistic: Statistic) -> str | None:
    """A bootstrap interval over items in words; None where there is nothing to draw from."""
    if statistic(rows) is None:
        return None
    low, high = bootstrap(rows, statistic)
    return f"{low:.2f} to {high:.2f}"


def shares(kind: str, rows: Sequence[Arms]) -> dict[str, dict[str, Any]]:
    """The control shares of a kind as entries of their own, with their intervals."""
    found = {}
    for measure in MEASURES[kind]:
        value = share(rows, measure)
        if value is not None:
            low, high = bootstrap(rows, _share(measure))
            name = f"share_{measure.replace(', ', '_').replace(' ', '_').replace('²', '2')}"
            found[name] = {"value": value, "low": low, "high": high, "digits": 2}
    return found


# ----------------------------------------------------------------------------------------------------------------- run


@click.command()
@click.option("--weights", type=click.Path(path_type=Path), default=WEIGHTS, help="Checkpoint.")
@click.option("--out", type=click.Path(path_type=Path), default=MEASURED, help="Folder of the tables.")
@click.option("--most", type=click.IntRange(min=2), default=None, help="Items of a kind; none: all.")
def main(weights: Path, out: Path, most: int | None) -> None:
    """Measure and write the tables."""
    torch.set_num_threads(1)
    if weights == WEIGHTS and not weights.is_file():
        click.echo("the score model has no trained weights yet: there is nothing to measure, no table is written")
        return
    if weights != WEIGHTS and out == MEASURED:
        raise UserError("docs/measured is about the shipped weights", where="--weights", remedy="give --out a folder")
    began, network = time.perf_counter(), from_pretrained(weights)
    middle = middle_level()
    entries: dict[str, dict[str, Any]] = {
        "tags": {"value": ", ".join(" ".join(pair) for pair in TAGS)},
        "middle": {"value": middle, "unit": "dB"},
    }
    for kind in MEASURES:
        whole = chosen(items(kind, middle, part=False), most)
        free = [free_answers(network, one, kind, n) for n, one in enumerate(whole)]
        for part in (False, True):
            asks = chosen(items(kind, middle, part=part), most)
            takes = [{**free[n], **answers(network, one, kind, n, part=part)} for n, one in enumerate(asks)]
            rows = arms_of(kind, asks, takes)
            name = f"{kind}_in_part" if part else kind
            entries[name] = table(kind, rows)
            entries[f"{kind}_items"] = {"value": len(asks)}
            if not part:
                entries |= shares(kind, rows)
            click.echo(f"{name}: {len(asks)} items x {len(TAGS)} tags, {time.perf_counter() - began:.0f} s")
            for line in (entries[name]["columns"], *entries[name]["rows"]):
                click.echo("  ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in line))
    record("score_created", entries, command="python benchmarks/proof/score_created.py", folder=out)


if __name__ == "__main__":
    main()
