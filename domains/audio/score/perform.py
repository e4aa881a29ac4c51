"""Tracks as sound: stems and mix at 22 to 48 kHz, the level that was asked, loops to the sample, below -1 dBTP.

Everything after the synthesiser is one factor for the whole piece, so the stems add up to the mix. Where dynamics are
asked for, the factor makes the mean level of the frames in which they bind the asked one, as far as the peaks allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.controls.controls import Controls
from domains.audio.controls.frames import HOP, RATE, frame_times, inside
from domains.audio.controls.notes import Track
from domains.audio.export import loop as ringing
from domains.audio.export import resampled
from domains.audio.loudness import CEILING, true_peak
from domains.audio.score.arrange import Band, parts_of
from domains.audio.synth.render import Player, play

MOST_GAIN: Final = 30.0  # dB
FADE: Final = 0.02  # seconds at the end of a tail
QUIET: Final = 1e-4  # of the peak: where a tail may end


@dataclass(frozen=True, eq=False)
class Sound:
    """A piece that was played.

    wave    (n, 2) float32, n = round(length * rate) for a loop, else the tail of the last notes follows
    stems   name of the track -> (n, 2), whose sum is the wave
    body    samples of the clip itself
    heard   (round(length * 22 050),) float32 mono, what metrics listen to
    melody, levels   (T, 12) and (T,) dB a frame of the paper, of `heard`
    gain    dB that the level asked for has cost, or given
    loop    whether its start follows its end
    """

    wave: NDArray[np.float32]
    stems: dict[str, NDArray[np.float32]]
    rate: int
    body: int
    heard: NDArray[np.float32]
    melody: NDArray[np.float32]
    levels: NDArray[np.float64]
    gain: float
    loop: bool = False


def player_of(soundfont: str | None, rate: int) -> Player | None:
    """Who plays in place of the suite's own voices; raises UserError for what is no soundfont."""
    if soundfont is None:
        return None
    from domains.audio.synth.soundfont import SoundFont

    return SoundFont(soundfont, rate)


def perform(
    tracks: Sequence[Track],
    band: Band,
    controls: Controls,
    rate: int = 44_100,
    *,
    loop: bool = False,
    stems: bool = False,
    player: Player | None = None,
) -> Sound:
    """Play the tracks; `controls` give the length and, if they ask for dynamics, the level."""
    from domains.audio.extract.extract import curves

    named = parts_of(tracks, band)
    body = controls.samples(rate)
    played = play([part for _, part in named], controls.length, rate, room=band.room, stems=stems, player=player)
    made = [played.mix, *(() if played.stems is None else played.stems)]
    waves = [ringing(one.T, body) if loop else one.T for one in made]
    heard = resampled(waves[0][:body].mean(1), rate, RATE)[: controls.samples(RATE)]
    melody, levels = curves(heard)
    gain = _gain(controls, levels, true_peak(waves[0], wrap=loop))
    factor = np.float32(10 ** (gain / 20))
    last = body if loop else _end(waves[0], body, rate)
    waves = [_closed(one[:last] * factor, body, rate) for one in waves]
    return Sound(
        wave=waves[0],
        stems=_by_name([name for name, _ in named], waves[1:]),
        rate=rate,
        body=body,
        heard=heard * factor,
        melody=melody,
        levels=np.clip(levels + gain, -80.0, 0.0),
        gain=gain,
        loop=loop,
    )


def _gain(controls: Controls, levels: NDArray, peak: float) -> float:
    """dB to the asked mean level, bounded by the ceiling; without dynamics only what the ceiling takes."""
    room = CEILING - 0.01 - peak if np.isfinite(peak) else 0.0
    where = inside(controls.bound("dynamics"), frame_times(len(levels), RATE, HOP))
    if controls.dynamics is None or not where.any() or not np.isfinite(peak):
        return min(0.0, room)
    asked = controls.dynamics.at(frame_times(len(levels), RATE, HOP)[where])
    return float(np.clip(asked.mean() - levels[where].mean(), -MOST_GAIN, min(MOST_GAIN, room)))


def _end(wave: NDArray, body: int, rate: int) -> int:
    """The sample after which the tail is no longer heard."""
    loud = np.flatnonzero(np.abs(wave).max(1) > QUIET * np.abs(wave).max(initial=1e-9))
    return max(body, min(len(wave), int(loud[-1]) + round(FADE * rate)) if len(loud) else body)


def _closed(wave: NDArray, body: int, rate: int) -> NDArray[np.float32]:
    """The tail, where there is one, ends in silence."""
    n = min(round(FADE * rate), len(wave) - body)
    out = np.array(wave, np.float32)
    if n > 0:
        out[-n:] *= np.linspace(1, 0, n, dtype=np.float32)[:, None]
    return out


def _by_name(names: Sequence[str], waves: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Stems by the name of their track; equal names are counted."""
    found: dict[str, NDArray[np.float32]] = {}
    for name, wave in zip(names, waves, strict=False):
        own, n = name or "track", 2
        while own in found:
            own, n = f"{name}_{n}", n + 1
        found[own] = wave
    return found
