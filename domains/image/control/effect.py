"""Does a control act? The relative change of one prediction with and without it, which an interface shows beside it.

    effect = ||x0_with - x0_without|| / ||x0_without||      at the first step, from noise, with the caption

The window is left out: it says when the edges act, the effect how strongly. A control that was loaded and does nothing
shows 0 here, whatever its strength says.
"""

from __future__ import annotations

import threading
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from domains.image.control.model import SIDE, ShapeModel, denoiser, route
from domains.image.control.operations import GenerateShapes
from domains.image.shapes.captions import tokens
from shared.adapters.card import MODES, Card
from shared.adapters.controlnet import HINT
from shared.adapters.host import host_of
from shared.denoiser import Query
from shared.noise import PerSample

_ONE_AT_A_TIME = threading.Lock()


def effect(model: ShapeModel, settings: GenerateShapes, edges: NDArray) -> float:
    """The effect of an edge map (32, 32) in 0..1 at the strength and mode of the settings; 0 where it is off."""
    if settings.strength == 0 or model.control is None:
        return 0.0
    hint = torch.from_numpy(np.ascontiguousarray(edges, np.float32))[None, None]
    card = Card(model.control, {HINT: hint}, strength=settings.strength, **MODES[settings.mode])
    words = torch.from_numpy(tokens([settings.caption]))
    noise = PerSample((settings.seed,)).draw(0, torch.zeros(1, 3, SIDE, SIDE), tag="prior")
    with torch.no_grad():
        before = _first(model, model.network, noise, words)
        with host_of(model.network).attached([card]) as adapted:
            after = _first(model, adapted, noise, words)
    return float((after - before).norm() / before.norm().clamp_min(1e-6))


def _first(model: ShapeModel, network: nn.Module, noise: Tensor, words: Tensor) -> Tensor:
    """The picture that a network believes in at the first step."""
    start = route(1).points[0]
    asked = denoiser(network, autocast=model.autocast)
    return asked.predict(noise, start, {"main": Query({"text": words})})["main"].x0


def effect_of(settings: GenerateShapes, edges: NDArray) -> float:
    """The same for a page, with a model of its own: controls are attached to a network, and a run may be using that."""
    with _ONE_AT_A_TIME:
        return effect(_own_model(), settings, edges)


@cache
def _own_model() -> ShapeModel:
    return ShapeModel.from_pretrained()
