"""The pictures of the shape app, made by the app itself: its card, and its page at a desk and on a phone.

    python -m benchmarks.pictures.image [card | page]

Runs the first example with the shipped weights and the default settings; writes suite/pictures/ and docs/pictures/.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from benchmarks.pictures.photographer import keep, photographs, take
from suite.apps import APPS, ROOT

CARD: Final = (640, 360)  # pixels: two times the width of a card, 16 to 9
CAPTIONS: Final = (
    "a red circle left of a blue square on a plain white background",
    "a dotted green circle left of a striped orange square on a gradient sky background",
    "a purple circle left of a pink square on a checkered mint background",
)


def card() -> None:
    """The edge map of the first example, and one picture for each of three captions that it steers, first seeds."""
    from domains.image.conditioning import example_edges
    from domains.image.control.operations import GENERATE, GenerateShapes
    from domains.image.export import enlarged

    edges = np.rint(255 * example_edges("pair")).astype(np.uint8)
    tiles = [np.stack([edges] * 3, -1)]
    for caption in CAPTIONS:
        with tempfile.TemporaryDirectory() as folder:
            settings = GenerateShapes(caption=caption, edges="example:pair", count=1, out=str(Path(folder) / "made"))
            made = GENERATE.run(settings, lambda *said, **more: None)
        print(made.sentence)
        tiles.append(made.view["pictures"][0])
    gap, by = 8, 5
    side = 32 * by
    whole = Image.new("RGB", (2 * side + 3 * gap, 2 * side + 3 * gap), (15, 23, 42))
    for n, tile in enumerate(tiles):
        place = gap + n % 2 * (side + gap), gap + n // 2 * (side + gap)
        whole.paste(Image.fromarray(enlarged(tile, by)), place)
    ground = Image.new("RGB", CARD, (15, 23, 42))
    ground.paste(whole, ((CARD[0] - whole.width) // 2, (CARD[1] - whole.height) // 2))
    app = next(app for app in APPS if app.slug == "image/shapes")
    keep(ground, ROOT / app.picture)


def page() -> None:
    """The page after the first example, at every look."""
    photographs("image", ready=lambda view: view.get_by_text("pixels are edges").wait_for(), shown=("#table table",))


if __name__ == "__main__":
    take({"card": card, "page": page})
