"""The picture of the laboratory's card, made by the laboratory itself: paths of a run into two half moons.

    python -m benchmarks.pictures.laboratory

Some seconds; writes suite/pictures/laboratory_experiment.png.
"""

from __future__ import annotations

import io
from typing import Final

from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.pictures.photographer import keep, take
from suite.apps import APPS, ROOT
from suite.laboratory.operations import Experiment
from suite.laboratory.recipe import bench
from suite.laboratory.run import run

SIZE: Final = (640, 360)  # pixels, 16 to 9
HALF: Final = 2.6  # half of the height that is shown, in units of the state


def card() -> Image.Image:
    """Paths in grey, the start hollow, the end blue, the exact points as orange crosses."""
    settings = Experiment(truth="moons", process="flow", sampler="dpmpp_2m", steps=40, samples=260, out="unused")
    shown = run(bench(settings), lambda *said, **more: None).shown
    figure = Figure(figsize=(SIZE[0] / 100, SIZE[1] / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    tracks = shown.paths.transpose(0, 1).numpy()
    axes.add_collection(LineCollection(list(tracks), colors="#64748b", linewidths=0.5, alpha=0.45))
    axes.scatter(tracks[:, 0, 0], tracks[:, 0, 1], s=7, facecolors="none", edgecolors="#94a3b8", linewidths=0.6)
    axes.scatter(tracks[:, -1, 0], tracks[:, -1, 1], s=13, c="#0072B2", zorder=3)
    assert shown.atoms is not None
    axes.scatter(shown.atoms[:, 0], shown.atoms[:, 1], s=10, marker="+", c="#D55E00", linewidths=0.7, zorder=4)
    wide = HALF * SIZE[0] / SIZE[1]
    axes.set(xlim=(-wide, wide), ylim=(-HALF, HALF))
    axes.axis("off")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="#f8fafc", metadata={"Software": None})
    return Image.open(buffer).convert("RGB")


def picture() -> None:
    """Write the picture where the app's card expects it."""
    keep(card(), ROOT / next(app.picture for app in APPS if app.domain == "laboratory"), colours=64)


if __name__ == "__main__":
    take({"card": picture})
