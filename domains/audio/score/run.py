"""From the settings of `suite audio generate` to files: read, plan, write, play, judge; all appear together."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from domains.audio.controls.beats import BeatGrid
from domains.audio.controls.controls import Controls
from domains.audio.controls.midi import read_midi, sounding
from domains.audio.controls.notes import Note, Track
from domains.audio.controls.tags import Tags
from domains.audio.score import arrange
from domains.audio.score.ask import Asked, asked, asked_of, from_file, seeds
from domains.audio.score.judge import judged
from domains.audio.score.model import WEIGHTS, from_pretrained
from domains.audio.score.operations import GenerateMusic, Playing
from domains.audio.score.perform import player_of
from domains.audio.score.plan import Plan, levelled, plan
from domains.audio.score.takes import ASKED, REPORT, Take, played, write_report, write_takes
from domains.audio.score.writing import Wanted, calls, write
from domains.audio.synth.render import Player
from shared.front.atomic import staged_folder
from shared.front.operation import Operation, Outcome, Report
from shared.front.provenance import input_files, provenance


def generate(settings: GenerateMusic, report: Report, operation: Operation) -> Outcome:
    """Everything that `suite audio generate` does; the folder appears whole or not at all."""
    began = time.perf_counter()
    near: Near | None = None
    if settings.like is None:
        wanted = asked(settings)
    else:
        wanted, near = _like(settings)
    controls = wanted.controls
    genres = genres_for(controls, settings)
    keys = wanted.keys or (controls.key,) * settings.takes
    laid = plans(
        [replace(controls, key=key) for key in keys],
        [arrange.swing_of(genre) if settings.swing is None else (settings.swing, 1.0) for genre in genres],
        drums=wanted.drums,
        strict=settings.strict,
    )
    start = None if near is None else arrange.roll_of(near.tracks, laid[0], grid=near.grid, swing=near.swing)
    how = Wanted(
        genre=genres,
        mood=[controls.tags.mood] * settings.takes,
        seeds=seeds(settings),
        steps=settings.steps,
        guidance=settings.guidance,
        loop=settings.loop,
        near=start,
        change=1.0 if start is None else settings.change,
    )
    return finish(settings, report, operation, laid, how, wanted.notes, loop=settings.loop, began=began)


def plans(
    asks: Sequence[Controls],
    swings: Sequence[tuple[float, float]],
    *,
    drums: Sequence[Note] = (),
    strict: bool = True,
) -> list[Plan]:
    """One a take, of controls that differ in nothing but the key; takes that agree share theirs."""
    made: dict[tuple[object, ...], Plan] = {}
    for controls, swing in zip(asks, swings, strict=True):
        if (controls.key, swing) not in made:
            made[controls.key, swing] = plan(controls, drums=drums, swing=swing, strict=strict)
    return [made[controls.key, swing] for controls, swing in zip(asks, swings, strict=True)]


def genres_for(controls: Controls, settings: Playing) -> list[str]:
    """The genre of every take: the one that is asked for, or one that suits tempo and metre, drawn by the seed."""
    grid = controls.grid
    assert grid is not None
    return [
        controls.tags.genre or arrange.genre_for(seed, grid.tempos[0].qpm, grid.metres[0].name)
        for seed in seeds(settings)
    ]


def finish(
    settings: Playing,
    report: Report,
    operation: Operation,
    laid: Sequence[Plan],
    how: Wanted,
    notes: Sequence[str],
    *,
    began: float,
    loop: bool = False,
    around: Sequence[Track] = (),
) -> Outcome:
    """Write the takes of their plans, play and judge them, and put everything into the folder."""
    player, network = player_of(settings.soundfont, int(settings.rate)), from_pretrained()
    with staged_folder(settings.out) as folder:
        takes, facts = perform_all(network, settings, report, laid, how, loop=loop, around=around, player=player)
        record = provenance(
            operation,
            settings,
            threads=torch.get_num_threads(),
            batch=settings.takes,
            checkpoint=WEIGHTS,
            sources=input_files(settings),
            packages=("mido", "soundfile", "soxr", "scipy", *(("librosa",) if settings.listen else ())),
        )
        names, rows = write_takes(folder, takes, record, settings)
        asks = _common(laid)
        said = dict.fromkeys(note for own in laid for note in own.notes)
        facts = {**_about(laid[0], asks, settings), **facts, "notes": [*notes, *said], "takes": rows}
        write_report(folder, record, asks, facts, began)
    out = Path(settings.out)
    files = tuple(out / name for name in (*names, ASKED, REPORT))
    return Outcome(sentence(facts), files, facts, view={"asked": asks, "takes": tuple(takes)})


def perform_all(
    network: nn.Module,
    settings: Playing,
    report: Report,
    laid: Sequence[Plan],
    how: Wanted,
    *,
    loop: bool = False,
    around: Sequence[Track] = (),
    player: Player | None = None,
) -> tuple[list[Take], dict[str, Any]]:
    """The takes of their plans with what they cost; `around` are notes that stay as they are (see `joined`)."""
    total = calls(laid[0], how)
    stages = total + settings.takes * (1 + settings.listen)
    done = total

    def tell(note: str) -> None:
        nonlocal done
        report(done, stages, note)
        done += 1

    report(0, stages, "writing")
    start = time.perf_counter()
    made: NDArray = write(network, laid, how, lambda here, _: report(here, stages, "writing"))
    model = time.perf_counter() - start
    start = time.perf_counter()
    takes = []
    for number, (raw, own, seed, genre) in enumerate(zip(made, laid, how.seeds, how.genre, strict=True), start=1):
        style = genre or arrange.genre_for(seed, float(own.tempo[0]), own.grid.metres[0].name)
        band = arrange.band_of(style, how.mood[number - 1], seed)
        tracks = arrange.tracks_of(levelled(raw, own), own, band)
        if around and how.where is not None:
            tracks = arrange.joined(tracks, around, own, how.where)
        kept = judged(arrange.roll_of(tracks, own), own)  # what plays, not all that the network says
        takes.append(
            played(number, seed, style, tracks, band, own.controls, kept, settings, loop=loop, player=player, tell=tell)
        )
    report(stages, stages, "writing files")
    seconds = {"model": round(model, 3), "play": round(time.perf_counter() - start, 3)}
    return takes, {"calls": total, "seconds": seconds, "seconds_per_call": round(model / max(total, 1), 5)}


@dataclass(frozen=True, eq=False)
class Near:
    """Notes of a file to stay near to, on its own grid (None: it says none) and with its own swing."""

    tracks: tuple[Track, ...]
    grid: BeatGrid | None
    swing: tuple[float, float] | None


def _like(settings: GenerateMusic) -> tuple[Asked, Near | None]:
    """What a take that is near to another is asked: what is typed; else what lies beside it; else its own file.

    Genre, mood and key are its own where nobody asks for others.
    """
    assert settings.like is not None
    controls, tracks = read_midi(settings.like)
    tracks = sounding(controls, tracks)
    lying = Path(settings.like).parent / ASKED
    if settings.controls is None and settings.midi is None and lying.is_file():
        settings = replace(settings, controls=str(lying))
    said, drums = from_file(settings)
    said = controls if said is None else said
    own = Tags(said.tags.genre or controls.tags.genre, said.tags.mood or controls.tags.mood)
    found = asked_of(settings, replace(said, tags=own, key=said.key or controls.key), drums)
    if not any(track.notes for track in tracks):
        return found, None
    grid = controls.grid
    swing = None if grid is None else arrange.heard_swing(tracks, grid, controls.tags.genre)
    return found, Near(tracks, grid, swing)


def _common(laid: Sequence[Plan]) -> Controls:
    """What all takes are asked: no key where each has one of its own."""
    controls = laid[0].controls
    return controls if all(own.controls.key == controls.key for own in laid) else replace(controls, key=None)


def _about(laid: Plan, controls: Controls, settings: Playing) -> dict[str, Any]:
    first = laid.grid.metres[0]
    binds = [kind for kind in ("melody", "dynamics", "chords") if controls.given(kind)]
    return {
        "engine": "score",
        "bars": len(laid.bars),
        "bpm": round(laid.grid.tempos[0].qpm / first.beat, 4),
        "metre": first.name,
        "length": controls.length,
        "samples": controls.samples(int(settings.rate)),
        "key": None if controls.key is None else controls.key.name,
        "tags": {"genre": controls.tags.genre, "mood": controls.tags.mood},
        "binds": [*binds, "rhythm", *(["drums"] if laid.bound[3].any() else [])],
    }


def sentence(facts: Mapping[str, Any]) -> str:
    """What was made, what it cost, and how well it follows."""
    takes = facts["takes"]
    parts = [
        f"{len(takes)} take{'s' if len(takes) > 1 else ''} of {facts['bars']} bars, {facts['length']:.2f} s: "
        f"{facts['calls']} calls of {1000 * facts['seconds_per_call']:.0f} ms"
    ]
    for name, words in (("melody", "melody"), ("dynamics", "dynamics r"), ("chords", "chords"), ("drums", "drums F1")):
        found = [one["scores"]["notes"][name] for one in takes if one["scores"]["notes"][name] is not None]
        if found:
            parts.append(f"{words} {np.mean(found):.2f}")
    if takes[0]["key"] is not None:
        found = [one["scores"]["notes"]["in_key"] or 0.0 for one in takes]
        parts.append(f"{np.mean(found):.0%} in {facts['key'] or 'their keys'}")
    return ", ".join(parts) + "".join(f"; {note}" for note in facts["notes"])
