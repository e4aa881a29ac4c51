"""A small brain, a mask and an untrained checkpoint: what the tests of the lesion app work on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from domains.medical.data import Volume, make_volume
from domains.medical.export import write_label, write_volume
from domains.medical.lesions.model import NETWORK
from domains.medical.synthesis import brain_phantom
from shared import checkpoints
from shared.networks.unet import UNet


def ball(shape: tuple[int, ...], centre: tuple[float, ...], radius: float) -> NDArray:
    """(shape) bool: voxels within a radius, in voxels."""
    grid = np.indices(shape).reshape(3, -1).T
    return (np.linalg.norm(grid - np.asarray(centre), axis=1) <= radius).reshape(shape)


def small_brain(seed: int = 5) -> tuple[Mapping[str, Volume], NDArray]:
    """FLAIR, T1 and T2 at 2 mm, and a mask of one ball in the white matter."""
    made = brain_phantom(seed, spacing=2.0, size=(72, 88, 72), lesions=3)
    volumes = made.volumes()
    frame = volumes["FLAIR"].frame
    deep = np.argwhere(made.tissue == 3)
    middle = deep[np.linalg.norm(deep - np.array([22, 44, 40]), axis=1).argmin()]
    return volumes, np.ascontiguousarray(frame.from_ras(ball(frame.ras_shape, tuple(middle), 3.0)))


@cache
def brain_at(
    spacing: float, across: tuple[float, ...] = (-3.0, 3.0), radius: float = 2.0
) -> tuple[Mapping[str, Volume], NDArray]:
    """FLAIR of a small brain in float32, and balls in its white matter; the two of 4 mm lie 2 mm apart.

    spacing, radius  in mm;  across  mm from the deepest voxel of the white matter to the middle of each ball
    """
    from scipy import ndimage

    made = brain_phantom(5, spacing=spacing, size=tuple(int(v / spacing) for v in (56, 64, 56)), lesions=2)
    found = made.volumes()["FLAIR"]
    volume = make_volume(np.asarray(found.values, np.float32), found.affine)
    depth = ndimage.distance_transform_edt(np.pad(made.tissue == 3, 1))[1:-1, 1:-1, 1:-1]
    middle = np.array(np.unravel_index(depth.argmax(), depth.shape))
    balls = [ball(depth.shape, tuple(middle + np.array([at / spacing, 0, 0])), radius / spacing) for at in across]
    return {"FLAIR": volume}, np.ascontiguousarray(volume.frame.from_ras(np.any(balls, axis=0)))


def written(folder: Path, volumes: Mapping[str, Volume], mask: NDArray) -> dict[str, Path]:
    """The brain as files: FLAIR.nii.gz, T1.nii.gz, T2.nii.gz, mask.nii.gz."""
    out = {}
    for name, volume in volumes.items():
        path = folder / f"{name}.nii.gz"
        out[name] = write_volume(volume, volume.values, path, synthetic=False).path
    first = next(iter(volumes.values()))
    out["mask"] = write_label(first, mask, folder / "mask.nii.gz", synthetic=False).path
    return out


def untrained(path: Path, seed: int = 0) -> Path:
    """A checkpoint of a tiny network with random weights that says something at every voxel."""
    torch.manual_seed(seed)
    network = UNet(replace(NETWORK, channels=(8, 8, 8, 8)))
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.05 * torch.randn_like(value))
    card = {
        "name": "medical/lesions",
        "recipe": "medical/lesions",
        "data": [{"name": "none", "licence": "none", "attribution": "none"}],
        "licence": "Apache-2.0",
        "minutes": 0.0,
        "metrics": {"none": 0.0},
    }
    checkpoints.save(path, network, card)
    return path
