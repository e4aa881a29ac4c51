"""LeFusion in two dimensions: the process, head, sampler and histogram of the lesion app on windows of 32 pixels.

A window contains the whole lesion; the network is scored inside the lesion alone and never sees the mask, as in the
paper (the app's own network sees it). Sampling keeps everything outside the lesion at its noised real value and pastes
it back exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from domains.medical.lesions.conditioning import BINS, histogram
from domains.medical.lesions.model import SAMPLER, denoiser, route
from shared.guidance.clamp import Clamp
from shared.guidance.known_region import KnownRegion
from shared.networks.unet import UNet, UNetConfig
from shared.noise import PerSample, seeded
from shared.precision import fast_dtype
from shared.sample import sample
from shared.training.loop import Batch, TrainSettings, fit
from shared.training.objectives import denoising
from shared.training.state import FILE

WINDOW = 32
NETWORK = UNetConfig(
    dims=2, in_channels=1, out_channels=1, channels=(32, 64, 96), blocks=1, patch=2, vectors={"histogram": BINS}
)


def turned(image: NDArray, way: int) -> NDArray:
    """One of the eight ways to turn and mirror the last two axes, way in 0..7."""
    out = np.rot90(image, way % 4, axes=(-2, -1))
    return np.flip(out, -1) if way >= 4 else out


def window_start(mask: NDArray, rng: np.random.Generator, edge: int = WINDOW) -> tuple[int, int]:
    """Top left corner of a random window of `edge` pixels that contains as much of the mask as fits."""
    start = []
    for axis in (0, 1):
        places = np.flatnonzero(mask.any(1 - axis))
        first, last = (int(places[0]), int(places[-1])) if places.size else (0, mask.shape[axis] - 1)
        low, high = sorted((max(last - edge + 1, 0), min(first, mask.shape[axis] - edge)))
        start.append(int(rng.integers(max(low, 0), min(high, mask.shape[axis] - edge) + 1)))
    return start[0], start[1]


@dataclass(frozen=True, eq=False)
class Windows:
    """Training batches, a pure function of the step: random windows of random patches, turned and mirrored.

    images  (N, H, W) in [-1, 1];  masks  (N, H, W), none of them empty
    """

    images: NDArray
    masks: NDArray
    rows: int
    seed: int

    def __call__(self, step: int) -> Batch:
        rng = np.random.default_rng((self.seed, step))
        x0, masks, histograms = [], [], []
        for _ in range(self.rows):
            row, way = rng.integers(len(self.images)), int(rng.integers(8))
            y, x = window_start(self.masks[row], rng)
            block = (slice(y, y + WINDOW), slice(x, x + WINDOW))
            image, mask = turned(self.images[row][block], way), turned(self.masks[row][block], way)
            x0.append(image[None])
            masks.append(mask[None])
            histograms.append(histogram(image, mask))
        return {
            "x0": torch.from_numpy(np.stack(x0)),
            "mask": torch.from_numpy(np.stack(masks)),
            "histogram": torch.from_numpy(np.stack(histograms)),
        }


def lesion_loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
    """Squared error of v inside the lesion, divided by the lesion's size: (B,)."""
    cond = {"histogram": batch["histogram"]}
    return denoising(denoiser(network), batch["x0"], generator, cond=cond, weight=batch["mask"])


def train(images: NDArray, masks: NDArray, *, steps: int, rows: int, lr: float, seed: int, out: Path) -> UNet:
    """The averaged network after `steps` steps; goes on from what `out` holds of an earlier, interrupted run."""
    with seeded(seed):
        network = UNet(NETWORK)
    settings = TrainSettings(
        steps=steps,
        lr=lr,
        warmup=min(100, steps // 5),
        ema=0.995,
        seed=seed,
        bf16=fast_dtype() is not None,
        save_minutes=0.5,
    )
    report = fit(
        network,
        lesion_loss,
        Windows(images, masks, rows, seed),
        settings=settings,
        out=out,
        resume=(out / FILE).exists(),
    )
    network.load_state_dict(dict(report.ema))
    return network.eval()


def fill(
    network: nn.Module, images: NDArray, masks: NDArray, histograms: NDArray, seeds: Sequence[int], *, batch: int = 48
) -> NDArray:
    """Lesions with the asked histograms (N, 16) inside the masks of N patches; outside, the very same numbers.

    images (N, H, W) float32 in [-1, 1];  masks (N, H, W) bool, each within a window of 32 pixels;  seeds  one a patch
    """
    out, model, plan = images.copy(), denoiser(network, fast_dtype()), route()
    for first in range(0, len(images), batch):
        rows = range(first, min(first + batch, len(images)))
        blocks = []
        for i in rows:
            y, x = window_start(masks[i], np.random.default_rng(seeds[i]))
            blocks.append((i, slice(y, y + WINDOW), slice(x, x + WINDOW)))
        known = torch.from_numpy(np.stack([images[b] for b in blocks])[:, None])
        inside = torch.from_numpy(np.stack([masks[b] for b in blocks])[:, None])
        run = sample(
            model,
            SAMPLER,
            plan,
            noise=PerSample(tuple(int(seeds[i]) for i in rows)),
            shape=known.shape,
            cond={"histogram": torch.from_numpy(histograms[first : first + len(blocks)])},
            guidance=[Clamp(-1, 1), KnownRegion(known, ~inside)],
        )
        made = run.x[:, 0].float().numpy()
        for block, patch, where in zip(blocks, made, inside[:, 0].numpy(), strict=True):
            out[block][where] = patch[where]
    return out
