"""The pictures of the lesion app, made by the app itself: its card, and its page at a desk and on a phone.

    python -m benchmarks.pictures.medical [card | page]

Runs the built-in example with the shipped weights and the default settings (some minutes) and writes docs/pictures/.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from PIL import Image

from benchmarks.pictures.photographer import OUT, keep, photographs, take

CARD: Final = (960, 540)


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
    keep(whole, OUT / "medical_lesions.png", colours=256)


def page() -> None:
    """The page after the example, at every look."""
    photographs(
        "medical",
        ready=lambda view: view.wait_for_selector("#before img.first[src^='data:image/png']"),
        shown=("#after img.first[src^='data:image/png']", "#quality table"),
        held=".run-panel, #notice",
    )


if __name__ == "__main__":
    take({"card": card, "page": page})
