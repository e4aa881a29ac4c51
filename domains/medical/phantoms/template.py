"""Tissue maps of the average brain, and where lesions of multiple sclerosis like to sit.

The maps are the grey and white matter probabilities of the MNI ICBM152 (2009a, symmetric) template, package data of
nilearn (ICBM licence: free to use with its notice). CSF is what remains inside the skull-stripped head.
The prior is made from the maps alone: white matter near the ventricles (distance scale 5 mm), white matter just below
the cortex (2 mm), and the rest of the white matter.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from domains.medical.geometry import to_voxel
from shared.errors import UserError

CHANNELS = ("grey", "white", "csf", "periventricular", "juxtacortical")
# A point inside each lateral ventricle, mm in MNI space (body of the ventricle).
_VENTRICLES_MM = ((-14.0, -20.0, 24.0), (14.0, -20.0, 24.0))
_BRAINSTEM_MM = -30.0  # below it the prior is small: the maps hold brain stem and cerebellum there


@dataclass(frozen=True, eq=False)
class Template:
    """maps (5, i, j, k) float32 in [0, 1] in the order of CHANNELS;  affine (4, 4), RAS;  low, high: its box in mm."""

    maps: NDArray
    affine: NDArray
    low: tuple[float, float, float]
    high: tuple[float, float, float]


@lru_cache(maxsize=1)
def template() -> Template:
    """The maps at 1 mm, cut to the brain with a margin of 2 voxels; about 1 s, once a process."""
    from scipy import ndimage

    head, grey, white, affine = (*(_map(name) for name in ("t1", "gm", "wm")), _affine())
    brain = head > 0  # the T1 map is skull-stripped and has no holes
    inside = np.argwhere(brain)
    low, high = np.maximum(inside.min(0) - 2, 0), inside.max(0) + 3
    block = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    grey, white, brain = grey[block], white[block], brain[block].astype(np.float32)
    affine = affine.copy()
    affine[:3, 3] += low  # 1 mm, RAS
    csf = np.clip(brain - grey - white, 0, 1)
    coarse = tuple(slice(None, None, 2) for _ in range(3))
    near, below = _prior(grey[coarse], white[coarse], csf[coarse], brain[coarse], affine)
    maps = np.empty((len(CHANNELS), *grey.shape), np.float32)
    maps[0], maps[1], maps[2] = grey, white, csf
    for channel, values in ((3, near), (4, below)):
        fine = ndimage.zoom(values, 2, order=1, grid_mode=True, mode="nearest")
        maps[channel] = fine[tuple(slice(0, n) for n in grey.shape)]
    corners = affine[:3, 3] + 2, affine[:3, 3] + np.array(grey.shape) - 3
    (a, b, c), (d, e, f) = corners[0].tolist(), corners[1].tolist()
    return Template(maps, affine, (a, b, c), (d, e, f))


def _prior(grey: NDArray, white: NDArray, csf: NDArray, brain: NDArray, affine: NDArray) -> tuple[NDArray, NDArray]:
    """Periventricular and juxtacortical chances on the 2 mm grid."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(brain > 0, sampling=2.0)  # mm below the surface
    fluid, _ = ndimage.label((csf > 0.5) & (depth > 18))
    marks = {int(fluid[tuple(np.rint(to_voxel(affine, mm) / 2).astype(int))]) for mm in _VENTRICLES_MM} - {0}
    if not marks:
        raise ValueError("the template has no fluid where the lateral ventricles should be")
    to_ventricle = ndimage.distance_transform_edt(~np.isin(fluid, list(marks)), sampling=2.0)
    to_cortex = ndimage.distance_transform_edt(~((grey > 0.5) & (depth < 14)), sampling=2.0)
    height = affine[2, 3] + 2.0 * np.arange(white.shape[2])
    above = 1 / (1 + np.exp(-(height - _BRAINSTEM_MM) / 4))
    near = white**2 * np.exp(-((to_ventricle / 5.0) ** 1.5)) * above
    below = white**2 * np.exp(-to_cortex / 2.0) * above
    return near.astype(np.float32), below.astype(np.float32)


def _map(name: str) -> NDArray:
    return np.asarray(_image(name).dataobj, dtype=np.float32) / 255


def _affine() -> NDArray:
    return np.asarray(_image("t1").affine, float)


def _image(name: str) -> nib.Nifti1Image:
    # nilearn itself is not imported: that takes seconds, and only its data are wanted.
    found = importlib.util.find_spec("nilearn")
    if found is None or found.origin is None:
        raise UserError("the brain template is missing", where="nilearn", remedy="install the medical extra")
    folder = Path(found.origin).parent / "datasets" / "data"
    return nib.load(folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz")
