"""An untrained score model as a file: everything but the beauty of the music can be tested with it."""

from __future__ import annotations

from pathlib import Path

from domains.audio.score.model import RECIPE
from domains.audio.score.train import new_network
from shared import checkpoints

CARD = {
    "name": "untrained",
    "recipe": RECIPE,
    "data": [{"name": "none", "licence": "none", "attribution": "none"}],
    "licence": "Apache-2.0",
    "minutes": 0,
    "metrics": {},
}


def written(folder: Path) -> Path:
    """Weights of a network as its recipe begins with it: what it corrects is nothing yet, so notes are few."""
    path = folder / "score.safetensors"
    checkpoints.save(path, new_network(), CARD)
    return path
