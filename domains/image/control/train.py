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
from domains.image.shapes.captions import promise, roles
from domains.image.shapes.render import render
from domains.image.shapes.sampling import sample_scenes
from shared import checkpoints
from shared.networks.dit import DiT, DiTConfig
from shared.noise import stream
from shared.precision import fast_dtype
from shared.process import Process
from shared.training.loop import Batch, TrainSettings, fit
from shared.training.objectives import denoising
from shared.training.state import FILE as STATE

DROPPED: Final = 0.1  # of the captions, for classifier-free guidance (Ho and Salimans 2022)
DATA: Final = {
    "name": "pictures of the shape world, drawn during training (domains/image/shapes)",
    "licence": "Apache-2.0",
    "attribution": "this project",
}


FOREVER: Final = 10**7  # steps: the minutes end the steady part
COOLING: Final = 0.2  # of the minutes: the rate falls to 0 at the end (warm-up, stable, decay: Hu et al. 2024)


@dataclass(frozen=True)
class Size:
    """What a recipe costs: pictures a step, learning rate, decay of the averaged weights."""

    rows: int
    lr: float
    ema: float


SIZES: Final = {"cpu": Size(rows=16, lr=2e-3, ema=0.998), "gpu": Size(rows=256, lr=1e-3, ema=0.9995)}


def train(*, size: str = "cpu", minutes: float = 60.0, out: Path, resume: bool = False) -> Path:
    """Train, measure and write `out`/shapes.safetensors with its card; returns the path of the weights.

    Two runs: a steady one, and a short one that goes on from it on other data while the learning rate falls to 0. The
    steps are as many as fit into the minutes, so that a busy machine costs quality and not time.
    """
    recipe, network = SIZES[size], new_network()
    steady, cooling = out / "steady", out / "cooling"
    rate = {"lr": recipe.lr, "ema": recipe.ema, "bf16": fast_dtype() is not None}
    first = fit(
        network,
        shape_loss,
        ShapeBatches(recipe.rows),
        settings=TrainSettings(steps=FOREVER, minutes=minutes * (1 - COOLING), schedule="constant", warmup=100, **rate),
        out=steady,
        resume=resume and (steady / STATE).exists(),
    )
    last = fit(
        network,
        shape_loss,
        ShapeBatches(recipe.rows, seed=1),
        settings=TrainSettings(steps=None, minutes=minutes * COOLING, warmup=1, **rate),
        out=cooling,
        resume=resume and (cooling / STATE).exists(),
    )
    network.load_state_dict(dict(last.ema))
    card = {
        "name": RECIPE,
        "recipe": RECIPE,
        "command": f"suite train {RECIPE} --size {size}",
        "data": [DATA],
        "licence": "Apache-2.0",
        "minutes": round((first.seconds + last.seconds) / 60, 1),
        "steps": first.step + last.step,
        "pictures": first.rows + last.rows,
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
    """Batches for training, `batches(step)`: x0 (B, 3, 32, 32) and what their captions say, text (B, 15)."""

    rows: int
    seed: int = 0

    def __call__(self, step: int) -> Batch:
        scenes = sample_scenes(self.seed, self.rows, "train", batch=step)
        rng = np.random.default_rng((self.seed, step, 1))
        text = np.stack([roles(promise(scenes[row], rng)) for row in range(self.rows)])
        text[rng.random(self.rows) < DROPPED] = 0
        return {"x0": values(render(scenes)), "text": torch.from_numpy(text)}


def logit_normal_times(process: Process, rows: int, generator: torch.Generator) -> Tensor:
    """t = sigmoid(z), z ~ N(-0.2, 1.2^2), spread evenly over a batch (Esser et al. 2024): (rows,) float64."""
    shift = torch.rand((), generator=generator, dtype=torch.float64, device=generator.device).cpu()
    even = ((torch.arange(rows, dtype=torch.float64) / rows + shift) % 1).clamp(1e-6, 1 - 1e-6)
    clean, noisy = process.ends
    return clean + (noisy - clean) * torch.sigmoid(1.2 * torch.special.ndtri(even) - 0.2)


def shape_loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
    """Squared error of what the network says, of unit size at every level, at logit-normal times: (B,)."""
    return denoising(denoiser(network), batch["x0"], generator, cond={"text": batch["text"]}, times=logit_normal_times)
