"""The recipe of the score model, `suite train audio/score`. A batch is a pure function of its step, nothing is kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from domains.audio.compose.composer import Split, compose
from domains.audio.compose.score import Score
from domains.audio.controls.tags import GENRES, MOODS
from domains.audio.score import roll, wishes
from domains.audio.score.model import (
    RECIPE,
    STEPS_OF_CLIP,
    generate,
    key_vector,
    posterior,
    process,
    shifted,
    tempo_vector,
)
from domains.audio.score.piano import NETWORK
from shared import checkpoints
from shared.networks.unet import UNet, UNetConfig
from shared.noise import seeded
from shared.precision import fast_dtype
from shared.process import Process
from shared.training.loop import Batch, TrainSettings, fit
from shared.training.objectives import uniform_times

DATA: Final = {
    "name": "music composed by rule during training (domains/audio/compose)",
    "licence": "Apache-2.0",
    "attribution": "this project",
}
NO_TAG: Final = 0.1  # chance that genre, and that mood, is not told, for classifier-free guidance
NO_KEY: Final = 0.5  # chance that the key is not told
HOLES: Final = 0.35  # chance that all but a hole is written already, as it is where a piece goes on or is mended
PARTS: Final = 0.25  # chance that some parts are written already, in their whole length, as it is for accompaniments
CROPS: Final = 8  # rows cut from one piece
MEASURED: Final = 48  # pieces of the test split in the card
MATRICES: Final = "conv|film|qkv|project|stem|join|sample"  # trained by Muon: a lower loss after the same minutes
MUON_LENGTH: Final = 0.6
LOUDNESS_WEIGHT: Final = 50.0  # an error of 0.15, a quarter of the range of velocities, weighs as a nat
CONDITIONS: Final = ("wishes", "tempo", "genre", "mood", "key", "written")


@dataclass(frozen=True)
class Size:
    """What a recipe costs: rows a step, learning rate, decay of the averaged weights."""

    rows: int
    lr: float
    ema: float


SIZES: Final = {"cpu": Size(rows=16, lr=1.5e-3, ema=0.998), "gpu": Size(rows=512, lr=1e-3, ema=0.9995)}


def train(
    *, size: str = "cpu", minutes: float = 40.0, out: Path, resume: bool = False, steps: int | None = None
) -> Path:
    """Train, measure and write `out`/score.safetensors with its card; returns the path of the weights.

    steps   of the optimizer; None: as many as the minutes hold
    """
    recipe, network = SIZES[size], new_network()
    settings = TrainSettings(
        steps=steps,
        minutes=minutes,
        lr=recipe.lr,
        ema=recipe.ema,
        warmup=100,
        muon=MATRICES,
        muon_length=MUON_LENGTH,
        bf16=fast_dtype() is not None,
    )
    report = fit(network, score_loss, ScoreBatches(recipe.rows), settings=settings, out=out, resume=resume)
    network.load_state_dict(dict(report.ema))
    network = network.cpu().eval()
    card = {
        "name": RECIPE,
        "recipe": RECIPE,
        "command": f"suite train {RECIPE} --size {size}",
        "data": [DATA],
        "licence": "Apache-2.0",
        "minutes": round(report.seconds / 60, 1),
        "steps": report.step,
        "pieces": report.rows,
        "metrics": measured(network),
        "failures": "Knows the composed world alone: one band of four, sixteenths, no articulation below a sixteenth.",
    }
    path = out / "score.safetensors"
    checkpoints.save(path, network, card)
    return path


def new_network(config: UNetConfig = NETWORK, seed: int = 0) -> UNet:
    """The network at its start, the same for the same seed."""
    with seeded(seed):
        return UNet(config)


@dataclass(frozen=True)
class ScoreBatches:
    """Batches for training, `batches(step)`: x0 (B, CHANNELS, 64), and the conditions of the network."""

    rows: int
    seed: int = 0
    split: Split = "train"

    def __call__(self, step: int) -> Batch:
        rng = np.random.default_rng((self.seed, step, 3))
        rolls, asked, tempo, tags, keys, written = [], [], [], [], [], []
        for row in range(self.rows):
            score, first = excerpt(self.seed, step * -(-self.rows // CROPS) + row // CROPS, self.split, rng)
            rolls.append(roll.encode(score.notes, first, STEPS_OF_CLIP))
            bound = wishes.draw_bound(rng, STEPS_OF_CLIP)
            asked.append(wishes.joined(wishes.wishes(score, first, STEPS_OF_CLIP), bound))
            tempo.append(tempo_vector(float(score.tempo.bpm[0]), score.swing[0]))
            tags.append((GENRES.index(score.genre), MOODS.index(score.mood)))
            keys.append(key_vector(score.scale, score.tonic) * (np.nan if rng.random() < NO_KEY else 1))
            written.append(draw_written(rng))
        told = np.where(rng.random((self.rows, 2)) < NO_TAG, -1, np.array(tags))
        return {
            "x0": torch.from_numpy(np.stack(rolls)),
            "wishes": torch.from_numpy(np.stack(asked)),
            "tempo": torch.tensor(tempo),
            "key": torch.from_numpy(np.stack(keys).astype(np.float32)),
            "written": torch.from_numpy(np.stack(written)),
            "genre": torch.from_numpy(told[:, 0].copy()),
            "mood": torch.from_numpy(told[:, 1].copy()),
        }


def draw_written(rng: np.random.Generator) -> NDArray[np.float32]:
    """1 where a clip is written already (lanes, 64): nowhere; outside of a hole of a quarter of the clip or more, which
    as often as not reaches to the end; in the whole length of one to three lanes; or in both."""
    out = np.zeros((len(roll.LANES), STEPS_OF_CLIP), np.float32)
    if rng.random() < HOLES:
        start = int(rng.integers(0, 3 * STEPS_OF_CLIP // 4))
        end = int(rng.integers(start + STEPS_OF_CLIP // 4, STEPS_OF_CLIP + 1))
        out[:] = 1
        out[:, start : STEPS_OF_CLIP if rng.random() < 0.5 else end] = 0
    if rng.random() < PARTS:
        out[rng.permutation(len(roll.LANES))[: rng.integers(1, len(roll.LANES))]] = 1
    return out


@lru_cache(maxsize=2)
def _piece(seed: int, index: int, split: Split) -> Score:
    return compose(seed, index, split)


def excerpt(seed: int, index: int, split: Split, rng: np.random.Generator) -> tuple[Score, int]:
    """A piece and the sixteenth of a bar line from which a clip of it begins."""
    score = _piece(seed, index, split)
    bar = round(score.bar * 4)
    return score, bar * int(rng.integers((score.bars * bar - STEPS_OF_CLIP) // bar + 1))


def late_times(process: Process, rows: int, generator: torch.Generator) -> Tensor:
    """Times with density 2 t, (rows,): early on each entry says for itself what it is, and little is left to learn."""
    return uniform_times(process, rows, generator).sqrt()


def score_loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
    """Nats a sixteenth of whether each entry is a note, and LOUDNESS_WEIGHT times the squared error of how loud the
    notes are, over what is not written yet: (B,)."""
    x0, written = shifted(batch["x0"]), batch["written"][:, roll.LANE] > 0
    flow = process()
    times = late_times(flow, len(x0), generator)
    noise = torch.randn(x0.shape, generator=generator, device=generator.device).to(x0.device)
    x = torch.where(written, x0, flow.join(x0, noise, flow.at(times)))
    odds, amount = posterior(network)(x, times.to(x0), {name: batch[name] for name in CONDITIONS})
    note = (x0 > 0).float()
    doubt = nn.functional.binary_cross_entropy_with_logits(odds, note, reduction="none")
    error = doubt + LOUDNESS_WEIGHT * note * (amount - x0).square()
    free = ~written
    return (error * free).sum((1, 2)) / free.any(1).sum(1)


def measured(network: nn.Module, count: int = MEASURED) -> dict[str, Any]:
    """How the model follows what it is asked, on the test split: with controls, without them (floor), and the composed
    pieces themselves (ceiling)."""
    rng = np.random.default_rng(5)
    cuts = [excerpt(101, index, "test", rng) for index in range(count)]
    asked = [wishes.wishes(score, first, STEPS_OF_CLIP) for score, first in cuts]
    bound = np.ones((len(wishes.KINDS), STEPS_OF_CLIP), np.float32)
    arms: dict[str, dict[str, float]] = {}
    for name, where in (("controlled", bound), ("uncontrolled", 0 * bound)):
        made = generate(
            network,
            np.stack([wishes.joined(one, where) for one in asked]),
            tempo=[(float(score.tempo.bpm[0]), score.swing[0]) for score, _ in cuts],
            genre=[score.genre for score, _ in cuts],
            mood=[score.mood for score, _ in cuts],
            seeds=list(range(count)),
        )
        heard = [roll.encode(notes, 0, STEPS_OF_CLIP) for notes in made]
        arms[name] = _followed(heard, asked, cuts)
    arms["world"] = _followed([roll.encode(score.notes, first, STEPS_OF_CLIP) for score, first in cuts], asked, cuts)
    return {
        kind: {"value": value, "floor": arms["uncontrolled"][kind], "ceiling": arms["world"][kind], "cases": count}
        for kind, value in arms["controlled"].items()
    }


def _followed(rolls: list[NDArray], asked: list[dict[str, NDArray]], cuts: list[tuple[Score, int]]) -> dict[str, float]:
    """Share of sixteenths with the asked class alone, r of loudness and asked curve, share of pitches in the key."""
    melody, loud, inside = [], [], []
    for x, wish, (score, _) in zip(rolls, asked, cuts, strict=True):
        held = x[len(roll.LANES[0].pitches) : 2 * len(roll.LANES[0].pitches)] > 0
        classes = np.zeros((12, x.shape[1]), bool)
        for row, pitch in enumerate(roll.LANES[0].pitches):
            classes[pitch % 12] |= held[row]
        sung = wish["melody"].any(0)
        hit = (classes & (wish["melody"] > 0)).any(0) & (classes.sum(0) == 1)
        melody.append(hit[sung].mean() if sung.any() else np.nan)
        notes = roll.decode(x)
        if len(notes) > 2:
            step = np.rint(notes.onset * 4).astype(int)
            curve = wish["dynamics"][0][step]
            if curve.std() > 0.1 and notes.velocity.std() > 0:
                loud.append(np.corrcoef(curve, np.log(notes.velocity))[0, 1])
            pitched = notes.track < 3
            inside.append(np.isin(notes.pitch[pitched] % 12, score.scale).mean() if pitched.any() else np.nan)
    mean = {"melody: the asked class alone": melody, "dynamics: r with the curve": loud, "key: pitches in it": inside}
    return {name: round(float(np.nanmean(values)), 4) if len(values) else 0.0 for name, values in mean.items()}
