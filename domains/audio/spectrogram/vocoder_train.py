"""The recipe of the vocoder, `suite train audio/vocoder`, and the table that decides whether it takes over.

    loss = sum over windows 512, 1024, 2048 of (|S - S'| / |S| + mean |log S - log S'|) + mean |L - L'| / 10 dB

S, S' the magnitudes of the clip and of what the vocoder made of its mel levels L (multi-resolution STFT: Yamamoto et
al. 2020). Both are judged on instruments that training never heard, beside Griffin-Lim and the sound itself.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from domains.audio.controls.controls import Controls
from domains.audio.controls.frames import RATE
from domains.audio.evaluate import beat_f1, correlation, listen, melody_accuracy
from domains.audio.spectrogram.clips import DATA, FIRST, WaveClips, sound
from domains.audio.spectrogram.generate import Decoder
from domains.audio.spectrogram.mel import LOUDEST, SMALL_RANGE, griffin_lim, mel_levels
from domains.audio.spectrogram.vocoder import RECIPE, TAKES_OVER, WEIGHTS, Vocoder, VocoderConfig
from shared import checkpoints
from shared.errors import UserError
from shared.noise import seeded
from shared.precision import fast_dtype
from shared.training.loop import Batch, TrainSettings, fit

WINDOWS: Final = (512, 1024, 2048)
QUIETEST: Final = 1e-4  # magnitude under which a logarithm says nothing; full scale is 0.5 of the window
ROWS: Final = ("melody", "dynamics_r", "beat", "convergence", "seconds")  # of the table; the last two are to be small
SMALLER: Final = ("convergence", "seconds")
CLIP: Final = 6.0  # seconds


@dataclass(frozen=True)
class Size:
    """What the recipe trains and what it costs: clips a step and their frames, pieces composed a step and at first."""

    network: VocoderConfig
    rows: int
    lr: float
    ema: float
    frames: int = 64
    fresh: float = 0.25
    first: int = FIRST


SIZES: Final = {
    "cpu": Size(VocoderConfig(), rows=8, lr=5e-4, ema=0.998),
    "gpu": Size(VocoderConfig(), rows=64, lr=5e-4, ema=0.9995, frames=128),
}


def train(
    *,
    size: str = "cpu",
    minutes: float = 60.0,
    out: Path,
    resume: bool = False,
    steps: int | None = None,
    recipe: Size | None = None,
    count: int = 12,
) -> Path:
    """Train, measure and write `out`/vocoder.safetensors with its card; returns the path of the weights.

    steps    of the optimizer; None: as many as the minutes hold
    recipe   in place of that of the size;  count  pieces in the table of the card
    """
    if recipe is None and size not in SIZES:
        raise UserError(f"no size {size!r}", where="size", remedy=f"choose {', '.join(SIZES)}")
    own = recipe or SIZES[size]
    with seeded(0, "vocoder"):
        network = Vocoder(own.network)
    settings = TrainSettings(steps=steps, minutes=minutes, lr=own.lr, ema=own.ema, bf16=fast_dtype() is not None)
    clips = WaveClips(own.rows, own.frames, own.fresh, own.first)
    report = fit(network, vocoder_loss, clips, settings=settings, out=out, resume=resume)
    network.load_state_dict(dict(report.ema))
    network = network.cpu().eval()
    rows = ceiling(pieces(count), {"griffin_lim": griffin_lim, "vocoder": network.decode})
    card = {
        "name": RECIPE,
        "recipe": RECIPE,
        "command": f"suite train {RECIPE} --size {size}",
        "data": [DATA],
        "licence": "Apache-2.0",
        "minutes": round(report.seconds / 60, 1),
        "steps": report.step,
        "clips": report.rows,
        "metrics": rows,
        TAKES_OVER: better(rows),
        "failures": "Trained on the synth of this suite alone, without an adversary: noise and voices come out smooth.",
    }
    path = out / WEIGHTS.name
    checkpoints.save(path, network, card)
    return path


def vocoder_loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
    """(B,); see the head of this file. The first and last frames of a clip count as all others."""
    wave = batch["wave"]
    levels = mel_levels(wave)
    made = network(levels)
    total = spectral_loss(made, wave)
    floor = LOUDEST - SMALL_RANGE
    return total + (mel_levels(made).clamp_min(floor) - levels.clamp_min(floor)).abs().mean(dim=(1, 2)) / 10


def spectral_loss(made: Tensor, wave: Tensor) -> Tensor:
    """(B, n) and (B, n) -> (B,): spectral convergence and log-magnitude error at three resolutions."""
    total = wave.new_zeros(len(wave))
    for size in WINDOWS:
        a, b = (_magnitude(each, size) for each in (made, wave))
        # A clip of silence has no scale: its floor counts.
        scale = b.square().sum(dim=(1, 2)).clamp_min(QUIETEST).sqrt()
        total = total + (a - b).square().sum(dim=(1, 2)).clamp_min(1e-12).sqrt() / scale
        total = total + (a.clamp_min(QUIETEST).log() - b.clamp_min(QUIETEST).log()).abs().mean(dim=(1, 2))
    return total


def _magnitude(wave: Tensor, size: int) -> Tensor:
    """(B, bins, frames) |STFT|, smooth at 0."""
    window = torch.hann_window(size, device=wave.device)
    bins = torch.stft(wave, size, size // 4, window=window, pad_mode="constant", return_complex=True)
    return (bins.real.square() + bins.imag.square() + 1e-10).sqrt()


# ------------------------------------------------------------------------------------------------------------ the table


def pieces(count: int, seed: int = 101) -> list[tuple[Tensor, Controls]]:
    """Clips of six seconds of the split "instruments", and what their scores say."""
    found = []
    for index in range(count):
        heard = sound(seed, index, "instruments")
        samples = min(len(heard.wave), round(CLIP * RATE))
        found.append((torch.from_numpy(heard.wave[:samples].copy()), heard.controls.crop(0.0, samples / RATE)))
    return found


def ceiling(clips: Sequence[tuple[Tensor, Controls]], decoders: Mapping[str, Decoder]) -> dict[str, dict[str, Any]]:
    """What is lost between a clip and its levels decoded: one row for the sound itself, one a decoder.

    melody       share of frames whose pitch class stays what was heard in the clip;  dynamics_r  of the levels heard
    beat         F1 against the beats of the score;  convergence  |S - S'| / |S| at 2048;  seconds  a second of sound
    """
    rows: dict[str, list[dict[str, float | None]]] = {name: [] for name in ("original", *decoders)}
    for wave, controls in clips:
        own = listen(wave.numpy())
        for name in rows:
            made, spent = wave, 0.0
            if name != "original":
                levels, begin = mel_levels(wave)[None], time.process_time()
                made = decoders[name](levels, len(wave))[0]
                spent = (time.process_time() - begin) * RATE / len(wave)
            heard = own if name == "original" else listen(made.numpy())
            size = [_magnitude(each[None], 2048) for each in (made, wave)]
            rows[name].append(
                {
                    "melody": melody_accuracy(own.melody, heard.melody),
                    "dynamics_r": correlation(own.levels, heard.levels),
                    "beat": None
                    if controls.grid is None
                    else beat_f1(controls.grid.beats(controls.length), heard.beats),
                    "convergence": float((size[0] - size[1]).norm() / size[1].norm()),
                    "seconds": spent,
                }
            )
    return {name: {key: _mean([row[key] for row in many]) for key in ROWS} for name, many in rows.items()}


def better(rows: Mapping[str, Mapping[str, Any]], new: str = "vocoder", old: str = "griffin_lim") -> bool:
    """Whether a decoder may take over: better in every row, and no slower."""
    for key in ROWS:
        a, b = rows[new][key], rows[old][key]
        if a is None or b is None:
            return False
        if key == "seconds":
            if a > b:
                return False
        elif not (a < b if key in SMALLER else a > b):
            return False
    return True


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return round(float(np.mean(found)), 4) if found else None
