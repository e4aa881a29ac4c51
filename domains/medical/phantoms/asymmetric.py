"""A head that shows which way round it is: a large block on the patient's left, a bar in front, a knob on top.

Every value names its side, so a viewer, a reader or a writer that swaps or mirrors an axis is found out by one voxel.
"""

from __future__ import annotations

import numpy as np

from domains.medical.data import Volume, make_volume
from domains.medical.geometry import ras_frame, to_mm

# Half flips, half permutations; three letters say where the file's axes run to.
EIGHT_ORIENTATIONS = ("RAS", "LAS", "LPS", "RPI", "ASR", "PIR", "SLA", "IPL")
# Landmark -> (stored value, centre in mm, half edges in mm); +x is the patient's right.
LANDMARKS: dict[str, tuple[int, tuple[float, float, float], tuple[float, float, float]]] = {
    "L": (1000, (-18.0, 0.0, 0.0), (6.0, 8.0, 7.0)),
    "A": (700, (4.0, 21.0, 2.0), (5.0, 3.0, 4.0)),
    "S": (400, (2.0, -3.0, 20.0), (3.0, 4.0, 3.0)),
}
HEAD_VALUE, BACKGROUND_VALUE = 100, 0
_SHAPE, _SPACING = (44, 52, 30), (1.5, 1.25, 2.0)


def asymmetric_phantom(orientation: str = "RAS") -> Volume:
    """The head (about 66 x 65 x 60 mm, int16) stored with its axes running to three letters, for example "PIR".

    Whatever the orientation, the same millimetres hold the same value.
    """
    letters = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}
    axes = [letters.get(letter, -1) for letter in orientation]
    if sorted(axes) != [0, 1, 2]:
        raise ValueError(f"{orientation!r} does not name three axes: one of R/L, A/P and S/I each")
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, world in enumerate(axes):
        affine[world, axis] = _SPACING[world] * (1 if orientation[axis] in "RAS" else -1)
    shape = (_SHAPE[axes[0]], _SHAPE[axes[1]], _SHAPE[axes[2]])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    frame = ras_frame(shape, affine)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in frame.ras_shape), indexing="ij"), -1)
    mm = to_mm(frame.affine, grid)
    head = np.where((mm / (31.0, 31.0, 28.0)) ** 2 @ np.ones(3) < 1, HEAD_VALUE, BACKGROUND_VALUE)
    for value, centre, half in LANDMARKS.values():
        head[(np.abs(mm - centre) <= half).all(-1)] = value
    return make_volume(frame.from_ras(head.astype(np.int16)), affine)
