"""Is what the score engine writes music: do its tags bite, how near is it to the composed world, does it copy it.

All takes are asked genre and mood alone, on one grid of four bars of 4/4 at one tempo without swing, so that no rule of
the engine tells the tags; composed pieces in 4/4 are cut to as many sixteenths and played in the same way.

Tags      logistic regressions (benchmarks/listening/styles.py), fitted to cuts of training pieces, read genre and mood:
          from notes; from the sound with one band for everybody, the honest row of the sound; and with the band that a
          rule chooses from the tags (arrange.band_of), which tells them by itself. Ceiling: cuts of held-out pieces.
          Floors: takes that were asked nothing, and takes read against shuffled tags. Chance is one in ten.
Music     what a musician would look at first, beside held-out pieces, and beside these with pitches, or places, drawn
          anew; chord tones on the strong beats of takes that were asked the chords of held-out pieces. Frechet distance
          of the sound, one band for all, from held-out pieces, on the directions of most variance of sound_features;
          held-out pieces against one another are the floor.
Copies    Jaccard distance of note beginnings (role, pitch class, sixteenth) from the nearest of all cuts of training
          pieces, over transpositions; the training pieces themselves show that the distance would find a copy.

Writes docs/measured/score_music.json.

    python benchmarks/proof/score_music.py
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.listening import musicality as read
from benchmarks.listening.styles import RATE, interval, mel_bank, readings, sound_features
from domains.audio.compose.composer import Split, compose
from domains.audio.compose.score import ROLES, Score
from domains.audio.compose.truth import controls_of
from domains.audio.controls.beats import BeatGrid
from domains.audio.controls.controls import Controls
from domains.audio.controls.tags import GENRES, MOODS
from domains.audio.evaluate import bootstrap
from domains.audio.score import arrange, roll, wishes
from domains.audio.score.arrange import Band
from domains.audio.score.model import STEPS_OF_CLIP, WEIGHTS, from_pretrained
from domains.audio.score.plan import Plan, plan
from domains.audio.score.writing import Wanted, write
from domains.audio.synth.render import play
from shared.errors import UserError
from shared.measured import MEASURED, record

GRID: Final = BeatGrid.steady(110.0)
BAR: Final = 4.0  # quarter notes
BARS: Final = 4
EVERYBODY: Final = Band(  # piano, piano, bass guitar: the one band that plays everything
    {"melody": 0, "chords": 0, "bass": 33, "drums": 0},
    {"melody": 0.0, "chords": -8.0, "bass": -4.0, "drums": -4.0},
    0.2,
)
HELD: Final = 4000  # seed of the held-out pieces
DIRECTIONS: Final = 16  # of the sound, in which distances are taken
BATCH: Final = 10  # takes written at once
CHORDED: Final = 30  # held-out pieces whose chords are asked
BINS: Final = {"genre": 0, "mood": 1}


@dataclass(frozen=True, eq=False)
class Clips:
    """n clips: rolls (n, CHANNELS, 64), tags (n, 2) as numbers, and the seed of the band that a rule would choose."""

    rolls: NDArray
    tags: NDArray[np.int64]
    seeds: Sequence[int]


# --------------------------------------------------------------------------------------------------------------- clips


def in_four(seed: int, split: Split, *, genre: str | None = None, mood: str | None = None, first: int = 0) -> Score:
    """The first piece in 4/4 from an index on."""
    index = first
    while (score := compose(seed, index, split, genre=genre, mood=mood)).metre != "4/4":
        index += 1
    return score


def cut(score: Score, at: int) -> NDArray:
    """Four bars of a piece from a bar on, as the model sees them."""
    return roll.encode(score.notes, at * STEPS_OF_CLIP // BARS, STEPS_OF_CLIP)


def world(seed: int, split: Split, each: int) -> Clips:
    """Cuts of pieces, `each` a pair of tags."""
    rolls, tags, seeds = list[NDArray](), list[tuple[int, int]](), list[int]()
    rng = np.random.default_rng((seed, each))
    for k in range(each):
        for g, genre in enumerate(GENRES):
            for m, mood in enumerate(MOODS):
                first = 40 * ((k * len(GENRES) + g) * len(MOODS) + m)
                score = in_four(seed, split, genre=genre, mood=mood, first=first)
                rolls.append(cut(score, int(rng.integers(score.bars - BARS + 1))))
                tags.append((g, m))
                seeds.append(len(seeds))
    return Clips(np.stack(rolls), np.array(tags), seeds)


def takes(network: nn.Module, laid: Plan, each: int, *, told: bool, say: Callable[[str], None]) -> Clips:
    """Takes of the plan, `each` a pair of tags; where the tags are not told, they are what a floor is read against."""
    tags = np.array([(g, m) for _ in range(each) for g in range(len(GENRES)) for m in range(len(MOODS))])
    rolls, seeds = [], list(range(len(tags)))
    for low in range(0, len(tags), BATCH):
        here = tags[low : low + BATCH]
        genre = [GENRES[g] if told else None for g, _ in here]
        mood = [MOODS[m] if told else None for _, m in here]
        rolls.append(write(network, laid, Wanted(genre, mood, seeds[low : low + BATCH])))
        say(f"{min(low + BATCH, len(tags))} of {len(tags)} takes, {'tags told' if told else 'nothing told'}")
    return Clips(np.concatenate(rolls), tags, seeds)


def open_plan() -> Plan:
    """Four bars of the grid, nothing else asked."""
    return plan(Controls(length=GRID.bars_last(BARS), grid=GRID), strict=False)


def sound(x: NDArray, laid: Plan, band: Band) -> NDArray:
    """A roll, played: mono at 22 050 Hz, the clip alone."""
    parts = [part for _, part in arrange.parts_of(arrange.tracks_of(x, laid, band), band)]
    samples = laid.controls.samples(RATE)
    if not parts:
        return np.zeros(samples, np.float32)
    return play(parts, laid.controls.length, RATE, room=band.room, stems=False).mix.mean(0)[:samples]


def heard(clips: Clips, laid: Plan, bank: torch.Tensor, *, by_rule: bool) -> NDArray:
    """Sound features (n, d), with the band of everybody or with those that the rule chooses."""
    found = []
    for x, (g, m), seed in zip(clips.rolls, clips.tags, clips.seeds, strict=True):
        band = arrange.band_of(GENRES[g], MOODS[m], seed) if by_rule else EVERYBODY
        found.append(sound_features(sound(x, laid, band), bank))
    return np.array(found)


def noted(clips: Clips) -> NDArray:
    """Note features (n, d)."""
    return np.array([read.clip_features(x, BAR) for x in clips.rolls])


# ---------------------------------------------------------------------------------------------------------------- tags


def tag_rows(what: str, known: tuple[NDArray, NDArray], new: dict[str, tuple[NDArray, NDArray]]) -> list[list[Any]]:
    """Rows of one reading: for each set of clips the shares of genres and of moods that are read right."""
    found = []
    for name, (features, tags) in new.items():
        row: list[Any] = [what, name]
        for column in BINS.values():
            mean, low, high = interval(hits(known, features, tags, column))
            row += [mean, f"{low:.2f} to {high:.2f}"]
        found.append(row)
    return found


def hits(known: tuple[NDArray, NDArray], features: NDArray, tags: NDArray, column: int) -> NDArray:
    """(n,) 1.0 where a tag is read right by a regression on known features and tags."""
    return np.asarray(readings(known[0], known[1][:, column], features) == tags[:, column], float)


# --------------------------------------------------------------------------------------------------------------- music


MEASURES: Final[dict[str, Callable[[NDArray], float | None]]] = {
    "pitches in the scale that holds most of them": read.in_scale,
    "onsets on beats": read.on_beats,
    "sixteenths without any sound": read.silence,
    "notes and strokes a bar": lambda x: read.notes_a_bar(x, BAR),
    "pitches at once": read.polyphony,
    "onsets of a bar that come again in another": lambda x: read.repetition(x, BAR),
}


def music_table(sets: dict[str, NDArray]) -> dict[str, Any]:
    """One row a measure, one column a set of rolls (n, CHANNELS, steps), the first with its interval."""
    rows = []
    for name, measure in MEASURES.items():
        values = {what: [v for x in rolls if (v := measure(x)) is not None] for what, rolls in sets.items()}
        low, high = bootstrap(next(iter(values.values())), lambda drawn: float(np.mean(drawn)))
        means: list[Any] = [float(np.mean(each)) for each in values.values()]
        rows.append([name, means[0], f"{low:.3g} to {high:.3g}", *means[1:]])
    first, *others = sets
    return {"columns": ["", first, "95 %", *others], "rows": rows, "digits": 3}


def chorded(network: nn.Module, free: Clips, count: int) -> dict[str, Any]:
    """Strong beats of the melody on tones of asked chords: asked, not asked, and the piece the chords are of."""
    strong = np.zeros(STEPS_OF_CLIP, bool)
    strong[:: STEPS_OF_CLIP // BARS // 2] = True  # the first and the middle beat of a bar
    found: dict[str, list[float]] = {name: [] for name in ("asked", "not asked", "the pieces themselves")}
    for k in range(count):
        score = in_four(HELD, "test", first=40 * k)
        controls = controls_of(score)
        own = controls.crop(0.0, controls.grid.bars_last(BARS) if controls.grid else controls.length)
        laid = plan(Controls(length=own.length, grid=own.grid, chords=own.chords), strict=False)
        tones = tones_of(laid)
        made = write(network, laid, Wanted([score.genre], [score.mood], [k]))[0]
        for name, x in zip(found, (made, free.rolls[k % len(free.rolls)], cut(score, 0)), strict=True):
            value = read.chord_tones(x, tones, strong)
            if value is not None:
                found[name].append(value)
    columns = ["", *found]
    means = [float(np.mean(each)) if each else None for each in found.values()]
    ends = [bootstrap(each, lambda drawn: float(np.mean(drawn))) if each else None for each in found.values()]
    words = [None if each is None else f"{each[0]:.2f} to {each[1]:.2f}" for each in ends]
    return {"columns": columns, "rows": [["strong beats on chord tones", *means], ["95 %", *words]], "digits": 3}


def tones_of(laid: Plan) -> NDArray[np.bool_]:
    """(12, steps) the pitch classes of the asked chord."""
    out, qualities = np.zeros((12, laid.steps), bool), list(wishes.QUALITIES.values())
    for step in np.flatnonzero(laid.bound[wishes.KINDS.index("chords")] > 0):
        root, quality = (int(part[:, step].argmax()) for part in np.split(laid.asked["chords"], [12]))
        out[(root + np.array(qualities[quality])) % 12, step] = True
    return out


def distances(sets: dict[str, NDArray], goal: NDArray, known: NDArray) -> dict[str, Any]:
    """Frechet distance of sets of sound features from `goal`, on the main directions of `known`; the first set is the
    floor that the others are told in."""
    mean, scale, main = read.axes(known, DIRECTIONS)
    target = (goal - mean) / scale @ main
    far = {name: read.frechet((features - mean) / scale @ main, target) for name, features in sets.items()}
    floor = next(iter(far.values()))
    rows = [[name, len(sets[name]), value, value / floor] for name, value in far.items()]
    return {
        "columns": ["from held-out pieces to", "clips", "Frechet distance", "times the floor"],
        "rows": rows,
        "digits": 3,
    }


# -------------------------------------------------------------------------------------------------------------- copies


def training_cuts(pieces: int) -> NDArray:
    """Every cut on a bar line of the training pieces in 4/4 among the first so many, as `read.begun`."""
    rolls = []
    for index in range(pieces):
        score = compose(0, index, "train")
        if score.metre == "4/4":
            rolls += [cut(score, at) for at in range(score.bars - BARS + 1)]
    return np.stack([read.begun(x) for x in rolls])


def copies(sets: dict[str, NDArray], known: NDArray) -> dict[str, Any]:
    """Distances from the nearest training cut: of melody, chords and bass together, and of the melody alone.

    The second set is the held-out pieces, whose 1st percentile is the border of what counts as near.
    """
    rows = []
    for what, roles in (("melody, chords and bass", read.PITCHED), ("melody alone", ("melody",))):
        lanes = [ROLES.index(role) for role in roles]
        near = {
            name: read.nearest([read.begun(x)[lanes] for x in rolls], np.ascontiguousarray(known[:, lanes]))
            for name, rolls in sets.items()
        }
        border = float(np.percentile(list(near.values())[1], 1))
        for name, found in near.items():
            rows.append([what, name, len(found), float(np.median(found)), float((found < border).mean()), border])
    columns = [
        "distance of",
        "clips of",
        "clips",
        "median",
        "share below the border",
        "border: 1st percentile held out",
    ]
    return {"columns": columns, "rows": rows, "digits": 3}


# ----------------------------------------------------------------------------------------------------------------- run


@click.command()
@click.option("--weights", type=click.Path(path_type=Path), default=WEIGHTS, help="Checkpoint.")
@click.option("--out", type=click.Path(path_type=Path), default=MEASURED, help="Folder of the tables.")
@click.option("--each", type=click.IntRange(min=1), default=2, show_default=True, help="Takes a pair of tags.")
@click.option("--known", type=click.IntRange(min=1), default=5, show_default=True, help="Training cuts a pair of tags.")
@click.option("--pieces", type=click.IntRange(min=1), default=1000, show_default=True, help="Searched for copies.")
def main(weights: Path, out: Path, each: int, known: int, pieces: int) -> None:
    """Measure and write the tables."""
    torch.set_num_threads(1)
    if weights == WEIGHTS and not weights.is_file():
        click.echo("the score model has no trained weights yet: there is nothing to measure, no table is written")
        return
    if weights != WEIGHTS and out == MEASURED:
        raise UserError("docs/measured is about the shipped weights", where="--weights", remedy="give --out a folder")
    began, network, bank, laid = time.perf_counter(), from_pretrained(weights), mel_bank(), open_plan()

    def say(note: str) -> None:
        click.echo(f"{time.perf_counter() - began:5.0f} s  {note}")

    told = takes(network, laid, each, told=True, say=say)
    mute = takes(network, laid, 1, told=False, say=say)
    chords = chorded(network, told, CHORDED)
    say("chords asked")
    train, held, again = world(0, "train", known), world(HELD, "test", each), world(HELD + 1, "test", each)
    say("pieces composed")
    rng = np.random.default_rng(0)
    shuffled = told.tags[rng.permutation(len(told.tags))]
    spoiled = {
        "held out, other pitches": np.stack([read.other_pitches(x, rng) for x in held.rolls]),
        "held out, other places": np.stack([read.other_places(x, rng) for x in held.rolls]),
    }
    entries: dict[str, dict[str, Any]] = {
        "takes": {"value": len(told.tags)},
        "training_cuts": {"value": len(train.tags)},
    }
    rows, ours_heard = [], np.zeros(0)
    plain: dict[str, NDArray] = {}
    for what, features in (
        ("notes", noted),
        ("sound, one band for all", lambda clips: heard(clips, laid, bank, by_rule=False)),
        ("sound, band by rule from the tags", lambda clips: heard(clips, laid, bank, by_rule=True)),
    ):
        fitted, ours = (features(train), train.tags), features(told)
        new = {
            "held-out pieces (ceiling)": (features(held), held.tags),
            "takes, tags told": (ours, told.tags),
            "takes, nothing told (floor)": (features(mute), mute.tags),
            "takes, against shuffled tags (floor)": (ours, shuffled),
        }
        if what.endswith("by rule from the tags"):
            del new["takes, nothing told (floor)"]  # no tags, no band
        rows += tag_rows(what, fitted, new)
        say(f"tags read from {what}")
        for name, column in BINS.items():
            mean, low, high = (value * 10 for value in interval(hits(fitted, ours, told.tags, column)))
            source = {"n": "notes", "s": "sound"}[what[0]]
            if "by rule" not in what:
                unit = "times chance"
                entries[f"{name}_from_{source}"] = {"value": mean, "low": low, "high": high, "unit": unit, "digits": 2}
        if "one band" in what:
            ours_heard, plain = ours, {"known": fitted[0], "held": new["held-out pieces (ceiling)"][0]}
            plain["mute"] = new["takes, nothing told (floor)"][0]
    entries["tags"] = {"columns": ["read from", "clips", "genre", "95 %", "mood", "95 %"], "rows": rows, "digits": 2}
    sets = {"takes, tags told": told.rolls, "takes, nothing told": mute.rolls, "held-out pieces": held.rolls, **spoiled}
    entries["music"] = music_table(sets)
    entries["chord_tones"] = chords
    goal = heard(again, laid, bank, by_rule=False)
    bad = {name: heard(Clips(x, held.tags, held.seeds), laid, bank, by_rule=False) for name, x in spoiled.items()}
    near = {"other held-out pieces (floor)": plain["held"], "takes, tags told": ours_heard}
    entries["frechet"] = distances({**near, "takes, nothing told": plain["mute"], **bad}, goal, plain["known"])
    entries["sound_features"] = {"value": int(plain["known"].shape[1])}
    say("distances taken")
    cuts = training_cuts(pieces)
    entries["searched_cuts"] = {"value": len(cuts)}
    theirs = {"held-out pieces": np.concatenate([held.rolls, again.rolls])}
    theirs["training pieces (control)"] = np.stack([cut(in_four(0, "train", first=k), 0) for k in range(20)])
    entries["copies"] = copies({"takes, tags told": told.rolls, **theirs}, cuts)
    record("score_music", entries, command="python benchmarks/proof/score_music.py", folder=out)
    for name, entry in entries.items():
        if "value" in entry:
            click.echo(f"{name}: {entry['value']}")
            continue
        click.echo(name)
        for line in (entry["columns"], *entry["rows"]):
            click.echo("  ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in line))
    say("done")


if __name__ == "__main__":
    main()
