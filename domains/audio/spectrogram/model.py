"""The spectrogram model: networks, what their numbers mean, and the call that the core makes.

    paper       2-d U-Net over frequency and time, 1000 levels of the cosine schedule, eps, L1 (Wu et al. 2023)
    small       1-d U-Net over time with the mel bins as channels, cosine clock, behind a linear filter (prior.py)
    small_unet  the same without the filter, v (Salimans and Ho 2022): behind the filter alone after an hour
    small_dit   1-d transformer, two frames a token, the same clock, x0: a token of 256 numbers cannot carry the noise
                of the 320 that it stands for, but it can carry what is under it (Li and He 2025)

Genre and mood join the time embedding, which reaches every block; the paper has them in a cross-attention of its two
innermost blocks. They are the only thing that classifier-free guidance acts on: both passes know the controls.
Convolutions along time serve any length that the strides divide; longer and other clips are padded and cropped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from domains.audio.controls.tags import GENRES, MOODS, Tags
from domains.audio.spectrogram.mel import MELS, Codec
from domains.audio.spectrogram.prior import PriorConfig, PriorUNet
from shared import checkpoints
from shared.adapters import files
from shared.adapters.host import host_of
from shared.denoiser import Denoiser, Head, eps_head, v_head, x0_head
from shared.errors import UserError
from shared.grid import Grid, own_times
from shared.networks.dit import DiT, DiTConfig
from shared.networks.unet import UNet, UNetConfig
from shared.noise import seeded
from shared.process import Process, vp

RECIPE: Final = "audio/spectrogram"
CONTROL_RECIPE: Final = "audio/spectrogram-control"
FOLDER: Final = Path(__file__).parent / "checkpoints"
WEIGHTS: Final = FOLDER / "spectrogram.safetensors"
CONTROL_WEIGHTS: Final = FOLDER / "spectrogram_control.safetensors"
FRAMES: Final = 512  # of a clip in training: 5.94 s
LONGEST: Final = 24.0  # seconds, the longest that the paper makes
TAGS: Final = len(GENRES) + len(MOODS)
NOISIEST: Final = 0.985  # of the clock, where a run starts: at 1 nothing of the music is left to divide by
LEVELS: Final = 1000  # of the paper's process

Says = Literal["eps", "v", "x0"]
HEADS: Final[Mapping[str, Any]] = {"eps": eps_head, "v": v_head, "x0": x0_head}
SMALL_UNET: Final = UNetConfig(
    dims=1, in_channels=MELS, out_channels=MELS, channels=(224, 256, 256), blocks=1, vectors={"tags": TAGS}
)
SMALL: Final = PriorConfig(replace(SMALL_UNET, in_channels=2 * MELS))
SMALL_DIT: Final = DiTConfig(
    dims=1,
    in_channels=MELS,
    out_channels=MELS,
    width=256,
    layers=5,  # six are more than a checkpoint may hold
    heads=4,
    patch=2,
    vectors={"tags": TAGS},
)
PAPER: Final = UNetConfig(
    dims=2,
    in_channels=1,
    out_channels=1,
    channels=(64, 64, 128, 128, 256),
    blocks=(2, 2, 2, 2, 1),  # the paper does not say; more are more than a checkpoint may hold
    vectors={"tags": TAGS},
)


@dataclass(frozen=True)
class Format:
    """What the numbers of a checkpoint mean; plain, for its card.

    says    what the network predicts;  discrete  the paper's 1000 levels, otherwise the same cosine without steps
    codec   decibels to numbers;  level  mean and deviation (dB) by which the dynamics are told
    """

    says: Says
    discrete: bool
    codec: Codec
    level: tuple[float, float]

    @classmethod
    def of(cls, card: Mapping[str, Any], where: str) -> Format:
        """The format that a card states."""
        try:
            said = dict(card["format"])
            mean, deviation = map(float, said["level"])
            made = cls(said["says"], bool(said["discrete"]), Codec(**said["codec"]), (mean, deviation))
            HEADS[made.says]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"its card names no format ({error})", where=where, remedy="restore the card") from None
        return made

    def card(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def process(self) -> Process:
        return vp("cosine", LEVELS) if self.discrete else vp("angle")

    @property
    def head(self) -> Head:
        found: Head = HEADS[self.says]()
        return found

    def route(self, steps: int) -> Grid:
        """Equal steps of the clock from noise to music."""
        if not 1 <= steps <= 1000:
            raise UserError(f"{steps} steps", where="steps", remedy="take 1 to 1000")
        process = self.process
        return own_times(process, torch.linspace(NOISIEST, 0, steps + 1, dtype=torch.float64) * process.ends[1])


@dataclass(frozen=True, eq=False)
class Spectrograms:
    """A network in eval mode, its format, its card, and the control beside it, if there is one."""

    network: nn.Module
    format: Format
    card: Mapping[str, Any]
    control: Any = None

    @classmethod
    def from_pretrained(cls, path: str | Path = WEIGHTS, control: str | Path | None = CONTROL_WEIGHTS) -> Spectrograms:
        """A checkpoint of the recipes; control=None leaves the controls away."""
        import domains.audio.spectrogram.control  # noqa: F401  its adapters may then be named by a card

        network, card = checkpoints.load(path, recipe=RECIPE)
        beside = None if control is None else files.load(control, host_of(network))[0]
        return cls(network.eval(), Format.of(card, Path(path).name), card, beside)


@cache
def shipped() -> Spectrograms:
    """The base and the control that ship, loaded once a process; raises UserError when they are not trained yet."""
    for path, recipe in ((WEIGHTS, RECIPE), (CONTROL_WEIGHTS, CONTROL_RECIPE)):
        if not path.is_file():
            raise UserError(
                "the spectrogram model has no trained weights yet",
                where="--engine spectrogram",
                remedy=f"train it with suite train {recipe}, and put {path.name} and its card into "
                + "/".join(FOLDER.parts[-4:]),
            )
    return Spectrograms.from_pretrained()


NetworkConfig = UNetConfig | DiTConfig | PriorConfig
KINDS: Final[Mapping[type, type[nn.Module]]] = {UNetConfig: UNet, DiTConfig: DiT, PriorConfig: PriorUNet}


def new_network(config: NetworkConfig, seed: int = 0) -> nn.Module:
    """The network at its start, the same for the same seed."""
    with seeded(seed):
        return KINDS[type(config)](config)


def denoiser(network: nn.Module, form: Format) -> Denoiser:
    """The network as the core sees it; the null condition tells no tags and leaves the controls in place."""
    return Denoiser(network, form.process, form.head, null={"tags": torch.full((1, TAGS), torch.nan)})


def told(tags: Sequence[Tags]) -> Tensor:
    """(B, 20) what the network is told: one of ten genres, one of ten moods, zeros for either that is open; a row of
    NaN where both are."""
    out = torch.zeros(len(tags), TAGS)
    for row, tag in zip(out, tags, strict=True):
        if tag.genre is None and tag.mood is None:
            row.fill_(torch.nan)
        if tag.genre is not None:
            row[GENRES.index(tag.genre)] = 1
        if tag.mood is not None:
            row[len(GENRES) + MOODS.index(tag.mood)] = 1
    return out


def state(network: nn.Module, x: Tensor) -> Tensor:
    """(B, 160, T) as the network takes it: (B, 1, 160, T) where frequency is an axis of its own."""
    return x[:, None] if network.config.dims == 2 else x  # type: ignore[union-attr]


def grain(network: nn.Module) -> int:
    """Frames that a clip must be a multiple of."""
    config: Any = network.config
    return config.patch_by_axis[-1] if isinstance(config, DiTConfig) else config.stride[-1]


def padded(network: nn.Module, frames: int) -> int:
    """The next number of frames that the network takes."""
    step = grain(network)
    return step * math.ceil(frames / step)
