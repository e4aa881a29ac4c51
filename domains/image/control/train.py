"""Recipes of the shape model: `suite train image/shapes`.

The data is made as it is needed: a batch is a pure function of its step, so a run needs no files and never sees a
scene twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from domains.image.control.model import NETWORK, RECIPE, WEIGHTS, denoiser, values
from domains.image.shapes.captions import phrase, promise, tokens
from domains.image.shapes.render import render
from domains.image.shapes.sampling import sample_scenes
from shared import checkpoints
from shared.networks.dit import DiT, DiTConfig
from shared.noise import stream
from shared.precision import fast_dtype
from shared.process import Process
from shared.training.loop import Batch, TrainSettings, fit
from shared.training.objectives import denoising

DROPPED: Final = 0.1  # of the captions, for classifier-free guidance (Ho and Salimans 2022)
DATA: Final = {
    "name": "pictures of the shape world, drawn during training (domains/image/shapes)",
    "licence": "Apache-2.0",
    "attribution": "this project",
}


@dataclass(frozen=True)
class Size:
    """What a recipe costs: steps (None: as many as fit), pictures a step, peak learning rate."""

    steps: int | None
    rows: int
    lr: float


SIZES: Final = {"cpu": Size(None, 32, 1e-3), "gpu": Size(60_000, 256, 1e-3)}


def train(*, size: str = "cpu", minutes: float = 60.0, out: Path, resume: bool = False) -> Path:
    """Train, measure and write `out`/shapes.safetensors with its card; returns the path of the weights."""
    recipe = SIZES[size]
    network = new_network()
    settings = TrainSettings(
        steps=recipe.steps, minutes=minutes, lr=recipe.lr, warmup=200, bf16=fast_dtype() is not None, ema=0.998
    )
    report = fit(network, shape_loss, ShapeBatches(recipe.rows), settings=settings, out=out, resume=resume)
    network.load_state_dict(dict(report.ema))
    card = {
        "name": RECIPE,
        "recipe": RECIPE,
        "command": f"suite train {RECIPE} --size {size}",
        "data": [DATA],
        "licence": "Apache-2.0",
        "minutes": round(report.seconds / 60, 1),
        "steps": report.step,
        "pictures": report.rows,
        "metrics": {},
    }
    path = out / WEIGHTS.name
    checkpoints.save(path, network, card)
    return path


def new_network(config: DiTConfig = NETWORK, seed: int = 0) -> DiT:
    """The network at its start, the same for the same seed."""
    with torch.random.fork_rng([]):
        torch.manual_seed(stream(seed, 0, "weights").initial_seed())
        return DiT(config)


@dataclass(frozen=True)
class ShapeBatches:
    """Batches for training, `batches(step)`: x0 (B, 3, 32, 32) and the words of captions, text (B, L)."""

    rows: int
    seed: int = 0

    def __call__(self, step: int) -> Batch:
        scenes = sample_scenes(self.seed, self.rows, "train", batch=step)
        rng = np.random.default_rng((self.seed, step, 1))
        captions = [phrase(promise(scenes[row], rng), rng) for row in range(self.rows)]
        ids = tokens(captions)
        ids[rng.random(self.rows) < DROPPED] = 0
        longest = max(1, int((ids > 0).sum(1).max()))
        return {"x0": values(render(scenes)), "text": torch.from_numpy(ids[:, :longest].copy())}


def logit_normal_times(process: Process, rows: int, generator: torch.Generator) -> Tensor:
    """t = sigmoid(z), z ~ N(0, 1), spread evenly over a batch (Esser et al. 2024): (rows,) float64."""
    shift = torch.rand((), generator=generator, dtype=torch.float64, device=generator.device).cpu()
    even = ((torch.arange(rows, dtype=torch.float64) / rows + shift) % 1).clamp(1e-6, 1 - 1e-6)
    clean, noisy = process.ends
    return clean + (noisy - clean) * torch.sigmoid(torch.special.ndtri(even))


def shape_loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
    """Squared error of the velocity at logit-normal times: (B,)."""
    return denoising(denoiser(network), batch["x0"], generator, cond={"text": batch["text"]}, times=logit_normal_times)
