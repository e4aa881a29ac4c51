"""The segmenter of every arm: a small U-Net, Dice over the batch + cross-entropy, at least half of a batch positive.

Dice a patch would be 1 for an empty answer on an empty patch and pulls training to "nothing anywhere" when many patches
are empty; Dice over the batch does not.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from domains.medical.lesions.downstream.lesion_model import turned
from shared.noise import seeded
from shared.precision import fast_dtype
from shared.training.loop import Batch, TrainSettings, fit


class Segmenter(nn.Module):
    """Three levels of two convolutions with batch norm; the first works on 2 x 2 pixel blocks, the last unfolds them.

    forward: (B, 1, H, W) with H and W divisible by 8 -> logits (B, 1, H, W).
    """

    def __init__(self, channels: tuple[int, int, int] = (16, 32, 64)) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.fine = nn.Sequential(_layer(4, fine), _layer(fine, fine))
        self.middle = nn.Sequential(_layer(fine, middle), _layer(middle, middle))
        self.coarse = nn.Sequential(_layer(middle, coarse), _layer(coarse, coarse))
        self.up_middle, self.up_fine = _layer(coarse + middle, middle), _layer(middle + fine, fine)
        self.head = nn.Conv2d(fine, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)  # (B, 4, H/2, W/2)
        fine = self.fine(x)
        middle = self.middle(F.max_pool2d(fine, 2))
        h = self.coarse(F.max_pool2d(middle, 2))
        h = self.up_middle(torch.cat([F.interpolate(h, scale_factor=2.0), middle], 1))
        h = self.up_fine(torch.cat([F.interpolate(h, scale_factor=2.0), fine], 1))
        return F.pixel_shuffle(self.head(h), 2)


def _layer(c_in: int, c_out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True))


def segmentation_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy of each row + (1 - Dice over the whole batch): (B,). logits, masks (B, 1, H, W)."""
    logits, masks = logits.float(), masks.float()
    said = logits.sigmoid()
    dice = (2 * (said * masks).sum() + 1) / (said.sum() + masks.sum() + 1)
    return F.binary_cross_entropy_with_logits(logits, masks, reduction="none").mean((1, 2, 3)) + 1 - dice


@dataclass(frozen=True, eq=False)
class Batches:
    """Batches of the training set, a pure function of the step: turned and mirrored, half of the rows with a lesion.

    Without lesion-free patches in the set all rows have one.
    """

    images: NDArray
    masks: NDArray
    rows: int
    seed: int

    def __call__(self, step: int) -> Batch:
        rng = np.random.default_rng((self.seed, step))
        positive = np.flatnonzero(self.masks.any((1, 2)))
        empty = np.flatnonzero(~self.masks.any((1, 2)))
        free = self.rows // 2 if empty.size else 0
        rows = np.concatenate([rng.choice(positive, self.rows - free), rng.choice(empty, free) if free else empty[:0]])
        ways = rng.integers(0, 8, self.rows)
        images = [turned(self.images[r], int(way))[None] for r, way in zip(rows, ways, strict=True)]
        masks = [turned(self.masks[r], int(way))[None] for r, way in zip(rows, ways, strict=True)]
        return {"image": torch.from_numpy(np.stack(images)), "mask": torch.from_numpy(np.stack(masks))}


def train(images: NDArray, masks: NDArray, *, steps: int, rows: int, lr: float, seed: int) -> Segmenter:
    """A segmenter after `steps` steps on images (N, H, W) float32 and masks (N, H, W) bool."""
    with seeded(seed, "segmenter"):
        network: Segmenter = Segmenter().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    settings = TrainSettings(
        steps=steps, lr=lr, warmup=min(50, steps // 5), seed=seed, bf16=fast_dtype() is not None, log_every=50
    )

    def loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        return segmentation_loss(model(batch["image"]), batch["mask"])

    with tempfile.TemporaryDirectory() as folder:  # a run of seconds: nothing of it is worth keeping
        fit(network, loss, Batches(images, masks, rows, seed), settings=settings, out=Path(folder))
    return network.eval()


@torch.no_grad()
def segmented(network: nn.Module, images: NDArray, *, batch: int = 100) -> NDArray:
    """Masks (N, H, W) bool where the network sees a lesion (probability above 1/2)."""
    parts = [
        network(torch.from_numpy(images[first : first + batch, None]))[:, 0] > 0
        for first in range(0, len(images), batch)
    ]
    return np.asarray(torch.cat(parts).numpy())
