"""What the lanes ask of the server while one draws: check, reshape, name a chord. Nothing that comes in is trusted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from domains.audio.controls import edits
from domains.audio.controls.controls import Controls
from domains.audio.controls.dynamics import Dynamics
from domains.audio.controls.json_form import from_json, text
from domains.audio.controls.spelling import strip, symbol
from shared.errors import UserError

LARGEST: Final = 4_000_000  # characters of controls
MIDDLE, SPAN = -22.0, 12.0  # dB of a shape


def controls_of(held: str | None) -> Controls:
    """The controls that the lanes hold. Raises UserError."""
    if not held or len(held) > LARGEST:
        raise UserError("the lanes are empty" if not held else "the lanes hold too much", remedy="choose an example")
    try:
        data = json.loads(held)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, Mapping):
        raise UserError("the lanes hold no controls", remedy="choose an example")
    return from_json(data)


def reshape(wish: Mapping[str, Any]) -> dict[str, str]:
    """For the script: the controls after a wish, with words that say so; or an error in one sentence."""
    try:
        controls, words = _reshaped(controls_of(wish.get("controls")), wish)
        return {"controls": text(controls), "words": words}
    except UserError as error:
        return {"error": f"Please check: {error}"}


def chord(said: str) -> dict[str, str]:
    """For the script: the label of a chord as musicians write it; or an error in one sentence."""
    try:
        return {"label": symbol(str(said), 0.0, 1.0).label}
    except UserError as error:
        return {"error": f"Please check: {error}"}


def _reshaped(controls: Controls, wish: Mapping[str, Any]) -> tuple[Controls, str]:
    if "bpm" in wish:
        follow = bool(wish.get("follow", True))
        made = edits.with_tempo(controls, wish["bpm"], follow=follow)
        return made, f"{wish['bpm']:g} beats a minute; notes {'follow' if follow else 'stay where they are'}."
    if "beats" in wish:
        made = edits.with_beats(controls, wish["beats"])
        assert made.grid is not None
        bpm = made.grid.tempos[0].qpm / made.grid.metres[0].beat
        held = "" if len(made.grid.tempos) == 1 else " at first, and then as tapped"
        return made, f"Beats as tapped: {bpm:.4g} beats a minute{held}; notes stay in place."
    if "times" in wish:
        made = edits.times_tempo(controls, 2.0 if wish["times"] == 2 else 0.5)
        assert made.grid is not None
        return made, f"{made.grid.tempos[0].qpm / made.grid.metres[0].beat:.4g} beats a minute; notes stay in place."
    if "metre" in wish:
        made = edits.with_metre(controls, str(wish["metre"]))
        return made, f"{wish['metre']}, {made.length:.2f} s."
    if "bars" in wish:
        made = edits.with_bars(controls, wish["bars"])
        return made, f"{wish['bars']} bars, {made.length:.2f} s."
    if "strip" in wish:
        grid = controls.grid or edits.PLAIN
        chords = strip(str(wish["strip"])[:2000], grid, controls.length)
        return replace(controls, chords=chords or None, grid=grid), f"{len(chords)} chords."
    rising = controls.dynamics is None or controls.dynamics.points[0][1] >= controls.dynamics.points[-1][1]
    curve = Dynamics.shape(str(wish.get("shape")), controls.length, middle=MIDDLE, span=SPAN, falling=not rising)
    return replace(controls, dynamics=curve), "Rising; choose it again for falling." if rising else "Falling."
