"""Photographs of the hub's pages, taken in a real browser after a run, at every look; and how pictures are kept.

photographs("image", ready=lambda view: view.get_by_text("pixels are edges").wait_for(), shown=("#table table",))
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from PIL import Image

from shared.front.atomic import write_atomic
from suite.apps import ROOT

OUT: Final = ROOT / "docs" / "pictures"
LOOKS: Final[dict[str, tuple[int, Literal["light", "dark"]]]] = {
    "desk_light": (1440, "light"),
    "desk_dark": (1440, "dark"),
    "phone_dark": (390, "dark"),
}
PATIENCE: Final = 600_000  # milliseconds for a run, or for an example that is made when the first visitor comes


def photographs(domain: str, *, ready: Callable[[Any], object], shown: Sequence[str], held: str = ".run-panel") -> None:
    """Start the hub, press Run on a domain's page as it stands and keep docs/pictures/DOMAIN_page_LOOK.png.

    ready   waits until the page, which it is given, can be used
    shown   selectors of what the run fills;  held  selector of what stays in view when the page is scrolled
    """
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
            for look, (width, scheme) in LOOKS.items():
                view = chromium.new_page(
                    viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
                )
                view.set_default_timeout(PATIENCE)
                view.goto(f"{found[0]}{domain}/")
                ready(view)
                keep(_after_a_run(view, shown, held), OUT / f"{domain}_page_{look}.png", colours=256)
                view.close()
            chromium.close()
        finally:
            hub.terminate()


def keep(picture: Image.Image, path: Path, *, colours: int | None = None) -> None:
    """As a PNG, whole or not at all; with few colours, which is enough for a page, it has a quarter of the bytes."""
    buffer = io.BytesIO()
    kept = picture if colours is None else picture.quantize(colours, dither=Image.Dither.NONE)
    kept.save(buffer, "PNG", optimize=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue())
    print(f"{path.relative_to(ROOT)}  {np.ceil(buffer.tell() / 1024):.0f} KiB")


def take(makers: dict[str, Callable[[], None]]) -> None:
    """The pictures that the command line names, or all."""
    torch.set_num_threads(min(2, torch.get_num_threads()))
    for what in sys.argv[1:] or makers:
        makers[what]()


def _after_a_run(view: Any, shown: Sequence[str], held: str) -> Image.Image:
    """The whole page once its run is done; a run that fails ends the program with its words."""
    view.locator("#run").click()
    view.wait_for_selector("#status :is(.status-done, .status-error)")
    said = view.locator("#status").inner_text()
    if view.locator("#status .status-done").count() == 0:
        raise SystemExit(said)
    for selector in shown:
        view.wait_for_selector(selector)
    view.add_style_tag(content=f"{held} {{ position: static !important; }}")  # a picture has nothing to scroll
    print(said.strip())
    return Image.open(io.BytesIO(view.screenshot(full_page=True))).convert("RGB")
