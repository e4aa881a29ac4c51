"""Recipes of the spectrogram engine: `suite train audio/spectrogram`, `suite train audio/spectrogram-control`.

The first makes the base, which knows genre and mood; the second a control beside the frozen base. Clips are made as
they are needed (clips.py), a batch is a pure function of its step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from domains.audio.compose.composer import Split
from domains.audio.controls.tags import Tags
from domains.audio.spectrogram.clips import DATA, FIRST, Piece, cut, learned, piece, start, statistics, window
from domains.audio.spectrogram.control import ControlConfig, SpectrogramControl, hint
from domains.audio.spectrogram.masking import PARTIAL, draw_bound
from domains.audio.spectrogram.measure import measured, validation
from domains.audio.spectrogram.mel import SMALL_RANGE
from domains.audio.spectrogram.model import (
    CONTROL_RECIPE,
    FOLDER,
    FRAMES,
    PAPER,
    RECIPE,
    SMALL,
    SMALL_DIT,
    SMALL_UNET,
    Format,
    NetworkConfig,
    Says,
    Spectrograms,
    denoiser,
    new_network,
    told,
)
from domains.audio.spectrogram.prior import PriorUNet
from shared import checkpoints
from shared.adapters import files
from shared.adapters.controlnet import HINT
from shared.adapters.host import host_of
from shared.adapters.train import training
from shared.errors import UserError
from shared.noise import seeded
from shared.precision import fast_dtype
from shared.training.loop import Batch, TrainReport, TrainSettings, fit
from shared.training.objectives import Target, denoising

NO_TAGS: Final = 0.1  # of the clips are told neither, for classifier-free guidance; the paper does not say
NO_TAG: Final = 0.1  # of the others, for either of the two
MEASURED: Final = 24  # clips in the card


@dataclass(frozen=True)
class Size:
    """What a recipe trains and what it costs.

    network   its configuration;  says, discrete, range  see model.Format and mel.Codec
    paper     all as in Music ControlNet: eps and L1, no chords, no mask channels, the melody as extracted
    rows      clips a step;  lr, warmup, ema  of the training;  fresh  pieces composed a step,
              and `first` before the first one
    muon      matrices of the base that Muon trains (shared/training/muon.py), empty for none;  beside  of the control
    """

    network: NetworkConfig
    says: Says
    rows: int
    lr: float
    ema: float
    fresh: float
    warmup: int = 200
    frames: int = FRAMES
    first: int = FIRST
    paper: bool = False
    muon: str = ""
    beside: str = ""


CONVOLUTIONS: Final = "conv|film|sample|stem|join"
BESIDE: Final = "conv|film|sample|enter|mlps|zeros"
LINEAR: Final = "attention|mlp|modulation|input"
SIZES: Final = {
    "cpu": Size(SMALL, "x0", rows=16, lr=1e-3, ema=0.998, fresh=0.5, muon=CONVOLUTIONS, beside=BESIDE),
    "gpu": Size(SMALL, "x0", rows=128, lr=1e-3, ema=0.9995, fresh=0.1, muon=CONVOLUTIONS, beside=BESIDE),
    "unet": Size(SMALL_UNET, "v", rows=16, lr=1e-3, ema=0.998, fresh=0.5, muon=CONVOLUTIONS),
    "dit": Size(SMALL_DIT, "x0", rows=16, lr=1e-3, ema=0.998, fresh=0.5, muon=LINEAR),
    "paper": Size(PAPER, "eps", rows=24, lr=1e-4, ema=0.9995, fresh=0.5, warmup=1000, paper=True),
}
MUON_LENGTH: Final = 0.4
TARGETS: Final[Mapping[Says, tuple[Target, Any]]] = {"eps": ("eps", "l1"), "v": ("head", "l2"), "x0": ("v", "l2")}


def train(
    *,
    size: str = "cpu",
    minutes: float = 120.0,
    out: Path,
    resume: bool = False,
    steps: int | None = None,
    recipe: Size | None = None,
    count: int = MEASURED,
) -> Path:
    """Train, measure and write the base, `out`/spectrogram.safetensors, with its card; returns the path.

    steps    of the optimizer; None: as many as the minutes hold
    recipe   in place of that of the size;  count  clips that are generated for the card
    """
    own = recipe or _size(size)
    codec, level = statistics(SMALL_RANGE, own.paper, own.first // 2)
    form = Format(own.says, own.paper, codec, level)
    network = fresh(own, form)
    report = fit(
        network,
        loss_of(form),
        Clips(own, form),
        settings=_settings(own, own.muon, minutes, steps),
        out=out,
        resume=resume,
    )
    network.load_state_dict(dict(report.ema))
    model = Spectrograms(network.cpu().eval(), form, {})
    metrics = validation(model, Clips(own, form, seed=101, split="test")) | measured(model, count, own.frames)
    card = _card(RECIPE, size, report) | {"format": form.card(), "metrics": metrics}
    path = out / file_of(size, control=False).name
    checkpoints.save(path, network, card)
    return path


def train_control(
    *,
    size: str = "cpu",
    minutes: float = 60.0,
    out: Path,
    resume: bool = False,
    steps: int | None = None,
    recipe: Size | None = None,
    base: Path | None = None,
    partial: float = PARTIAL,
    count: int = MEASURED,
) -> Path:
    """Train the controls beside a base that stays as it is; writes `out`/spectrogram_control.safetensors.

    base      the checkpoint of the base; None: the one of this size that is shipped
    partial   chance that spans of the controls are dropped; 0 is the "full" scheme that the paper compares with
    """
    own = recipe or _size(size)
    whole = Spectrograms.from_pretrained(file_of(size, control=False) if base is None else base, control=None)
    network, form = whole.network, whole.format
    with seeded(0, "control"):
        control = SpectrogramControl(host_of(network), ControlConfig.of(paper_exact=own.paper))
    clips = Clips(own, form, seed=2, control=control.config, partial=partial)
    with training(network, control) as trainee:
        report = fit(
            trainee, loss_of(form), clips, settings=_settings(own, own.beside, minutes, steps), out=out, resume=resume
        )
        trainee.load_state_dict(dict(report.ema))
    trainee.cpu()
    model = Spectrograms(network, form, whole.card, control.eval())
    card = _card(CONTROL_RECIPE, size, report) | {"partial": partial, "metrics": measured(model, count, own.frames)}
    path = out / file_of(size, control=True).name
    files.save(path, control, host_of(network), card)
    return path


def fresh(size: Size, form: Format) -> nn.Module:
    """The network at its start; a filter in front of it has learned from the first pieces."""
    network = new_network(size.network)
    if isinstance(network, PriorUNet):
        network.learn([form.codec.encode(torch.from_numpy(one).float()) for one in learned(size.first)])
    return network


def file_of(size: str, *, control: bool) -> Path:
    """Where the checkpoint of a size ships; the small ones share a name, since one of them will."""
    return FOLDER / f"spectrogram{'_paper' * (size == 'paper')}{'_control' * control}.safetensors"


def loss_of(form: Format) -> Callable[[nn.Module, Batch, torch.Generator], Tensor]:
    """The error of what the network says, or of x0 where it says that: (B,); L1 for the paper's eps."""
    target, norm = TARGETS[form.says]

    def loss(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        cond = {name: value for name, value in batch.items() if name != "x0"}
        return denoising(denoiser(network, form), batch["x0"], generator, cond=cond, target=target, norm=norm)

    return loss


@dataclass(frozen=True)
class Clips:
    """Batches, `clips(step)`: x0 as the network takes it, tags (B, 20), and with a control its hint (B, C, T).

    partial   see masking.py;  split  of the composed world; only "train" tells less than is true
    """

    size: Size
    form: Format
    seed: int = 0
    split: Split = "train"
    control: ControlConfig | None = None
    partial: float = PARTIAL

    def __call__(self, step: int) -> Batch:
        size, rng = self.size, np.random.default_rng((self.seed, step, 4))
        clips = [self._clip(rng, step) for _ in range(size.rows)]
        levels = torch.from_numpy(np.stack([clip.levels for clip in clips])).float()
        x0 = self.form.codec.encode(levels)
        batch = {
            "x0": x0[:, None] if size.network.dims == 2 else x0,
            "tags": told([self._tags(rng, clip) for clip in clips]),
        }
        if self.control is not None:
            batch[HINT] = torch.from_numpy(np.stack([self._hint(rng, clip, self.control) for clip in clips]))
        return batch

    def _clip(self, rng: np.random.Generator, step: int) -> Piece:
        pool = window(step, self.size.fresh, self.size.first)
        whole = piece(self.seed, pool[int(rng.integers(len(pool)))], self.split, self.size.paper)
        return cut(whole, start(rng, whole, self.size.frames), self.size.frames)

    def _tags(self, rng: np.random.Generator, clip: Piece) -> Tags:
        none, genre, mood = rng.random(3)
        if self.split != "train":
            return clip.tags
        if none < NO_TAGS:
            return Tags()
        return Tags(clip.tags.genre if genre > NO_TAG else None, clip.tags.mood if mood > NO_TAG else None)

    def _hint(self, rng: np.random.Generator, clip: Piece, control: ControlConfig) -> np.ndarray:
        bound = draw_bound(rng, len(control.kinds), self.size.frames, partial=self.partial)
        return hint(clip.curves, control, self.form.level, bound)


def _size(size: str) -> Size:
    if size not in SIZES:
        raise UserError(f"no size {size!r}", where="size", remedy=f"choose {', '.join(SIZES)}")
    return SIZES[size]


def _settings(own: Size, muon: str, minutes: float, steps: int | None) -> TrainSettings:
    return TrainSettings(
        steps=steps,
        minutes=minutes,
        lr=own.lr,
        warmup=own.warmup,
        ema=own.ema,
        muon=muon,
        muon_length=MUON_LENGTH,
        bf16=fast_dtype() is not None,
    )


def _card(recipe: str, size: str, report: TrainReport) -> dict[str, Any]:
    return {
        "name": recipe,
        "recipe": recipe,
        "command": f"suite train {recipe} --size {size}" if size in ("cpu", "gpu") else f"train(size={size!r})",
        "data": [DATA],
        "licence": "Apache-2.0",
        "minutes": round(report.seconds / 60, 1),
        "steps": report.step,
        "clips": report.rows,
        "failures": "Knows the composed world alone: one band of four, played by the synth of this suite, 11 kHz wide.",
    }
