"""Window and level presets: which range of values is spread over black to white.

MR has no unit, so its presets are percentiles of the voxels that are not background. CT is in Hounsfield units, and
its presets are the widths and centres in use for brain, bone, lung and soft tissue.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Window(NamedTuple):
    """Width and centre of the shown range, in the unit of the scan."""

    width: float
    level: float


CT: Final = {
    "Brain": Window(80, 40),
    "Bone": Window(2000, 500),
    "Lung": Window(1500, -600),
    "Soft tissue": Window(400, 40),
}
MR: Final = {"Standard": (1.0, 99.8), "Lesions": (30.0, 99.95), "Dark structures": (0.0, 75.0)}
AIR_HU: Final = -500.0  # a CT holds air; no MR value is that far below zero
STRIDE: Final = 3  # every 27th voxel is enough for a percentile


def presets(values: NDArray) -> dict[str, Window]:
    """Presets by name for a scan, the one to start with first; never of width 0."""
    few = np.asarray(values[::STRIDE, ::STRIDE, ::STRIDE], np.float64)
    low, high = float(values.min()), float(values.max())
    whole = Window(max(high - low, 1e-6), (high + low) / 2)
    if low < AIR_HU < 0 < high:
        return {**CT, "Full range": whole}
    found, counts = np.unique(few, return_counts=True)
    common = int(counts.argmax())
    inside = few[few != found[common]] if counts[common] > 0.1 * few.size else few.ravel()
    made = {}
    for name, shares in MR.items():
        start, end = (float(v) for v in np.percentile(inside if inside.size else few, shares))
        if name == "Standard":
            start = min(start, float(found[common]))  # the background stays black
        made[name] = Window(max(end - start, 1e-6), (end + start) / 2)
    return {**made, "Full range": whole}
