"""`suite audio continue` and `inpaint`: the score engine writes bars or parts, every other note of the file stays."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from domains.audio.compose.score import ROLES
from domains.audio.controls.beats import BeatGrid
from domains.audio.controls.controls import Controls
from domains.audio.controls.json_form import read_controls
from domains.audio.controls.midi import read_midi, sounding
from domains.audio.controls.notes import Key, Track
from domains.audio.controls.spans import KINDS, Span, Spans
from domains.audio.controls.tags import Tags
from domains.audio.score import arrange
from domains.audio.score.ask import seeds
from domains.audio.score.judge import obtained
from domains.audio.score.operations import AUTO, MOST_BARS, not_understood
from domains.audio.score.run import finish, genres_for, plans
from domains.audio.score.writing import Wanted
from domains.audio.studio.operations import ContinueMusic, InpaintMusic, Mending
from shared.errors import UserError
from shared.front.operation import Operation, Outcome, Report


def go_on(settings: ContinueMusic, report: Report, operation: Operation) -> Outcome:
    """The file, and `bars` more of it; what is there is filled up to whole bars."""
    controls, tracks, grid = _read(settings)
    there = len(list(grid.bars(controls.length)))
    if there + settings.bars > MOST_BARS:
        raise UserError(
            f"{there} bars and {settings.bars} more", where="--bars", remedy=f"{MOST_BARS} is the most there can be"
        )
    begin, end = (grid.bars_last(n) + grid.start for n in (there, there + settings.bars))
    return _mended(settings, report, operation, replace(controls, length=end), tracks, (begin, end))


def inpaint(settings: InpaintMusic, report: Report, operation: Operation) -> Outcome:
    """The file with some parts of the bars from `from_bar` to `to_bar` written anew."""
    controls, tracks, grid = _read(settings)
    there = len(list(grid.bars(controls.length)))
    to_bar = settings.to_bar or there
    for name, bar in (("--from-bar", settings.from_bar), ("--to-bar", to_bar)):
        if bar > there:
            raise UserError(f"bar {bar} of {there}", where=name, remedy=f"the last bar is {there}")
    begin = grid.bars_last(settings.from_bar - 1) + grid.start
    end = min(grid.bars_last(to_bar) + grid.start, controls.length)
    return _mended(settings, report, operation, controls, tracks, (begin, end), settings.parts)


def _read(settings: Mending) -> tuple[Controls, tuple[Track, ...], BeatGrid]:
    """The file's tracks, and of its controls what is true of the whole: length, grid, key and tags."""
    found, tracks = read_midi(settings.music)
    tracks = sounding(found, tracks)
    if not any(track.notes for track in tracks):
        raise UserError("has no notes", where=settings.music, remedy="give a MIDI file with notes")
    if found.grid is None:
        raise UserError(
            "has no beat grid", where=settings.music, remedy="extract it with --bpm, or give a MIDI file with a tempo"
        )
    return Controls(length=found.length, grid=found.grid, key=found.key, tags=found.tags), tracks, found.grid


def _mended(
    settings: Mending,
    report: Report,
    operation: Operation,
    controls: Controls,
    tracks: Sequence[Track],
    new: tuple[float, float],
    parts: Sequence[str] = (),
) -> Outcome:
    """Takes in which the seconds from new[0] to new[1] of some parts, none for all, are written and all else stays."""
    began = time.perf_counter()
    typed = Tags.read(settings.tags)[0]
    tags = Tags(typed.genre or controls.tags.genre, typed.mood or controls.tags.mood)
    key, notes = _key(settings, controls, tracks)
    controls = asked_in(settings, replace(controls, key=key, tags=tags), new)
    grid = controls.grid
    assert grid is not None
    genres = genres_for(controls, settings)
    swing = arrange.heard_swing(tracks, grid, tags.genre)
    new_swing = arrange.swing_of(typed.genre) if typed.genre else swing
    laid = plans([controls] * settings.takes, [new_swing] * settings.takes, strict=settings.strict)
    first, steps = laid[0].first, laid[0].steps
    middles = np.array([grid.seconds_at((first + k + 0.5) / 4) for k in range(steps)])
    others = np.array([bool(parts) and role not in parts for role in ROLES])
    kept: NDArray[np.bool_] = ((middles < new[0]) | (middles >= new[1]))[None] | others[:, None]
    how = Wanted(
        genre=genres,
        mood=[tags.mood] * settings.takes,
        seeds=seeds(settings),
        steps=settings.steps,
        guidance=settings.guidance,
        kept=arrange.roll_of(tracks, laid[0], swing=swing),
        where=kept,
    )
    notes = [*not_understood(settings.tags), *notes]
    return finish(settings, report, operation, laid, how, notes, began=began, around=tracks)


def _key(settings: Mending, controls: Controls, tracks: Sequence[Track]) -> tuple[Key | None, list[str]]:
    """The key that was typed, that of the file, or the one its notes are nearest to."""
    if settings.key != AUTO:
        return Key.named(settings.key), []
    if controls.key is not None or controls.grid is None:
        return controls.key, []
    found = obtained(tuple(tracks), np.zeros(2), controls.length, controls.grid).key
    return found, [] if found is None else [f"the notes are nearest to {found.name}: what is new stays in it"]


def asked_in(settings: Mending, controls: Controls, new: tuple[float, float]) -> Controls:
    """With what is asked for the new bars, in these alone."""
    if settings.controls is None:
        return controls
    said = read_controls(settings.controls)
    inside = {
        kind: tuple(
            Span(max(span.start, new[0]), min(span.end, new[1], controls.length))
            for span in said.bound(kind)
            if span.start < new[1] and span.end > new[0]
        )
        for kind in KINDS
        if kind != "rhythm"
    }
    said = said if said.length <= controls.length else said.crop(0, controls.length)
    return replace(controls, melody=said.melody, dynamics=said.dynamics, chords=said.chords, spans=Spans(**inside))
