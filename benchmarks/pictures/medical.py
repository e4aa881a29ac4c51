"""The pictures of the lesion app, made by the app itself: its card, and its page at a desk and on a phone.

    python benchmarks/pictures/medical.py [card | page]

Runs the built-in example with the shipped weights and the default settings (some minutes) and writes docs/pictures/.
"""

from __future__ import annotations

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

ROOT: Final = Path(__file__).resolve().parents[2]
OUT: Final = ROOT / "docs" / "pictures"
CARD: Final = (960, 540)
LOOKS: Final = {"desk_light": (1440, "light"), "desk_dark": (1440, "dark"), "phone_dark": (390, "dark")}


def card() -> None:
    """Before and after side by side, the plane through the middle of the new lesion."""
    from domains.medical.export import SYNTHETIC
    from domains.medical.lesions.operations import ADD, AddLesions
    from domains.medical.page.results import Result
    from domains.medical.page.visit import example, middle
    from domains.medical.planes import fitting_zoom, render

    with tempfile.TemporaryDirectory() as folder:
        settings = AddLesions(image={"FLAIR": "example:brain"}, mask="example:brain", out=str(Path(folder) / "made"))
        result = Result.of(ADD.run(settings, lambda *said, **more: None))
        print(result.sentence)
    scan = example()
    window = next(iter(scan.windows["FLAIR"].values()))
    half = CARD[0] // 2
    whole = Image.new("RGB", CARD)
    for n, (values, mark) in enumerate(((result.before["FLAIR"], ""), (result.after(0, "FLAIR"), SYNTHETIC))):
        rgb = render(
            values,
            result.affine,
            middle(result.mask),
            plane="axial",
            window=window.width,
            level=window.level,
            zoom=fitting_zoom("axial", values.shape, scan.spacing, (half, CARD[1])),
            crosshair=False,
            mark=mark,
            text=20,
        )
        whole.paste(Image.fromarray(rgb), (n * half + (half - rgb.shape[1]) // 2, (CARD[1] - rgb.shape[0]) // 2))
    save(whole, "medical_lesions")


def page() -> None:
    """The page after a run, at every look."""
    from playwright.sync_api import sync_playwright

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
                shot(chromium, f"{found[0]}medical/", name, width, scheme)
            chromium.close()
        finally:
            hub.terminate()


def shot(chromium: Any, address: str, name: str, width: int, scheme: str) -> None:
    """Run the example and photograph the whole page."""
    view = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce")
    view.goto(address)
    view.wait_for_selector("#before img.first[src^='data:image/png']", timeout=300_000)
    view.locator("#run").click()
    view.wait_for_selector("#status :is(.status-done, .status-error)", timeout=600_000)
    said = view.locator("#status").inner_text()
    if view.locator("#status .status-done").count() == 0:
        raise SystemExit(said)
    view.wait_for_selector("#after img.first[src^='data:image/png']")
    view.wait_for_selector("#quality table")
    # In a picture of the whole page nothing is held in view.
    view.add_style_tag(content=".run-panel, #notice { position: static !important; }")
    view.screenshot(path=str(OUT / f"medical_page_{name}.png"), full_page=True)
    save(Image.open(OUT / f"medical_page_{name}.png").convert("RGB"), f"medical_page_{name}")
    print(said.strip())
    view.close()


def save(picture: Image.Image, name: str) -> None:
    """With 256 colours, which is enough for grey values and a few colours, and a quarter of the bytes."""
    path = OUT / f"{name}.png"
    picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}  {np.ceil(path.stat().st_size / 1024):.0f} KiB")


if __name__ == "__main__":
    torch.set_num_threads(min(2, torch.get_num_threads()))
    OUT.mkdir(parents=True, exist_ok=True)
    for what in sys.argv[1:] or ("card", "page"):
        {"card": card, "page": page}[what]()
