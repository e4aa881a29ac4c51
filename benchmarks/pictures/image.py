"""The pictures of the shape app, made by the app itself: its card, and its page at a desk and on a phone.

    python benchmarks/pictures/image.py [card | page]

Runs the first example with the shipped weights and the default settings; writes suite/pictures/ and docs/pictures/.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from shared.front.provenance import write_atomic
from suite.apps import APPS, ROOT

OUT: Final = ROOT / "docs" / "pictures"
CARD: Final = (640, 360)  # pixels: two times the width of a card, 16 to 9
CAPTIONS: Final = (
    "a red circle left of a blue square on a plain white background",
    "a dotted green circle left of a striped orange square on a gradient sky background",
    "a purple circle left of a pink square on a checkered mint background",
)
LOOKS: Final = {"desk_light": (1440, "light"), "desk_dark": (1440, "dark"), "phone_dark": (390, "dark")}


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
    write(ground, ROOT / app.picture)


def page() -> None:
    """The page after a run, at every look."""
    from playwright.sync_api import sync_playwright

    OUT.mkdir(parents=True, exist_ok=True)
    command = [str(Path(sys.executable).with_name("suite")), "hub", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as hub, sync_playwright() as driver:
        try:
            assert hub.stdout is not None
            found = re.match(r"http://\S+/", hub.stdout.readline())
            assert found is not None, "the hub did not start"
            chromium = driver.chromium.launch(
                executable_path=shutil.which("chromium") or "/usr/bin/chromium", args=["--no-sandbox"]
            )
            for name, (width, scheme) in LOOKS.items():
                shot(chromium, f"{found[0]}image/", name, width, scheme)
            chromium.close()
        finally:
            hub.terminate()


def shot(chromium: Any, address: str, name: str, width: int, scheme: str) -> None:
    """Run the first example and photograph the whole page."""
    view = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce")
    view.goto(address)
    view.get_by_text("pixels are edges").wait_for(timeout=300_000)
    view.locator("#run").click()
    view.wait_for_selector("#status :is(.status-done, .status-error)", timeout=600_000)
    said = view.locator("#status").inner_text()
    if view.locator("#status .status-done").count() == 0:
        raise SystemExit(said)
    view.wait_for_selector("#table table")
    # In a picture of the whole page nothing is held in view.
    view.add_style_tag(content=".run-panel { position: static !important; }")
    picture = Image.open(io.BytesIO(view.screenshot(full_page=True))).convert("RGB")
    write(picture.quantize(256, dither=Image.Dither.NONE), OUT / f"image_page_{name}.png")
    print(said.strip())
    view.close()


def write(picture: Image.Image, path: Path) -> None:
    """As a PNG, whole or not at all."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue())
    print(f"{path.relative_to(ROOT)}  {np.ceil(buffer.tell() / 1024):.0f} KiB")


if __name__ == "__main__":
    torch.set_num_threads(min(2, torch.get_num_threads()))
    for what in sys.argv[1:] or ("card", "page"):
        {"card": card, "page": page}[what]()
