"""Lesions like those of multiple sclerosis: where they sit, what shape they have, how they look.

A lesion is the set `s(p) = R (1 + n(p) - g(p) / 2) - |E p| > 0` in mm: an ellipsoid E of mean radius R, a smooth random
field n that dents and bulges it, and the grey matter g, which it shuns; what lies in CSF is left out.
Its weight rises from 0.35 at the edge to 1 inside over a rim of about a millimetre, so the image of the subject with
lesions equals that without, to the bit, everywhere outside the mask.

Sizes: log-normal, median 80 mm^3 (times e^(0.5 z) a subject), with a tail to some 6000 mm^3. Real patients have many
more tiny spots (half of the connected components of real masks have less than 20 mm^3), which teach a texture model
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domains.medical.phantoms.fields import smooth_field

# Share of lesions of each kind; "deep" is white matter of no special place.
KINDS: Mapping[str, float] = {"periventricular": 0.6, "juxtacortical": 0.15, "deep": 0.25}
EDGE = 0.35  # weight of the lesion at its border
MIN_VOLUME_MM3, MAX_VOLUME_MM3 = 12.0, 6000.0


@dataclass(frozen=True, eq=False)
class Spot:
    """One lesion in a block of the grid.

    block     slices of the block;  mask (block) bool;  weight (block) float32, 0 outside the mask, EDGE to 1 inside
    texture   (block) float32, unit deviation;  core (block) float32 0..1, a dark centre (0 when there is none)
    severity  0 to 1: how far its signal is from that of white matter
    kind, volume_mm3
    """

    block: tuple[slice, slice, slice]
    mask: NDArray
    weight: NDArray
    texture: NDArray
    core: NDArray
    severity: float
    kind: str
    volume_mm3: float


def draw_lesions(
    rng: np.random.Generator,
    count: int,
    places: tuple[NDArray, NDArray, NDArray],
    maps: NDArray,
) -> list[Spot]:
    """`count` lesions on a grid whose voxel centres lie at `places` (three arrays, mm).

    maps   (5, i, j, k): grey, white, CSF and the two priors of the subject, as `template.CHANNELS`
    Fewer are returned only where the grid holds too little white matter for so many.
    """
    white = maps[1]
    chances = {
        "periventricular": _cumulative(maps[3]),
        "juxtacortical": _cumulative(maps[4]),
        "deep": _cumulative(np.where(white > 0.9, white, 0)),
    }
    spots: list[Spot] = []
    middle_size = np.log(80.0) + 0.5 * rng.standard_normal()  # some subjects have larger lesions than others
    for _ in range(8 * count):
        if len(spots) == count:
            break
        kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
        share, size = rng.random(), float(np.exp(rng.normal(middle_size, 1.35)))
        volume = float(np.clip(size, MIN_VOLUME_MM3, MAX_VOLUME_MM3 if kind == "periventricular" else 400.0))
        total = chances[kind][-1]
        if total <= 0:
            continue
        flat = int(np.searchsorted(chances[kind], share * total, side="right"))
        centre = np.unravel_index(min(2 * flat, white.size - 1), white.shape)
        spot = make_spot(rng, kind, volume, np.array(centre), places, maps)
        if spot is not None:
            spots.append(spot)
    return spots


def _cumulative(chance: NDArray) -> NDArray:
    """Running sum over every second voxel: half the work, and no place is lost by it."""
    return np.cumsum(chance.ravel()[::2], dtype=np.float64)


def make_spot(
    rng: np.random.Generator,
    kind: str,
    volume: float,
    centre: NDArray,
    places: tuple[NDArray, NDArray, NDArray],
    maps: NDArray,
    *,
    fit: float = 0.3,
) -> Spot | None:
    """One lesion around a voxel, or None when less than the share `fit` of its volume finds room in the tissue."""
    radius = (3 * volume / (4 * np.pi)) ** (1 / 3)
    middle = np.array([p[c] for p, c in zip(places, centre, strict=True)]) + rng.uniform(-0.5, 0.5, 3)
    axes, stretch = _ellipsoid(rng, kind, middle)
    reach = 1.5 * radius * float(stretch.max()) + 2.0
    block = tuple(
        slice(int(np.searchsorted(p, m - reach)), int(np.searchsorted(p, m + reach)))
        for p, m in zip(places, middle, strict=True)
    )
    local = [p[b] for p, b in zip(places, block, strict=True)]
    if min(len(p) for p in local) < 2:
        return None
    x, y, z = (p - m for p, m in zip(local, middle, strict=True))
    offset = np.stack(np.meshgrid(x, y, z, indexing="ij"), -1).astype(np.float32)
    distance = np.linalg.norm((offset @ axes.astype(np.float32)) / stretch.astype(np.float32), axis=-1)
    coarse = smooth_field(rng, local, max(1.0 * radius, 1.5))[0]
    fine = smooth_field(rng, local, max(0.45 * radius, 1.2))[0]
    bumps = np.clip(0.22 * coarse + 0.10 * fine, -0.5, 0.5)
    grey, white, csf = maps[:3, block[0], block[1], block[2]]
    level = radius * (1.0 + bumps - 0.5 * grey) - distance
    mask = (level > 0) & (csf < 0.4) & (grey + csf < 0.95) & (grey + white + csf > 0.5)
    voxel = float(np.prod([p[1] - p[0] for p in places]))
    if mask.sum() * voxel < max(fit * volume, MIN_VOLUME_MM3 / 2) or mask.sum() < 4:
        return None
    rim = float(rng.uniform(0.8, 1.8))
    rise = np.clip(level / rim, 0, 1)
    weight = np.where(mask, EDGE + (1 - EDGE) * rise**2 * (3 - 2 * rise), 0).astype(np.float32)
    texture = smooth_field(rng, local, 2.2)[0]
    depth = np.clip((level / radius - 0.45) / 0.3, 0, 1)
    core = depth**2 * (3 - 2 * depth) if radius > 3.5 and rng.random() < 0.4 else np.zeros_like(depth)
    return Spot(
        (block[0], block[1], block[2]),
        mask,
        weight,
        texture,
        core.astype(np.float32),
        float(rng.beta(2.2, 1.8)),
        kind,
        float(mask.sum()) * voxel,
    )


def _ellipsoid(rng: np.random.Generator, kind: str, middle: NDArray) -> tuple[NDArray, NDArray]:
    """Axes (3, 3), as columns, and half-axes relative to the mean radius (3,).

    Near the ventricles the long axis points outwards from them, as along the small veins; elsewhere anywhere.
    """
    outwards = np.array([middle[0], 0.3 * rng.standard_normal() * 20, middle[2] - 18.0])
    first = outwards + 4 * rng.standard_normal(3) if kind == "periventricular" else rng.standard_normal(3)
    frame, _ = np.linalg.qr(np.column_stack([first, rng.standard_normal((3, 2))]))
    long = rng.uniform(1.2, 2.0) if kind == "periventricular" else rng.uniform(1.0, 1.5)
    stretch = np.array([long, rng.uniform(0.85, 1.15), 1.0])
    return frame, stretch / stretch.prod() ** (1 / 3)
