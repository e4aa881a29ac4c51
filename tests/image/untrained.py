"""An untrained shape model with its control, as files: everything but the beauty of pictures can be tested with it."""

from __future__ import annotations

from pathlib import Path

import torch

from domains.image.control.model import CONTROL_RECIPE, RECIPE, ShapeModel
from domains.image.control.train import new_network
from shared import checkpoints
from shared.adapters import files
from shared.adapters.controlnet import ControlNet, ControlNetConfig
from shared.adapters.host import host_of

CARD = {
    "name": "untrained",
    "data": [{"name": "none", "licence": "none", "attribution": "none"}],
    "licence": "Apache-2.0",
    "minutes": 0,
    "metrics": {},
}


def written(folder: Path) -> tuple[Path, Path]:
    """Weights of the base and of a control; layers that start at zero do not stay there, so that everything acts."""
    base, control = folder / "shapes.safetensors", folder / "edges.safetensors"
    network = new_network()
    for value in network.parameters():
        if not value.any():
            torch.nn.init.normal_(value, std=0.05)
    checkpoints.save(base, network, {**CARD, "recipe": RECIPE})
    host = host_of(checkpoints.load(base, recipe=RECIPE)[0])
    made = ControlNet(host, ControlNetConfig(channels=1))
    for value in made.zeros.parameters():
        torch.nn.init.normal_(value, std=0.05)
    files.save(control, made, host, {**CARD, "recipe": CONTROL_RECIPE})
    return base, control


def use(monkeypatch: object, folder: Path) -> None:
    """Let the app take these weights instead of the shipped ones."""
    from domains.image.control import effect, run

    base, control = folder / "shapes.safetensors", folder / "edges.safetensors"
    set_ = monkeypatch.setattr  # type: ignore[attr-defined]
    set_(run, "WEIGHTS", base)
    set_(run, "CONTROL_WEIGHTS", control)
    run.shape_model.cache_clear()
    effect._own_model.cache_clear()
    set_(effect, "_own_model", lambda: ShapeModel.from_pretrained(base, control))
