"""The shape model: pictures of 32 x 32 pixels from captions, and from edges too where a control is loaded.

A small transformer with what the caption says in its sequence (DiT, Peebles and Xie 2023), preconditioned as in Karras
et al. 2022, on the path of a rectified flow (Liu et al. 2023), x_t = (1 - t) x0 + t n with x0 in -1..1; classifier-free
guidance against the empty caption. Edges come in through a ControlNet beside the frozen base (Zhang et al. 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from domains.image.shapes.captions import ROLES, VOCABULARY, tokens
from shared import checkpoints
from shared.adapters import files
from shared.adapters.adapter import Adapter
from shared.adapters.card import MODES, Card, Curve
from shared.adapters.controlnet import HINT
from shared.adapters.host import host_of
from shared.denoiser import Denoiser, edm_head
from shared.errors import UserError
from shared.grid import Grid, own_times
from shared.guidance.classifier_free import ClassifierFree
from shared.networks.dit import DiTConfig
from shared.networks.text import TextConfig
from shared.noise import PerSample
from shared.precision import fast_dtype
from shared.process import Process, flow
from shared.run import Observer, RunState, Sampler, Step, Transition
from shared.sample import cost, sample
from shared.samplers.named import SAMPLERS, named

RECIPE: Final = "image/shapes"
CONTROL_RECIPE: Final = "image/shapes-edges"
SIDE: Final = 32
DATA_STD: Final = 0.7  # root mean square of a picture in -1..1
NOISIEST: Final = 0.999  # where a run starts; at t = 1 nothing of the picture is left to precondition on
WEIGHTS: Final = Path(__file__).parent / "checkpoints" / "shapes.safetensors"
CONTROL_WEIGHTS: Final = Path(__file__).parent / "checkpoints" / "edges.safetensors"
STEPS, GUIDANCE, SAMPLER = 32, 4.0, "dpmpp_2m_sde"

NETWORK: Final = DiTConfig(
    dims=2,
    in_channels=3,
    out_channels=3,
    width=128,
    layers=4,
    heads=4,
    patch=4,
    base=100.0,  # of the rotary positions: a grid of 8 x 8
    local=(24, 64),  # contours run through many patches
    text=TextConfig(VOCABULARY, ROLES, layers=1),
)


def denoiser(network: nn.Module, *, autocast: torch.dtype | None = None) -> Denoiser:
    """The network as the core sees it; nothing asked is a row of zeros."""
    null = {"text": torch.zeros(1, ROLES, dtype=torch.int64)}
    return Denoiser(network, process(), edm_head(DATA_STD), null=null, autocast=autocast)


def process() -> Process:
    """Rectified flow."""
    return flow()


def route(steps: int) -> Grid:
    """Equal steps of the clock from noise to picture."""
    return own_times(process(), torch.linspace(NOISIEST, 0, steps + 1, dtype=torch.float64))


class ShapeModel:
    """A trained network, its card, and the control that may stand beside it."""

    def __init__(
        self,
        network: nn.Module,
        card: dict[str, Any],
        *,
        control: Adapter | None = None,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.network, self.card, self.control, self.autocast = network.eval(), card, control, autocast

    @classmethod
    def from_pretrained(cls, path: str | Path = WEIGHTS, control: str | Path | None = CONTROL_WEIGHTS) -> ShapeModel:
        """The shipped model, or another checkpoint of the same recipe; control=None leaves the edges away."""
        network, card = checkpoints.load(path, recipe=RECIPE)
        beside = None if control is None else files.load(control, host_of(network))[0]
        return cls(network, card, control=beside, autocast=fast_dtype())

    @property
    def dtype(self) -> str:
        """The word for the number type the network computes in."""
        return str(self.autocast or torch.float32).removeprefix("torch.")

    def calls(self, steps: int = STEPS, guidance: float = GUIDANCE, sampler: str = SAMPLER) -> int:
        """Network calls of one picture."""
        cond = {"text": torch.ones(1, ROLES, dtype=torch.int64)}
        plan, way = _route(steps), _sampler(sampler)
        return cost(denoiser(self.network), way, plan, cond=cond, guidance=[ClassifierFree(guidance)]).calls

    def generate(
        self,
        captions: Sequence[str],
        *,
        edges: NDArray | None = None,
        steps: int = STEPS,
        guidance: float = GUIDANCE,
        strength: float = 1.0,
        window: tuple[float, float] = (0.0, 1.0),
        mode: str = "balanced",
        seeds: Sequence[int],
        sampler: str = SAMPLER,
        progress: Callable[[int, int], None] | None = None,
        preview: Callable[[NDArray], None] | None = None,
    ) -> NDArray:
        """Pictures (B, 32, 32, 3) uint8, one a caption and seed.

        captions   of the grammar of shapes/captions.py; an empty one asks for any picture
        edges      (B, 32, 32) float32 in 0..1, 1 on the contours that the picture is to have; None: free
        guidance   1 follows the caption as learned, more exaggerates it
        strength, window   of the edges: how strongly (0 is the base to the bit), and from which to which share of the
                   way from noise (0) to picture (1);  mode  who wins: balanced, prompt, control (adapters/card.py)
        progress   called with (calls so far, calls in all) between network calls; may raise to cancel
        preview    called with the pictures believed so far, as returned, between network calls
        Raises UserError for captions, edges or numbers that do not fit.
        """
        if len(captions) != len(seeds) or not captions:
            raise UserError(
                f"{len(captions)} captions and {len(seeds)} seeds", where="captions", remedy="give one seed a caption"
            )
        words = torch.from_numpy(tokens(captions))
        total = self.calls(steps, guidance, sampler)
        with ExitStack() as stack:
            network: nn.Module = self.network
            if edges is not None:
                card = self._edges(edges, len(captions), strength, window, mode)
                network = stack.enter_context(host_of(network).attached([card]))
            asked = denoiser(network, autocast=self.autocast)
            run = sample(
                asked,
                _sampler(sampler),
                _route(steps),
                noise=PerSample(tuple(seeds)),
                shape=(len(captions), 3, SIDE, SIDE),
                cond={"text": words},
                guidance=[ClassifierFree(guidance)],
                observers=[_watching(asked, progress, preview, total)],
            )
        return pictures(run.x)

    def _edges(self, edges: NDArray, rows: int, strength: float, window: tuple[float, float], mode: str) -> Card:
        """The control as it is to be used."""
        if self.control is None:
            raise UserError("no control is loaded", where="edges", remedy="load a model with a control")
        if edges.shape != (rows, SIDE, SIDE) or not bool(((edges >= 0) & (edges <= 1)).all()):
            raise UserError(
                f"edges have shape {edges.shape}", where="edges", remedy=f"pass {(rows, SIDE, SIDE)} within 0..1"
            )
        if not 0 <= window[0] < window[1] <= 1:
            raise UserError(
                f"the window {window[0]:g} to {window[1]:g} is empty or leaves the run",
                where="window",
                remedy="let it rise within 0..1",
            )
        if mode not in ("balanced", "prompt", "control"):
            raise UserError(f"the mode is {mode!r}", where="mode", remedy="choose balanced, prompt or control")
        hint = torch.from_numpy(np.ascontiguousarray(edges, np.float32))[:, None]
        return Card(self.control, {HINT: hint}, strength=Curve.window(*window, strength), **MODES[mode])


def _route(steps: int) -> Grid:
    if not 1 <= steps <= 1000:
        raise UserError(f"{steps} steps", where="steps", remedy="take 1 to 1000")
    return route(steps)


def _sampler(name: str) -> Sampler:
    if name not in SAMPLERS:
        raise UserError(f"no sampler {name!r}", where="sampler", remedy=f"choose {', '.join(SAMPLERS)}")
    return named(name)


def pictures(x: Tensor) -> NDArray:
    """(B, 3, S, S) in -1..1 -> (B, S, S, 3) uint8."""
    return np.ascontiguousarray(((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())


def values(rgb: NDArray) -> Tensor:
    """(B, S, S, 3) uint8 -> (B, 3, S, S) float32 in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(rgb)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _watching(
    asked: Denoiser,
    progress: Callable[[int, int], None] | None,
    preview: Callable[[NDArray], None] | None,
    total: int,
) -> Observer:
    def observe(state: RunState, step: Step, tr: Transition | None) -> None:
        if tr is None:
            return
        if preview is not None:
            preview(pictures(tr.first.guided.x0))
        if progress is not None:
            progress(asked.spent.calls, total)

    return observe
