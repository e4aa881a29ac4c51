"""The controls of Music ControlNet beside the frozen base: a ControlNet whose hint is a curve a frame (Wu et al. 2023).

    h_n = MLP_n(c_n) in every frame: B_n classes -> 160 mel bins;   H = all h_n;   Zin: a 1 x 1 convolution of H
    f~ = Zout(copy(x + Zin(H)))                              the core's ControlNet (shared/adapters/controlnet.py)

so that the network learns which bins a pitch class, a level or a beat touches. Where the mel bins are channels, H has
160 for every control; where frequency is an axis, one, and the same 1 x 1 convolution serves all bins.
Beside every curve stands a channel that says where it binds, since 0 is a level and no beat is a wish, too. The paper
has none (`masks=False`) and starts Zin at zero (`zero_in=True`); it knows no chords.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from domains.audio.controls.frames import WIDTHS, Curves
from domains.audio.spectrogram.mel import MELS
from shared.adapters import files
from shared.adapters.controlnet import ControlNet, ControlNetConfig
from shared.adapters.host import Host
from shared.errors import UserError
from shared.networks.layers import CONVOLUTIONS, zero

OURS: Final = ("melody", "dynamics", "rhythm", "chords")
PAPERS: Final = ("melody", "dynamics", "rhythm")


@dataclass(frozen=True)
class ControlConfig(ControlNetConfig):
    """What the control is made of; plain, for its card. `channels` follows from kinds and masks: make it by `of`.

    kinds    controls, in the order of the hint;  masks  a channel beside each says where it binds
    hidden   width of the MLPs;  zero_in  whether Zin starts at zero
    """

    kinds: tuple[str, ...] = OURS
    masks: bool = True
    hidden: int = 160
    zero_in: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", tuple(self.kinds))

    @classmethod
    def of(cls, *, paper_exact: bool = False, hidden: int = 160) -> ControlConfig:
        """Ours with chords and masks, or the paper's."""
        kinds = PAPERS if paper_exact else OURS
        channels = sum(WIDTHS[kind] + (not paper_exact) for kind in kinds)
        return cls(channels, kinds=kinds, masks=not paper_exact, hidden=hidden, zero_in=paper_exact)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each control's part of the hint."""
        return tuple(WIDTHS[kind] + self.masks for kind in self.kinds)


class Projector(nn.Module):
    """(B, channels, T) -> (B, D, *grid): an MLP a control, then Zin. `stride` says that the hint has one axis."""

    stride = (1,)

    def __init__(self, config: ControlConfig, out: int, grain: tuple[int, ...]) -> None:
        super().__init__()
        self.parts = config.widths
        self.plane = len(grain) == 2
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Conv1d(width, config.hidden, 1), nn.GELU(), nn.Conv1d(config.hidden, MELS, 1))
            for width in self.parts
        )
        deep = len(self.parts) * (1 if self.plane else MELS)
        self.enter = CONVOLUTIONS[len(grain)](deep, out, grain, stride=grain)
        if config.zero_in:
            zero(self.enter)

    def forward(self, hint: Tensor) -> Tensor:
        parts = zip(self.mlps, hint.split(self.parts, dim=1), strict=True)
        bins = [mlp(part) for mlp, part in parts]  # (B, 160, T) each
        return self.enter(torch.stack(bins, dim=1) if self.plane else torch.cat(bins, dim=1))


class SpectrogramControl(ControlNet):
    """The core's ControlNet with the paper's way in."""

    config: ControlConfig

    def __init__(self, host: Host, config: ControlConfig) -> None:
        if config.channels != sum(config.widths):
            raise UserError(
                f"{config.channels} channels for {config.widths}", where="control", remedy="make it by ControlConfig.of"
            )
        super().__init__(host, config)
        encoder: Any = Projector(config, host.of_kind("block")[0].channels, host.grain)
        self.encode = encoder.to(next(host.network.parameters()).device)


files.ADAPTERS["spectrogram"] = (SpectrogramControl, ControlConfig)  # a card may ask for it, this module imported


def hint(
    curves: Curves,
    config: ControlConfig,
    level: tuple[float, float],
    bound: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """(channels, T): the curves where they bind, zeros elsewhere; dynamics in deviations from the mean `level`.

    bound   (kinds, T) where they bind at most; None: where the curves themselves say
    """
    out = []
    for row, kind in enumerate(config.kinds):
        where = curves.bound(kind) if bound is None else curves.bound(kind) & bound[row]
        curve = curves.of(kind)
        if kind == "dynamics":
            curve = (curve - level[0]) / level[1]
        out.append(np.where(where[:, None], curve, 0).T)
        if config.masks:
            out.append(where[None])
    return np.concatenate(out).astype(np.float32)


def hints(curves: Sequence[Curves], config: ControlConfig, level: tuple[float, float], frames: int) -> Tensor:
    """(B, channels, frames): clips whose curves are shorter say nothing in what is padded."""
    made = [torch.from_numpy(hint(each, config, level)) for each in curves]
    return torch.stack([F.pad(one, (0, frames - one.shape[1])) for one in made])
