"""From the settings of `suite audio generate` to files: read, plan, write, play, judge; all appear together."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from domains.audio.controls.controls import Controls
from domains.audio.controls.json_form import to_json
from domains.audio.controls.midi import read_midi
from domains.audio.controls.notes import Track
from domains.audio.score import arrange
from domains.audio.score.ask import Asked, asked
from domains.audio.score.judge import judged
from domains.audio.score.model import WEIGHTS, from_pretrained
from domains.audio.score.operations import GenerateMusic, Playing
from domains.audio.score.plan import Plan, levelled, plan
from domains.audio.score.takes import Take, played, write_takes
from domains.audio.score.writing import Wanted, calls, write
from shared.front.atomic import staged_folder, write_atomic
from shared.front.operation import Operation, Outcome, Report
from shared.front.option import LARGEST_SEED
from shared.front.provenance import input_files, provenance

ASKED, REPORT = "asked.json", "report.json"


def generate(settings: GenerateMusic, report: Report, operation: Operation) -> Outcome:
    """Everything that `suite audio generate` does; the folder appears whole or not at all."""
    began = time.perf_counter()
    near: tuple[Track, ...] = ()
    if settings.like is None:
        wanted = asked(settings)
    else:
        wanted, near = _like(settings)
    genres = _genres(wanted.controls, settings)
    swing = arrange.swing_of(wanted.controls.tags.genre or genres[0])
    if settings.swing is not None:
        swing = (settings.swing, 1.0)
    laid = plan(wanted.controls, drums=wanted.drums, swing=swing, strict=settings.strict)
    how = Wanted(
        genre=genres,
        mood=[wanted.controls.tags.mood] * settings.takes,
        seeds=seeds(settings),
        steps=settings.steps,
        guidance=settings.guidance,
        loop=settings.loop,
        near=arrange.roll_of(near, laid) if near else None,
        change=settings.change if near else 1.0,
    )
    return finish(settings, report, operation, laid, how, wanted.notes, loop=settings.loop, began=began)


def seeds(settings: Playing) -> tuple[int, ...]:
    """One a take."""
    return tuple((settings.seed + k) % (LARGEST_SEED + 1) for k in range(settings.takes))


def finish(
    settings: Playing,
    report: Report,
    operation: Operation,
    laid: Plan,
    how: Wanted,
    notes: Sequence[str],
    *,
    began: float,
    loop: bool = False,
    around: Sequence[Track] = (),
) -> Outcome:
    """Write the takes of a plan, play and judge them, and put everything into the folder."""
    network = from_pretrained()
    with staged_folder(settings.out) as folder:
        takes, facts = perform_all(network, settings, report, laid, how, loop=loop, around=around)
        record = provenance(
            operation,
            settings,
            threads=torch.get_num_threads(),
            batch=settings.takes,
            checkpoint=WEIGHTS,
            sources=input_files(settings),
            packages=("mido", "soundfile", "soxr", "scipy", *(("librosa",) if settings.listen else ())),
        )
        names, rows = write_takes(folder, takes, laid.controls, record, settings)
        facts = {**_about(laid, settings), **facts, "notes": [*notes, *laid.notes], "takes": rows}
        facts["seconds"]["all"] = round(time.perf_counter() - began, 3)
        for name, body in ((ASKED, {"controls": to_json(laid.controls)}), (REPORT, {"report": facts})):
            write_atomic(folder / name, json.dumps({**record, **body}, indent=1, allow_nan=False))
    out = Path(settings.out)
    files = tuple(out / name for name in (*names, ASKED, REPORT))
    return Outcome(sentence(facts), files, facts, view={"asked": laid.controls, "takes": tuple(takes)})


def perform_all(
    network: nn.Module,
    settings: Playing,
    report: Report,
    laid: Plan,
    how: Wanted,
    *,
    loop: bool = False,
    around: Sequence[Track] = (),
) -> tuple[list[Take], dict[str, Any]]:
    """The takes of a plan with what they cost; `around` are notes that stay as they are (see `joined`)."""
    total = calls(laid, how)
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
    for number, (raw, seed, genre) in enumerate(zip(made, how.seeds, how.genre, strict=True), start=1):
        style = genre or arrange.genre_for(seed, float(laid.tempo[0]), laid.grid.metres[0].name)
        band = arrange.band_of(style, how.mood[number - 1], seed)
        x = levelled(raw, laid)
        tracks = arrange.tracks_of(x, laid, band)
        if around and how.where is not None:
            tracks = arrange.joined(tracks, around, laid, how.where)
        takes.append(
            played(number, seed, style, tracks, band, laid.controls, judged(x, laid), settings, loop=loop, tell=tell)
        )
    report(stages, stages, "writing files")
    seconds = {"model": round(model, 3), "play": round(time.perf_counter() - start, 3)}
    return takes, {"calls": total, "seconds": seconds, "seconds_per_call": round(model / max(total, 1), 5)}


def _genres(controls: Controls, settings: Playing) -> list[str | None]:
    """The genre of every take: the one that is asked for, or one that suits tempo and metre, drawn by the seed."""
    grid = controls.grid
    assert grid is not None
    return [
        controls.tags.genre or arrange.genre_for(seed, grid.tempos[0].qpm, grid.metres[0].name)
        for seed in seeds(settings)
    ]


def _like(settings: GenerateMusic) -> tuple[Asked, tuple[Track, ...]]:
    """What a take that is near to another is asked: what is typed; else what lies beside it; else its own file."""
    assert settings.like is not None
    controls, tracks = read_midi(settings.like)
    lying = Path(settings.like).parent / ASKED
    if settings.controls is None and settings.midi is None and lying.is_file():
        settings = replace(settings, controls=str(lying))
    if settings.controls is None and settings.midi is None:
        found = Asked(controls)
    else:
        found = asked(settings)
    return found, tracks


def _about(laid: Plan, settings: Playing) -> dict[str, Any]:
    controls, first = laid.controls, laid.grid.metres[0]
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
    if facts["key"] is not None:
        found = [one["scores"]["notes"]["in_key"] or 0.0 for one in takes]
        parts.append(f"{np.mean(found):.0%} in {facts['key']}")
    return ", ".join(parts) + "".join(f"; {note}" for note in facts["notes"])
