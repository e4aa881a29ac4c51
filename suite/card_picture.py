"""The picture of the lesion app's card, made by the app itself: before and after, side by side.

suite medical lesions add --image example:brain --mask example:brain --out results
python -m suite.card_picture results/syn_FLAIR.nii.gz
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.front.provenance import write_atomic
from suite.apps import APPS, ROOT

SIZE = (640, 360)  # pixels: two times the width of a card, 16 to 9
GAP = 4  # pixels between the halves
SHOWN = 0.9  # of the brain's height that a half shows


def lesion_picture(made: Path) -> NDArray:
    """(360, 640, 3) uint8: the axial plane of the example through its new lesion, before on the left, after right."""
    from PIL import Image

    from domains.medical.data import read_volume
    from domains.medical.planes import fitting_zoom, render
    from domains.medical.synthesis import built_in_example

    example = built_in_example("brain")
    before, after = example.volumes["FLAIR"], read_volume(made)
    frame = after.frame
    changed = frame.to_ras(before.values != after.values)
    middle = np.argwhere(changed).mean(0).round().astype(int)
    low, high = np.percentile(before.values[before.values > 0], (1, 99.8))
    high = max(high, np.percentile(after.values[before.values != after.values], 95))  # the lesion keeps its texture
    half = ((SIZE[0] - GAP) // 2, SIZE[1])
    zoom = fitting_zoom("axial", changed.shape, after.spacing, (10**6, int(half[1] / SHOWN)))
    halves = []
    for volume in (before, after):
        cut = render(
            frame.to_ras(volume.values),
            frame.affine,
            middle,
            plane="axial",
            window=high - low,
            level=(high + low) / 2,
            zoom=zoom,
            crosshair=False,
            letters=False,
        )
        top, left = (cut.shape[0] - half[1]) // 2, (cut.shape[1] - half[0]) // 2
        picture = Image.fromarray(cut).crop((left, top, left + half[0], top + half[1]))
        halves.append(np.asarray(picture))
    between = np.full((SIZE[1], GAP, 3), 255, np.uint8)
    return np.concatenate([halves[0], between, halves[1]], axis=1)


def main(made: str) -> None:
    """Write the picture where the app's card expects it."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(lesion_picture(Path(made))).save(buffer, "PNG", optimize=True)
    app = next(app for app in APPS if app.slug == "medical/lesions")
    target = ROOT / app.picture
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, buffer.getvalue())
    print(f"{target.relative_to(ROOT)}: {len(buffer.getvalue()) // 1024} KiB")


if __name__ == "__main__":
    main(sys.argv[1])
