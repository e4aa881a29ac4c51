"""Playing notes: every note from a cache of tones, at the exact sample of its onset, into the stem of its part.

    stem = pan (sum of notes + send * room of it),    mix = sum of stems

Level of a note of velocity v, in its loudest moment: `REFERENCE` (v / 127)^2, whatever the instrument, plus the gain of
its part. Nothing on the way to the mix is nonlinear. Where the mix would pass the ceiling, all stems are lowered by one
factor, which the result states.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, log2
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.synth.drums import stroke
from domains.audio.synth.noise import noise
from domains.audio.synth.partials import additive, edges
from domains.audio.synth.programs import voice_of
from domains.audio.synth.room import LONGER, SHORTEST, reverberate
from domains.audio.synth.voices import Voice, spectrum
from shared.errors import UserError

RATES: Final = (22_050, 44_100, 48_000)
REFERENCE: Final = 0.12  # RMS of a note at full velocity
STROKE: Final = 0.17  # the same of a drum: shorter, hence louder
CEILING: Final = 0.89  # -1 dB of full scale
LAYERS: Final = 8  # of velocity, by which the timbre changes; the level changes by the velocity itself
SHORTEST_TONE: Final = 0.25  # s; the tones in the cache are this long, or twice, four times ... as long
CACHE: Final = 384  # tones
SILENT: Final = 7.0  # nepers: a plucked note that fell so far is over (-61 dB)
WET: Final = 1.2  # amplitude of a room of size 1 beside the dry sound


@dataclass(frozen=True, eq=False)
class Part:
    """What one player plays.

    start, end       (n,) seconds;  pitch, velocity  (n,) MIDI numbers; on drums a pitch is a key of the percussion map
    program          General MIDI 0..127;  pan  -1 left .. 1 right;  gain  dB;  send  share of the room
    """

    start: NDArray
    end: NDArray
    pitch: NDArray
    velocity: NDArray
    program: int = 0
    drums: bool = False
    pan: float = 0.0
    gain: float = 0.0
    send: float = 1.0


Player = Callable[[Part, int, int], NDArray]  # (part, rate, samples) -> (samples,) float32, dry and mono


@dataclass(frozen=True, eq=False)
class Render:
    """mix (2, n) float32 and, if asked for, stems (parts, 2, n) whose sum it is.

    body      samples of the music itself; what follows is the tail of the last notes and of the room
    lowered   dB by which everything was lowered to stay under the ceiling, 0 or less
    """

    mix: NDArray
    stems: NDArray | None
    rate: int
    body: int
    lowered: float


def play(
    parts: Sequence[Part],
    seconds: float,
    rate: int = 44_100,
    *,
    room: float = 0.2,
    stems: bool = True,
    player: Player | None = None,
) -> Render:
    """Render parts; `seconds` is the length of the music, to which the tail is added.

    room     0..1, 0 is none;  stems   keep each part's own sound
    player   makes the dry sound of a part; None: `synthesised`, see soundfont.py for another
    Raises UserError for a rate that is none of RATES, a room out of its range, or notes that are none.
    """
    _check(parts, seconds, rate, room)
    body = round(seconds * rate)
    release = max((0.1 if part.drums else voice_of(part.program).release for part in parts), default=0.0)
    tail = (SHORTEST + LONGER * room) * (room > 0) + release
    samples = body + int(tail * rate)
    line = player or synthesised
    dry = np.stack([line(part, rate, samples) for part in parts]) if parts else np.zeros((0, samples), np.float32)
    pans = np.array([_pan(part.pan) for part in parts], np.float32).reshape(-1, 2)
    if stems:
        out = dry[:, None] * pans[:, :, None]  # (parts, 2, n)
        if room > 0:
            for number, part in enumerate(parts):
                if part.send and len(part.start):
                    out[number] += reverberate(dry[number] * np.float32(_wet(part, room)), room, rate)
        mix = out.sum(0)
    else:
        mix, out = np.einsum("pn,pc->cn", dry, pans), None
        if room > 0 and parts:
            sent = np.einsum("pn,p->n", dry, np.array([_wet(part, room) for part in parts], np.float32))
            mix = mix + reverberate(sent, room, rate)
    peak = float(np.abs(mix).max(initial=0.0))
    factor = min(1.0, CEILING / peak) if peak else 1.0
    if factor < 1:
        mix = mix * np.float32(factor)
        out = None if out is None else out * np.float32(factor)
    return Render(mix.astype(np.float32), out, rate, body, 20 * float(np.log10(factor)))


def folded(render: Render) -> NDArray:
    """A loop (2, body): the tail is laid over the start, where it would sound when the music comes round."""
    out, tail = render.mix[:, : render.body].copy(), render.mix[:, render.body :]
    for first in range(0, tail.shape[1], render.body):
        piece = tail[:, first : first + render.body]
        out[:, : piece.shape[1]] += piece
    return out


def _check(parts: Sequence[Part], seconds: float, rate: int, room: float) -> None:
    if rate not in RATES:
        raise UserError(f"{rate} samples a second", where="rate", remedy=f"choose {', '.join(map(str, RATES))}")
    if not 0 <= room <= 1:
        raise UserError(f"a room of {room:g}", where="room", remedy="take 0 (none) to 1")
    if not 0 < seconds <= 3600:
        raise UserError(f"{seconds:g} seconds of music", where="length", remedy="take more than 0 and at most an hour")
    for part in parts:
        ok = (part.start >= 0) & (part.end > part.start) & (part.velocity >= 1) & (part.velocity <= 127)
        ok &= (part.pitch >= 0) & (part.pitch <= 127) & np.isfinite(part.end)
        if not bool(np.all(ok)):
            row = int(np.argmin(ok))
            raise UserError(
                f"note {row} lasts from {part.start[row]} to {part.end[row]} s with pitch {part.pitch[row]} "
                f"and velocity {part.velocity[row]}",
                where="notes",
                remedy="let it end after it starts, with pitch 0..127 and velocity 1..127",
            )


def _pan(pan: float) -> tuple[float, float]:
    """Equal power: left and right amplitudes."""
    angle = (pan + 1) * np.pi / 4
    return float(np.cos(angle)), float(np.sin(angle))


def _wet(part: Part, room: float) -> float:
    return WET * room * part.send


def synthesised(part: Part, rate: int, samples: int) -> NDArray:
    """All notes of a part by the suite's own voices: (samples,) float32, dry and mono."""
    out = np.zeros(samples, np.float32)
    on, off = np.rint(part.start * rate).astype(int), np.rint(part.end * rate).astype(int)
    loud = (STROKE if part.drums else REFERENCE) * 10 ** (part.gain / 20) * (part.velocity / 127.0) ** 2
    layer = np.minimum((part.velocity * LAYERS) // 128, LAYERS - 1)
    release = int(voice_of(part.program).release * rate)
    for k in range(len(on)):
        if part.drums:
            tone = stroke(int(part.pitch[k]), int(layer[k]), LAYERS, rate)[: samples - on[k]]
            out[on[k] : on[k] + len(tone)] += np.float32(loud[k]) * tone
            continue
        held = max(int(off[k] - on[k]), 1)
        length = SHORTEST_TONE * 2.0 ** max(ceil(log2((held + release) / rate / SHORTEST_TONE)), 0)
        tone = _tone(part.program, int(part.pitch[k]), int(layer[k]), length, rate)
        tone = tone[: min(held + release, samples - on[k])] * np.float32(loud[k])
        closing = tone[held:]
        closing *= _fade(release)[: len(closing)]
        out[on[k] : on[k] + len(tone)] += tone
    return out


@lru_cache(maxsize=64)
def _fade(release: int) -> NDArray:
    """Half a cosine from 1 to 0: neither its ends nor its slopes jump."""
    return (0.5 * (1 + np.cos(np.pi * np.arange(1, release + 1) / release))).astype(np.float32)


@lru_cache(maxsize=CACHE)
def _tone(program: int, pitch: int, layer: int, seconds: float, rate: int) -> NDArray:
    """A note held for `seconds` at RMS 1 in its loudest moment, read-only; shorter where it dies before."""
    voice, force = voice_of(program), (layer + 0.5) / LAYERS
    base = 440 * 2 ** ((pitch - 69) / 12)
    fall = voice.decay * (base / 262) ** 0.5
    samples = round(seconds * rate)
    if fall and not voice.tremolo[1]:
        samples = min(samples, int(SILENT / fall * rate))
    part = spectrum(voice, pitch, force, edges(rate, samples))
    out = additive(part.frequency, part.phase, part.levels, rate, samples)
    if voice.noise[0]:
        out = out + _breath(voice, rate, samples, fall)
    rise = max(int(max(voice.attack, 0.0015) * rate), 1)
    ramp = 0.5 * (1 - np.cos(np.pi * np.arange(1, rise + 1) / (rise + 1)))
    out[:rise] *= ramp[:samples].astype(np.float32)
    if samples < round(seconds * rate):  # it died by itself
        out[-min(samples, int(0.03 * rate)) :] *= _fade(min(samples, int(0.03 * rate)))
    out.setflags(write=False)
    return out


def _breath(voice: Voice, rate: int, samples: int, fall: float) -> NDArray:
    """Noise of breath, bow, hammer or pick."""
    level, low, high, lasting = voice.noise
    time = np.arange(samples) / rate
    course = np.exp(-time / lasting) if lasting else np.exp(-fall * time)
    return (level * course * np.resize(noise(low, high, 5, rate), samples)).astype(np.float32)
