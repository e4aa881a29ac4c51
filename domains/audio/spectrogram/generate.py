"""From controls to sound: curves, sampler, spectrogram, wave.

    Controls -> curves -> hint -> DPM-Solver++ 2M, 20 steps, guidance 4 on the tags -> levels -> decoder -> wave

Calls of the network: `steps` without tags, twice as many with them (guidance above 1); the control is read once and
its branch runs in every call. Parts of a recording can be kept, so that the rest is filled in or it goes on.
Clips are up to 24 s; what the network's strides do not divide is padded, generated and cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from domains.audio.controls.controls import Controls
from domains.audio.controls.frames import RATE, Curves, count, frame_times, inside, rasterise
from domains.audio.controls.spans import Span
from domains.audio.extract.spectra import WINDOW
from domains.audio.spectrogram.control import hints
from domains.audio.spectrogram.level import LevelPull, LevelShift
from domains.audio.spectrogram.mel import LOUDEST, griffin_lim, mel_levels
from domains.audio.spectrogram.model import LONGEST, Spectrograms, denoiser, padded, state, told
from domains.audio.spectrogram.vocoder import TAKES_OVER, WEIGHTS, from_pretrained
from shared.adapters.card import Card
from shared.adapters.controlnet import HINT
from shared.adapters.host import host_of
from shared.errors import UserError
from shared.guidance.clamp import Clamp
from shared.guidance.classifier_free import ClassifierFree
from shared.guidance.known_region import KnownRegion
from shared.noise import PerSample
from shared.run import Guidance, RunState, Step, Transition
from shared.sample import sample
from shared.samplers.named import named

STEPS, GUIDANCE, SAMPLER = 20, 4.0, "dpmpp_2m"
FADE: Final = 0.03  # seconds in which what is kept gives way to what is made: their phases know nothing of each other
Decoder = Callable[[Tensor, int], Tensor]  # dB (B, 160, T), samples -> (B, samples)


@dataclass(frozen=True, eq=False)
class Kept:
    """What stays of a recording: wave (n,) at 22 050 Hz that begins with the clip, and the spans (seconds) to keep.

    Inside its spans the wave itself comes back, to the bit from `FADE` seconds of a border on.
    """

    wave: NDArray[np.float32]
    spans: tuple[Span, ...]


@dataclass(frozen=True, eq=False)
class Take:
    """One clip: levels (160, T) dB, wave (samples,) float32 at 22 050 Hz, network calls and back-props of its batch."""

    levels: NDArray[np.float32]
    wave: NDArray[np.float32]
    calls: int
    backprops: int


def generate(
    model: Spectrograms,
    asked: Sequence[Controls],
    *,
    seeds: Sequence[int],
    steps: int = STEPS,
    guidance: float = GUIDANCE,
    strength: float = 1.0,
    level_shift: float = 0.0,
    level_pull: float = 0.0,
    kept: Kept | None = None,
    repeats: int = 1,
    decoder: Decoder | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Take]:
    """One clip for each of the controls and its seed, of exactly their length; all must have as many samples.

    guidance      of genre and mood: 1 follows them as learned, more exaggerates;  strength  of the controls
    level_shift, level_pull   hold the dynamics to their level (level.py); 0 is the plain model
    kept          parts of a recording that stay;  repeats  times that a stretch of the way is gone with them (RePaint)
    decoder       of levels to sound; None: `usual_decoder`
    progress      called with (moves done, moves); may raise to cancel
    Raises UserError for controls, seeds or recordings that do not fit.
    """
    samples = _checked(asked, seeds)
    form, network = model.format, model.network
    frames = count(samples)
    total = padded(network, frames)
    curves = [rasterise(one, frames=frames) for one in asked]
    tags = told([one.tags for one in asked])
    guidances: list[Guidance] = []
    if guidance != 1 and not bool(tags.isnan().all()):
        guidances.append(ClassifierFree(guidance))
    if form.discrete:
        guidances.append(Clamp(-1.0, 1.0))
    guidances += _level(model, curves, total, level_shift, level_pull)
    grid = form.route(steps)
    if kept is not None:
        guidances.append(_known(model, kept, frames, total))
        grid = grid.jumps(max(1, steps // 10), repeats)
    moves = len(grid.route) - 1

    def watch(run: RunState, step: Step, tr: Transition | None) -> None:
        if progress is not None:
            progress(step.k, moves)

    with ExitStack() as stack:
        adapted: Any = network
        if any(one.given(kind) for one in asked for kind in _kinds(model)):
            card = Card(model.control, {HINT: hints(curves, model.control.config, form.level, total)}, strength)
            adapted = stack.enter_context(host_of(network).attached([card]))
        asking = denoiser(adapted, form)
        run = sample(
            asking,
            named(SAMPLER),
            grid,
            noise=PerSample(tuple(seeds)),
            shape=state(network, torch.empty(len(asked), 160, total, device="meta")).shape,
            cond={"tags": tags},
            guidance=guidances,
            observers=[watch],
        )
    levels = form.codec.decode(run.x.reshape(len(asked), 160, total)[..., :frames])
    waves = (decoder or usual_decoder())(levels, samples)
    if kept is not None:
        waves = _joined(waves, kept)
    spent = asking.spent
    return [
        Take(level.numpy(), np.asarray(wave.numpy(), dtype=np.float32), spent.calls, spent.backprops)
        for level, wave in zip(levels, waves, strict=True)
    ]


@cache
def usual_decoder(path: Path = WEIGHTS) -> Decoder:
    """The vocoder that ships, where its card says that it beats Griffin-Lim in every row; Griffin-Lim otherwise."""
    if path.is_file():
        network, card = from_pretrained(path)
        if card.get(TAKES_OVER) is True:
            return network.decode
    return griffin_lim


def _checked(asked: Sequence[Controls], seeds: Sequence[int]) -> int:
    """Samples of every clip."""
    if not asked or len(asked) != len(seeds):
        raise UserError(f"{len(asked)} controls and {len(seeds)} seeds", where="seeds", remedy="give one seed a clip")
    lengths = {one.samples(RATE) for one in asked}
    if len(lengths) > 1:
        raise UserError(f"clips of {sorted(lengths)} samples", where="controls", remedy="generate them apart")
    if asked[0].length > LONGEST:
        raise UserError(f"{asked[0].length:g} s are asked for", where="length", remedy=f"ask for at most {LONGEST:g} s")
    return lengths.pop()


def _kinds(model: Spectrograms) -> tuple[str, ...]:
    return () if model.control is None else model.control.config.kinds


def _level(model: Spectrograms, curves: Sequence[Curves], total: int, shift: float, pull: float) -> list[Guidance]:
    """The stages that hold the level, where dynamics bind anywhere."""
    where = torch.from_numpy(np.stack([each.bound("dynamics") for each in curves]))
    if not (shift or pull) or not bool(where.any()):
        return []
    wanted = torch.from_numpy(np.stack([each.dynamics[:, 0] for each in curves]))
    more = total - where.shape[1]
    wanted, where = F.pad(wanted, (0, more)), F.pad(where, (0, more))
    codec = model.format.codec
    made: list[Guidance] = [LevelPull(codec, wanted, where, pull)] if pull else []
    return [*made, LevelShift(codec, wanted, where, shift)] if shift else made


def _known(model: Spectrograms, kept: Kept, frames: int, total: int) -> KnownRegion:
    """The kept frames at every noise level: those whose whole window lies in a span."""
    if kept.wave.ndim != 1 or not len(kept.wave) or not kept.spans:
        raise UserError("nothing of the recording is kept", where="kept", remedy="give a wave and spans")
    levels = mel_levels(torch.from_numpy(np.ascontiguousarray(kept.wave, dtype=np.float32)))[..., :total]
    half, times = WINDOW / 2 / RATE, frame_times(frames)
    where = torch.from_numpy(inside(kept.spans, times - half) & inside(kept.spans, times + half))
    where = where & (torch.arange(frames) < levels.shape[-1])
    if not bool(where.any()):
        raise UserError("no frame of the clip lies in the spans", where="kept", remedy="keep more of the recording")
    known = model.format.codec.encode(F.pad(levels, (0, max(0, total - levels.shape[-1])), value=LOUDEST - 200))
    whole = F.pad(where, (0, total - frames))[None, None]  # (1, 1, T)
    return KnownRegion(state(model.network, known[None]), state(model.network, whole))


def _joined(waves: Tensor, kept: Kept) -> Tensor:
    """(B, samples) with the recording in its spans; at the ends of the clip nothing is faded."""
    samples = waves.shape[-1]
    time = np.arange(samples) / RATE
    gain = np.zeros(samples)
    for span in kept.spans:
        rise = 1.0 if span.start <= 0 else np.clip((time - span.start) / FADE, 0, 1)
        fall = 1.0 if span.end >= samples / RATE else np.clip((span.end - time) / FADE, 0, 1)
        gain = np.maximum(gain, np.minimum(rise, fall) * ((time >= span.start) & (time < span.end)))
    gain[len(kept.wave) :] = 0
    own = np.zeros(samples, dtype=np.float32)
    own[: len(kept.wave)] = kept.wave[:samples]
    share = torch.from_numpy(gain.astype(np.float32))
    return torch.where(share == 1, torch.from_numpy(own), waves + share * (torch.from_numpy(own) - waves))
