"""An untrained score model as a file: everything but the beauty of the music can be tested with it."""

from __future__ import annotations

from pathlib import Path

import torch

from domains.audio.score.model import RECIPE
from domains.audio.score.train import new_network
from shared import checkpoints
from shared.noise import seeded

CARD = {
    "name": "untrained",
    "recipe": RECIPE,
    "data": [{"name": "none", "licence": "none", "attribution": "none"}],
    "licence": "Apache-2.0",
    "minutes": 0,
    "metrics": {},
}


def written(folder: Path) -> Path:
    """Weights of a network whose layers that start at zero do not stay there; it says silence, and a few notes."""
    path, network = folder / "score.safetensors", new_network()
    with seeded(0), torch.no_grad():
        for value in network.parameters():
            if not value.any():
                torch.nn.init.normal_(value, std=0.05)
        network.head.bias.sub_(1.0)
    checkpoints.save(path, network, CARD)
    return path
