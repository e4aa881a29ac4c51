"""Recipes of the shape model and of its control: `suite train image/shapes`, `suite train image/shapes-edges`.

The data is made as it is needed: a batch is a pure function of its step, so a run needs no files and never sees a
scene twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from domains.image.control.model import (
    CONTROL_RECIPE,
    CONTROL_WEIGHTS,
    NETWORK,
    RECIPE,
    WEIGHTS,
    ShapeModel,
    denoiser,
    values,
)
from domains.image.control.proof import caption_metrics, edge_metrics, not_above_floor
from domains.image.shapes.annotations import KINDS, edges, semantics
from domains.image.shapes.captions import promise, roles
from domains.image.shapes.render import render
from domains.image.shapes.sampling import sample_scenes
from domains.image.shapes.scene import Scenes
from shared import checkpoints
from shared.adapters import files
from shared.adapters.controlnet import HINT, ControlNet, ControlNetConfig
from shared.adapters.host import host_of
from shared.adapters.train import training
from shared.networks.dit import DiT, DiTConfig
from shared.networks.layers import depth_to_space
from shared.noise import seeded
from shared.precision import fast_dtype
from shared.process import Process
from shared.training.loop import Batch, TrainReport, TrainSettings, fit
from shared.training.objectives import denoising

DATA: Final = {
    "name": "pictures of the shape world, drawn during training (domains/image/shapes)",
    "licence": "Apache-2.0",
    "attribution": "this project",
}
DROPPED: Final = 0.1  # of the captions, for classifier-free guidance (Ho and Salimans 2022)
# Trained by Muon: the same loss after fewer pictures.
MATRICES: Final = r"^network\.(blocks\.\d+\.(attention|mlp)\.|local\.(down|coarser|read|write|up|finer)\.)"
READ: Final = 1  # the block after which labels are read
LABELS: Final = 0.05  # weight of their cross-entropy beside the denoising loss
GROUND: Final = 0.3  # weight of the background's pixels in it
MUON_LENGTH: Final = 0.6
NO_WORDS: Final = 0.3  # of the captions while the control learns, so that edges act without words, too
NO_EDGES: Final = 0.15  # of the edges, so that the caption still counts beside them
WARMUP: Final = 100  # steps
LABEL: Final = "labels"  # of a batch


@dataclass(frozen=True)
class Size:
    """What a recipe costs: pictures a step, learning rate, decay of the averaged weights."""

    rows: int
    lr: float
    ema: float


SIZES: Final = {"cpu": Size(rows=24, lr=2e-3, ema=0.998), "gpu": Size(rows=256, lr=1e-3, ema=0.9995)}


def train(*, size: str = "cpu", minutes: float = 60.0, out: Path, resume: bool = False) -> Path:
    """Train, measure and write `out`/shapes.safetensors with its card; returns the path of the weights.

    The steps are as many as fit into the minutes, so that a busy machine costs quality and not time.
    """
    recipe, reader = SIZES[size], Reader(new_network())
    settings = TrainSettings(
        steps=None,
        minutes=minutes,
        lr=recipe.lr,
        warmup=WARMUP,
        muon=MATRICES,
        muon_length=MUON_LENGTH,
        ema=recipe.ema,
        bf16=fast_dtype() is not None,
    )
    report = fit(reader, labelled_loss, ShapeBatches(recipe.rows), settings=settings, out=out, resume=resume)
    reader.load_state_dict(dict(report.ema))
    network = reader.network
    card = _card(RECIPE, size, report)
    card |= _measured(caption_metrics(ShapeModel(network.cpu(), {}, autocast=fast_dtype())))
    path = out / WEIGHTS.name
    checkpoints.save(path, network, card)
    return path


def train_edges(*, size: str = "cpu", minutes: float = 15.0, out: Path, resume: bool = False) -> Path:
    """Train a ControlNet for edges beside the shipped base; writes `out`/edges.safetensors with its card."""
    recipe, (network, _) = SIZES[size], checkpoints.load(WEIGHTS, recipe=RECIPE)
    host = host_of(network)
    with seeded(0, "control"):
        control = ControlNet(host, ControlNetConfig(channels=1))
    settings = TrainSettings(
        steps=None, minutes=minutes, lr=recipe.lr / 2, warmup=50, ema=0.99, bf16=fast_dtype() is not None
    )
    with training(network, control) as trainee:
        report = fit(trainee, shape_loss, EdgeBatches(recipe.rows), settings=settings, out=out, resume=resume)
        trainee.load_state_dict(dict(report.ema))
    trainee.cpu()
    card = _card(CONTROL_RECIPE, size, report)
    card |= _measured(edge_metrics(ShapeModel(network, {}, control=control, autocast=fast_dtype())))
    path = out / CONTROL_WEIGHTS.name
    files.save(path, control, host, card)
    return path


def _card(recipe: str, size: str, report: TrainReport) -> dict[str, Any]:
    return {
        "name": recipe,
        "recipe": recipe,
        "command": f"suite train {recipe} --size {size}",
        "data": [DATA],
        "licence": "Apache-2.0",
        "minutes": round(report.seconds / 60, 1),
        "steps": report.step,
        "pictures": report.rows,
        "failures": "Knows the shape world alone: 32 x 32 pixels, up to three things; other pictures do not come out.",
    }


def _measured(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {"metrics": metrics, "not above its floor": not_above_floor(metrics)}


def new_network(config: DiTConfig = NETWORK, seed: int = 0) -> DiT:
    """The network at its start, the same for the same seed."""
    with seeded(seed):
        return DiT(config)


class Reader(nn.Module):
    """A network, and beside it while it learns a linear layer that reads from its tokens what every pixel shows.

    (x, time, cond) -> what the network says, and log-odds of the labels (B, KINDS, 32, 32)
    Where things lie and which shape they have is little of the error of a picture, and learned late; a loss of their
    own asks for them half-way, where Yu et al. 2025 (REPA) ask for features of another network.
    """

    def __init__(self, network: DiT) -> None:
        super().__init__()
        self.network = network
        self.labels = nn.Linear(network.config.width, KINDS * math.prod(network.config.patch_by_axis))

    def forward(self, x: Tensor, time: Tensor, cond: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        seen: list[Tensor] = []
        handle = self.network.blocks[READ].register_forward_hook(lambda block, given, tokens: seen.append(tokens))
        with handle:
            said = self.network(x, time, cond)
        patch = self.network.config.patch_by_axis
        cells = tuple(n // p for n, p in zip(x.shape[2:], patch, strict=True))
        tokens = F.layer_norm(seen[0][:, : math.prod(cells)], seen[0].shape[-1:])  # the words come last
        return said, depth_to_space(self.labels(tokens).transpose(1, 2).unflatten(2, cells), patch)


class Kept(nn.Module):
    """A Reader as the core asks a network; the labels that it read last are kept."""

    def __init__(self, reader: nn.Module) -> None:
        super().__init__()
        self.reader = reader
        self.read: Tensor | None = None

    def forward(self, x: Tensor, time: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        said, self.read = self.reader(x, time, cond)
        out: Tensor = said
        return out


@dataclass(frozen=True)
class ShapeBatches:
    """Batches, `batches(step)`: x0 (B, 3, 32, 32), what their captions say, text (B, 15), and labels (B, 32, 32)."""

    rows: int
    seed: int = 0

    def __call__(self, step: int) -> Batch:
        scenes = sample_scenes(self.seed, self.rows, "train", batch=step)
        return {**_batch(scenes, self.seed, step, DROPPED), LABEL: torch.from_numpy(semantics(scenes))}


@dataclass(frozen=True)
class EdgeBatches:
    """The same, with the edges of the scenes as the hint (B, 1, 32, 32), NaN where they are left away."""

    rows: int
    seed: int = 2

    def __call__(self, step: int) -> Batch:
        scenes = sample_scenes(self.seed, self.rows, "train", batch=step)
        hint = torch.from_numpy(edges(scenes))[:, None]
        hint[np.random.default_rng((self.seed, step, 2)).random(self.rows) < NO_EDGES] = torch.nan
        return {**_batch(scenes, self.seed, step, NO_WORDS), HINT: hint}


def _batch(scenes: Scenes, seed: int, step: int, dropped: float) -> Batch:
    rng = np.random.default_rng((seed, step, 1))
    text = np.stack([roles(promise(scenes[row], rng)) for row in range(len(scenes))])
    text[rng.random(len(scenes)) < dropped] = 0
    return {"x0": values(render(scenes)), "text": torch.from_numpy(text)}


def logit_normal_times(process: Process, rows: int, generator: torch.Generator) -> Tensor:
    """t = sigmoid(z), z ~ N(-0.2, 1.2^2), spread evenly over a batch (Esser et al. 2024): (rows,) float64."""
    shift = torch.rand((), generator=generator, dtype=torch.float64, device=generator.device).cpu()
    even = ((torch.arange(rows, dtype=torch.float64) / rows + shift) % 1).clamp(1e-6, 1 - 1e-6)
    clean, noisy = process.ends
    return clean + (noisy - clean) * torch.sigmoid(1.2 * torch.special.ndtri(even) - 0.2)


def labelled_loss(reader: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
    """`shape_loss` of a Reader, and the cross-entropy of the labels that it reads: (B,)."""
    kept = Kept(reader)
    error = shape_loss(kept, batch, generator)
    assert kept.read is not None
    weight = torch.ones(KINDS, device=error.device)
    weight[0] = GROUND
    surprise = F.cross_entropy(kept.read.float(), batch[LABEL], weight=weight, reduction="none")
    return error + LABELS * surprise.mean((1, 2))


def shape_loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
    """Squared error of what the network says, of unit size at every level, at logit-normal times: (B,)."""
    cond = {name: batch[name] for name in ("text", HINT) if name in batch}
    return denoising(denoiser(network), batch["x0"], generator, cond=cond, times=logit_normal_times)
