"""What music is read by: features of its notes and of its sound, and a logistic regression for genre and mood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from domains.audio.compose.score import ROLES, STEP, Notes, Score, level_of

RATE: Final = 22_050  # Hz, mono
MELS, WINDOW, HOP = 64, 2048, 512
BOOTSTRAPS: Final = 1000

# -- features --------------------------------------------------------------------------------------


def score_features(score: Score) -> NDArray:
    """What a musician would count: pace, swing, metre, range of level, touch of each part, tones of the melody."""
    pace = [np.log(score.tempo.bpm[0]), score.swing[0], score.bar, float(np.std(score.dynamics))]
    parts = [score.part(role) for role in ROLES]
    return np.array([*pace, *touch(parts, score.bars), *degrees(parts[0], score.tonic)])


def touch(parts: Sequence[Notes], bars: float) -> list[float]:
    """Of each part: notes a bar, mean pitch, length and level, shares off the beat and on odd sixteenths, leaps."""
    out: list[float] = []
    for notes in parts:
        if not len(notes):
            out += [0.0] * 7
            continue
        place = notes.onset % 1
        offbeat = float((place > 0).mean())
        sixteenth = float(np.isin(place, (STEP, 3 * STEP)).mean())
        level = float(level_of(notes.velocity).mean())
        jump = float(np.abs(np.diff(notes.pitch)).mean()) if len(notes) > 1 else 0.0
        out += [len(notes) / bars, notes.pitch.mean(), notes.duration.mean(), level, offbeat, sixteenth, jump]
    return out


def degrees(notes: Notes, tonic: int) -> NDArray:
    """(12,) share of the notes on each step above the tonic."""
    return np.bincount((notes.pitch - tonic) % 12, minlength=12) / max(len(notes), 1)


def mel_bank() -> torch.Tensor:
    """(MELS, bins) triangles on the mel scale from 40 Hz to 10 kHz."""
    mel = torch.linspace(2595 * np.log10(1 + 40 / 700), 2595 * np.log10(1 + 10_000 / 700), MELS + 2)
    edge = 700 * (10 ** (mel / 2595) - 1)
    bins = torch.linspace(0, RATE / 2, WINDOW // 2 + 1)
    rising = (bins - edge[:-2, None]) / (edge[1:-1] - edge[:-2])[:, None]
    falling = (edge[2:, None] - bins) / (edge[2:] - edge[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp_min(0)


def sound_features(wave: NDArray, bank: torch.Tensor) -> NDArray:
    """Log-mel mean, deviation and mean absolute change of each band, chroma, and the autocorrelation of the onsets."""
    x = torch.from_numpy(np.ascontiguousarray(wave, np.float32))
    power = torch.stft(x, WINDOW, HOP, window=torch.hann_window(WINDOW), return_complex=True).abs() ** 2
    logged = 10 * torch.log10(bank @ power + 1e-7)
    change = logged.diff(dim=1)
    onset = change.clamp_min(0).mean(0)
    onset = onset - onset.mean()
    beat = torch.stack([(onset[lag:] * onset[:-lag]).mean() for lag in range(4, 64, 2)]) / (
        onset.square().mean() + 1e-9
    )
    level = 10 * torch.log10(power.sum(0) + 1e-7)
    quarters = torch.stack([part.mean() for part in level.tensor_split(4)])
    bins = torch.arange(12, 400)
    pitch = (12 * torch.log2(bins * RATE / WINDOW / 440)).round().long() % 12
    chroma = torch.zeros(12).index_add_(0, pitch, power[12:400].mean(1))
    ranked = (chroma / chroma.sum().clamp_min(1e-12)).sort(descending=True).values
    parts = (logged.mean(1), logged.std(1), change.abs().mean(1), beat, quarters, level.std()[None], ranked)
    return torch.cat(parts).numpy()


# -- reading the styles ----------------------------------------------------------------------------


def readings(x: NDArray, y: NDArray, new: NDArray) -> NDArray:
    """Labels that a logistic regression, fitted to (x, y) with a ridge, gives to `new`."""
    mean, std = x.mean(0), x.std(0) + 1e-6
    inside, outside = (torch.from_numpy((part - mean) / std).float() for part in (x, new))
    wanted = torch.from_numpy(y)
    weight = torch.zeros(inside.shape[1], 10, requires_grad=True)
    bias = torch.zeros(10, requires_grad=True)
    step = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        step.zero_grad()
        value = torch.nn.functional.cross_entropy(inside @ weight + bias, wanted) + 1e-3 * weight.square().sum()
        value.backward()
        return value

    step.step(loss)
    with torch.no_grad():
        return (outside @ weight + bias).argmax(1).numpy()


def interval(hits: NDArray) -> tuple[float, float, float]:
    """Mean of the hits with its 95 % bootstrap interval over pieces."""
    rng = np.random.default_rng(0)
    means = rng.choice(hits, (BOOTSTRAPS, len(hits))).mean(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(hits.mean()), float(low), float(high)
