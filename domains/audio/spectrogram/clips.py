"""Music for the spectrogram recipes: composed, played and cut as it is needed, and true of what it is.

A piece is composed and played once, stays in a pool, and gives clips to many steps; the pool moves on with the step,
so that a batch is still a pure function of its step (`window`). In training, pieces are played by other programs than
their genre's, in another room, up to 20 cents out of tune, and then made softer, coloured and levelled; the test
splits are left as they are. Colour and level act on the power of the frames, where they cost nothing.

The controls of a piece are those of its score; its dynamics are measured in the sound, as in Music ControlNet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from domains.audio.compose.composer import Split, compose
from domains.audio.compose.genres import GENRES_TABLE
from domains.audio.compose.performance import parts_of
from domains.audio.compose.score import Score
from domains.audio.compose.truth import controls_of
from domains.audio.controls.controls import Controls
from domains.audio.controls.dynamics import Dynamics
from domains.audio.controls.frames import HOP, RATE, Curves, frame_times, rasterise
from domains.audio.controls.tags import Tags
from domains.audio.extract.dynamics import frame_levels, smoothed
from domains.audio.spectrogram.mel import Codec, levels_of, spectrum_power
from domains.audio.synth.render import play

BARS: Final = 8
DATA: Final = {
    "name": "music composed and played by rule during training (domains/audio/compose, domains/audio/synth)",
    "licence": "Apache-2.0",
    "attribution": "this project",
}
ROLES: Final = ("melody", "chords", "bass")
OUT_OF_TUNE: Final = 20.0  # cents, either way
SOFTER: Final = 12.0  # dB, at most
COLOUR: Final = 2.0  # dB, deviation of the level at six places of the spectrum
LEVELLED: Final = 0.4  # at most, of the distance from the mean level
OTHER_PROGRAMS: Final = 0.5  # share of pieces whose programs are drawn from all genres
POOL: Final = 256  # pieces that are kept
WAVES: Final = 64  # the same of sounds, which are larger
FIRST: Final = 48  # pieces that the first step chooses from


@dataclass(frozen=True, eq=False)
class Piece:
    """levels (160, T) dB of the mel bins, float16; curves of T frames; tags; controls, their dynamics measured."""

    levels: NDArray[np.float16]
    curves: Curves
    tags: Tags
    controls: Controls


@dataclass(frozen=True, eq=False)
class Sound:
    """wave (n,) float32 at 22 050 Hz, whole frames, and what the score says of it."""

    wave: NDArray[np.float32]
    controls: Controls


def programs(role: str) -> tuple[int, ...]:
    """What may play a role in training: the programs of all genres but those held back for the split "instruments"."""
    own = {program for genre in GENRES_TABLE.values() for program in getattr(genre, role)}
    held = {program for genre in GENRES_TABLE.values() for program in genre.held.get(role, ())}
    return tuple(sorted(own - held))


@lru_cache(maxsize=8)
def sound(seed: int, index: int, split: Split = "train") -> Sound:
    """A piece as it sounds, mono; in training with other programs, room and tuning."""
    score = compose(seed, index, split, bars=BARS)
    parts, room, cents = parts_of(score), score.room, 0.0
    if split == "train":
        rng = np.random.default_rng((seed, index, 7))
        parts, room = _other(rng, score, parts), float(rng.uniform(0, 0.9))
        cents = float(rng.uniform(-OUT_OF_TUNE, OUT_OF_TUNE))
    made = play(parts, score.seconds_in_all, RATE, room=room, stems=False)
    wave = made.mix[:, : made.body].mean(0)
    controls = controls_of(score)
    if cents and controls.grid is not None:
        import soxr

        slower = 2 ** (cents / 1200)  # as a tape: pitch and pace together
        wave = soxr.resample(wave, RATE, RATE * slower)
        tempo = controls.grid.tempos[0].qpm / controls.grid.metres[0].beat
        controls = controls.at_tempo(tempo / slower)
    whole = len(wave) - len(wave) % HOP
    return Sound(np.ascontiguousarray(wave[:whole], dtype=np.float32), controls)


@lru_cache(maxsize=POOL)
def piece(seed: int, index: int, split: Split = "train", extracted: bool = False) -> Piece:
    """A piece as levels and curves; extracted: the melody as the paper hears it, not that of the score."""
    heard = sound(seed, index, split)
    power = spectrum_power(torch.from_numpy(heard.wave)).numpy()
    if split == "train":
        power = _coloured(np.random.default_rng((seed, index, 8)), power)
    frames = power.shape[1]
    levels = smoothed(frame_levels(power))
    times = frame_times(frames)
    controls = replace(heard.controls, dynamics=Dynamics.through(times, levels, within=0.2))
    curves = rasterise(controls, frames=frames)
    curves = replace(curves, dynamics=(levels[:, None] * curves.mask[:, 1:2]).astype(np.float32))
    if extracted:
        from domains.audio.extract.extract import curves as extract_curves

        curves = replace(curves, melody=extract_curves(heard.wave)[0])
    mel = levels_of(torch.from_numpy(power)).clamp_min(-200).numpy().astype(np.float16)
    return Piece(mel, curves, controls.tags, controls)


def window(step: int, fresh: float, first: int = FIRST, pool: int = POOL) -> range:
    """Pieces that a step may choose from: `first` at the start and `fresh` new ones a step, the last `pool` of them."""
    newest = first + int(step * fresh)
    return range(max(0, newest - pool), newest)


def cut(whole: Piece, first: int, frames: int) -> Piece:
    """Frames of a piece from `first` on; silence, in which nothing is asked, where it is over."""
    span = slice(first, first + frames)
    missing = max(0, first + frames - whole.levels.shape[1])

    def part(curve: NDArray) -> NDArray:
        return np.pad(curve[span], ((0, missing), (0, 0)))

    levels = np.pad(whole.levels[:, span], ((0, 0), (0, missing)), constant_values=-200)
    curves = Curves(**{name: part(curve) for name, curve in vars(whole.curves).items()})
    return replace(whole, levels=levels, curves=curves)


def start(rng: np.random.Generator, whole: Piece, frames: int) -> int:
    """Where a clip of a piece begins: any frame, so that it lies inside."""
    return int(rng.integers(0, max(1, whole.levels.shape[1] - frames + 1)))


def asked(whole: Piece, first: int, frames: int) -> Controls:
    """What is true of a clip, in the control language: exactly `frames` frames long."""
    return whole.controls.crop(first * HOP / RATE, (first + frames) * HOP / RATE)


def statistics(codec_range: float, paper: bool, count: int = 24, seed: int = 0) -> tuple[Codec, tuple[float, float]]:
    """The codec and the mean and deviation of the dynamics (dB), frozen from the first pieces of the training split."""
    pieces = [piece(seed, index) for index in range(count)]
    levels = np.concatenate([one.curves.dynamics[:, 0] for one in pieces])
    codec = Codec.paper() if paper else Codec.of_music([torch.from_numpy(p.levels) for p in pieces], codec_range)
    return codec, (float(levels.mean()), float(levels.std()))


def learned(count: int, seed: int = 0) -> list[NDArray[np.float16]]:
    """Levels (160, T) dB of the first pieces of the training split."""
    return [piece(seed, index).levels for index in range(count)]


@dataclass(frozen=True)
class WaveClips:
    """Batches for the vocoder, `clips(step)`: wave (B, 256 T) of other levels and colours."""

    rows: int
    frames: int = 64
    fresh: float = 0.25
    first: int = FIRST
    seed: int = 1
    split: Split = "train"

    def __call__(self, step: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng((self.seed, step, 9))
        pool = window(step, self.fresh, self.first, WAVES)
        out = []
        for _ in range(self.rows):
            wave = _wave(self.seed, pool[int(rng.integers(len(pool)))], self.split)
            first = int(rng.integers(0, max(1, len(wave) - HOP * self.frames + 1)))
            clip = wave[first : first + HOP * self.frames]
            clip = np.pad(clip, (0, HOP * self.frames - len(clip)))
            out.append(_filtered(rng, clip) if self.split == "train" else clip)
        return {"wave": torch.from_numpy(np.stack(out).astype(np.float32))}


@lru_cache(maxsize=WAVES)
def _wave(seed: int, index: int, split: Split) -> NDArray[np.float32]:
    return sound(seed, index, split).wave


def _other(rng: np.random.Generator, score: Score, parts: tuple[Any, ...]) -> tuple[Any, ...]:
    """Parts of another band, half of the time."""
    if rng.random() >= OTHER_PROGRAMS:
        return parts
    return tuple(
        replace(part, program=int(rng.choice(programs(track.role)))) if track.role in ROLES else part
        for part, track in zip(parts, score.tracks, strict=True)
    )


def _colour(rng: np.random.Generator, bins: int) -> NDArray:
    """(bins,) dB: a smooth curve over the octaves, softer by 0 to 12 dB on the whole."""
    place = np.log2(1 + np.linspace(0, RATE / 2, bins) / 100)
    anchors = np.linspace(0, place[-1], 6)
    return np.asarray(np.interp(place, anchors, rng.normal(0, COLOUR, 6)) - rng.uniform(0, SOFTER))


def _coloured(rng: np.random.Generator, power: NDArray) -> NDArray:
    """(1025, T) power with another colour and level, loud and soft moments nearer to each other."""
    now = smoothed(frame_levels(power))
    gain = rng.uniform(0, LEVELLED) * (now.mean() - np.maximum(now, now.mean() - 20))
    change = _colour(rng, len(power))[:, None] + gain[None]
    return np.asarray(power * np.power(10, change / 10, dtype=np.float32), dtype=np.float32)


def _filtered(rng: np.random.Generator, clip: NDArray) -> NDArray:
    """The same colour for a wave, without wrapping round."""
    size = 2 * len(clip)
    gain = 10 ** (_colour(rng, size // 2 + 1) / 20)
    return np.fft.irfft(np.fft.rfft(clip, size) * gain, size)[: len(clip)]
