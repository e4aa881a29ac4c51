"""The score model: a piano roll of some bars from genre, mood, tempo and the controls that bind.

A transformer over time, a beat a token (DiT, Peebles and Xie 2023), preconditioned as in Karras et al. 2022 on the path
of a rectified flow (Liu et al. 2023), x_t = (1 - t) x0 + t n; bits are written as -1 and 1 (analog bits, Chen et al.
2023). Classifier-free guidance acts on genre and mood alone, as in Music ControlNet: both passes know the controls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from domains.audio.compose.score import Notes
from domains.audio.controls.tags import GENRES, MOODS
from domains.audio.score import roll, wishes
from shared.denoiser import Denoiser, edm_head
from shared.errors import UserError
from shared.grid import Grid, own_times
from shared.guidance.classifier_free import ClassifierFree
from shared.networks.dit import DiTConfig
from shared.noise import PerSample
from shared.process import Process, flow
from shared.run import Observer, RunState, Step, Transition
from shared.sample import sample
from shared.samplers.named import named

RECIPE: Final = "audio/score"
STEPS_OF_CLIP: Final = 64  # sixteenths: four bars of 4/4
DATA_STD: Final = 1.0  # root mean square of a roll
NOISIEST: Final = 0.999
TEMPO_MIDDLE, TEMPO_SPAN = 4.7, 0.3  # log of quarter notes a minute: mean and deviation over the genres

NETWORK: Final = DiTConfig(
    dims=1,
    in_channels=roll.CHANNELS,
    out_channels=roll.CHANNELS,
    width=256,
    layers=5,  # six are more than a checkpoint may hold
    heads=4,
    patch=4,
    base=100.0,
    vectors={"tempo": 2},
    classes={"genre": len(GENRES), "mood": len(MOODS)},
    images={"wishes": wishes.CHANNELS},
)


def process() -> Process:
    """Rectified flow."""
    return flow()


def denoiser(network: nn.Module, *, cond: dict[str, Tensor] | None = None) -> Denoiser:
    """The network as the core sees it; the null condition keeps controls and tempo and forgets genre and mood."""
    null = None
    if cond is not None:
        null = {
            name: torch.full_like(value, -1) if name in ("genre", "mood") else value for name, value in cond.items()
        }
    return Denoiser(network, process(), edm_head(DATA_STD), null=null)


def route(steps: int) -> Grid:
    """Equal steps of the clock from noise to score."""
    return own_times(process(), torch.linspace(NOISIEST, 0, steps + 1, dtype=torch.float64))


def tempo_vector(bpm: float, swing: float) -> tuple[float, float]:
    """What the network is told of the tempo (quarter notes a minute) and of swing (0.5 is straight)."""
    return (float(np.log(bpm)) - TEMPO_MIDDLE) / TEMPO_SPAN, (swing - 0.5) * 10


def generate(
    network: nn.Module,
    asked: NDArray,
    *,
    tempo: Sequence[tuple[float, float]],
    genre: Sequence[str | None],
    mood: Sequence[str | None],
    seeds: Sequence[int],
    steps: int = 20,
    guidance: float = 3.0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Notes]:
    """One piece a row.

    asked    (B, CHANNELS of wishes, sixteenths) from `wishes.joined`
    tempo    (quarter notes a minute, swing) a row;  genre, mood   words of controls/tags.py, None for any
    guidance of genre and mood, 1 is plain;  progress   called with (steps done, steps); may raise to cancel
    Raises UserError for rows that do not fit one another.
    """
    rows = len(asked)
    if not rows == len(tempo) == len(genre) == len(mood) == len(seeds):
        raise UserError(f"{rows} rows of controls, {len(seeds)} seeds", where="score", remedy="give one of each a row")
    cond: dict[str, Any] = {
        "wishes": torch.from_numpy(np.ascontiguousarray(asked, np.float32)),
        "tempo": torch.tensor([tempo_vector(*pair) for pair in tempo]),
        "genre": torch.tensor([-1 if word is None else GENRES.index(word) for word in genre]),
        "mood": torch.tensor([-1 if word is None else MOODS.index(word) for word in mood]),
    }

    def watch(state: RunState, step: Step, tr: Transition | None) -> None:
        if tr is not None and progress is not None:
            progress(step.k, steps)

    observers: list[Observer] = [watch]
    run = sample(
        denoiser(network, cond=cond),
        named("dpmpp_2m"),
        route(steps),
        noise=PerSample(tuple(seeds)),
        shape=(rows, roll.CHANNELS, asked.shape[-1]),
        cond=cond,
        guidance=[ClassifierFree(guidance)],
        observers=observers,
    )
    return [roll.decode(x) for x in run.x.numpy()]
