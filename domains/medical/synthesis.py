"""Brains that nobody has: procedural subjects with exact tissue and lesion truth, and the examples of the page.

    subject = brain_phantom(seed=3)
    subject.images["FLAIR"], subject.lesions, subject.healthy("FLAIR")      # with, where, and without its lesions

Each subject is the template of `phantoms.template` moved by a random affine and a smooth B-spline warp; its signal is
a mixture of tissue signals by partial volume, times a smooth bias field, plus Rician noise,
`|x b + n1 + i n2|`, skull-stripped on a zero background. Signals are relative to white matter of the same contrast and
vary from subject to subject; they follow what T1, T2 and FLAIR imaging show at 1.5 to 3 T. The noise of a subject is
the same with and without lesions, so the two images are equal to the bit outside the lesion mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.medical.data import Volume, make_volume
from domains.medical.geometry import spacing_of
from domains.medical.phantoms.fields import smooth_field
from domains.medical.phantoms.lesions import Spot, draw_lesions, make_spot
from domains.medical.phantoms.template import template
from shared.errors import UserError

BACKGROUND, CSF, GREY, WHITE = 0, 1, 2, 3
CENTRUM_MM = (8.0, 45.0)  # heights between the basal ganglia and the vertex, where the white matter is broadest
MNI_SHAPE, MNI_ORIGIN_MM = (182, 218, 182), (-91.0, -126.0, -72.0)


@dataclass(frozen=True)
class Contrast:
    """Signals relative to white matter, and the look of lesions, as (least, most) severe multiples of it."""

    scale: float  # what white matter is stored as
    csf: float
    grey: float
    lesion: tuple[float, float]
    core: float  # the dark centre that some large lesions have
    noise: float = 1.0  # relative to the others in scans of equal time


CONTRASTS: Mapping[str, Contrast] = {
    "FLAIR": Contrast(90.0, 0.22, 1.13, (1.22, 1.62), 0.85, noise=1.5),
    "T1": Contrast(320.0, 0.12, 0.74, (0.92, 0.58), 0.40),
    "T2": Contrast(260.0, 3.30, 1.28, (1.30, 2.05), 2.60),
}


@dataclass(frozen=True, eq=False)
class BrainPhantom:
    """One subject in its RAS frame.

    images      contrast -> (i, j, k) float32, zero outside the brain
    tissue      (i, j, k) uint8: 0 background, 1 CSF, 2 grey, 3 white matter, as without lesions
    lesions     (i, j, k) bool
    lesion_ids  (i, j, k) uint8: 1, 2, ... in the order drawn; a later lesion does not overwrite an earlier one
    affine      (4, 4) voxel to mm; the origin is that of MNI space, the brain is not matched to the template
    """

    images: Mapping[str, NDArray]
    tissue: NDArray
    lesions: NDArray
    lesion_ids: NDArray
    affine: NDArray
    seed: int
    before: Mapping[str, NDArray]  # values of the voxels of `lesions` without the lesions

    @property
    def spacing(self) -> tuple[float, float, float]:
        return spacing_of(self.affine)

    def healthy(self, contrast: str) -> NDArray:
        """The same subject, scanned with the same noise, without lesions: exact ground truth."""
        out = self.images[contrast].copy(order="K")
        out[self.lesions] = self.before[contrast]
        return out

    def volumes(self, *, healthy: bool = False) -> dict[str, Volume]:
        """The contrasts as volumes that can be written or put through the pipeline."""
        images = {name: self.healthy(name) for name in self.images} if healthy else self.images
        return {name: make_volume(image, self.affine, code=1) for name, image in images.items()}


def brain_phantom(
    seed: int,
    *,
    contrasts: Sequence[str] = ("FLAIR", "T1", "T2"),
    spacing: float = 1.0,
    size: tuple[int, int, int] | None = None,
    centre_mm: tuple[float, float, float] = (0.0, -18.0, 5.0),
    lesions: int | None = None,
    noise: float | None = None,
) -> BrainPhantom:
    """A subject from a seed; the same arguments give the same numbers on one machine.

    contrasts   names out of CONTRASTS
    spacing     mm, equal on all axes
    size        voxels of a grid centred at `centre_mm` (MNI mm); None: the whole head, 182 x 218 x 182 at 1 mm
    lesions     how many; None: 10 to 30, drawn
    noise       deviation of the noise over the signal of white matter, 1.5 times as much in FLAIR; None: 0.02 to 0.05
    """
    rng = np.random.default_rng((seed, 0xB4A1))
    unknown = [name for name in contrasts if name not in CONTRASTS]
    if unknown or not contrasts:
        raise UserError(f"no contrast {', '.join(unknown) or 'given'}", remedy=f"choose from {', '.join(CONTRASTS)}")
    if not 0.5 <= spacing <= 5:
        raise UserError(f"a spacing of {spacing:g} mm", where="spacing", remedy="choose 0.5 to 5 mm")
    count = int(rng.integers(10, 31)) if lesions is None else lesions
    level = float(rng.uniform(0.02, 0.05)) if noise is None else noise
    shape, affine = _grid(spacing, size, centre_mm)
    block = _brain_block(shape, affine)
    places = _places(affine, block)
    if min(len(p) for p in places) < 2:
        raise UserError("the grid misses the brain", where="centre_mm", remedy="centre it within the brain")
    maps = _anatomy(rng, places)
    grey, white, csf = maps[:3]
    brain = grey + white + csf > 0.5
    spots = draw_lesions(rng, count, places, maps)
    tissue = np.where(brain, 1 + np.argmax(np.stack([csf, grey, white]), axis=0), 0).astype(np.uint8)
    ids = np.zeros(brain.shape, np.uint8)
    for number, spot in enumerate(spots, 1):
        ids[spot.block][spot.mask & (ids[spot.block] == 0)] = min(number, 255)
    where = ids > 0
    images, before = {}, {}
    for name in contrasts:
        # Streams of their own: a contrast depends neither on the others nor, outside them, on the lesions.
        contrast, stream = CONTRASTS[name], (seed, 0xC0, list(CONTRASTS).index(name))
        own, look = np.random.default_rng((*stream, 0)), np.random.default_rng((*stream, 1))
        clean = _signal(own, contrast, grey, white, csf)
        ill = _with_lesions(look, contrast, clean, spots)
        grain = np.float32(level * contrast.noise)
        bias = np.exp(0.07 * smooth_field(own, places, 55.0, span=_head())[0])
        real = own.standard_normal(brain.shape, dtype=np.float32) * grain
        imaginary = own.standard_normal(brain.shape, dtype=np.float32) * grain
        scale = np.float32(contrast.scale * own.uniform(0.8, 1.25))
        twin = _scan(clean[where], bias[where], real[where], imaginary[where], scale)
        images[name] = _embed(np.where(brain, _scan(ill, bias, real, imaginary, scale), 0), shape, block)
        before[name] = twin  # indexing by a mask visits the block and the grid in one order
    return BrainPhantom(
        images,
        _embed(tissue, shape, block),
        _embed(where, shape, block),
        _embed(ids, shape, block),
        affine,
        seed,
        before,
    )


@dataclass(frozen=True, eq=False)
class Example:
    """A scan to try things on, all in one grid.

    volumes    contrast -> scan with the lesions of `existing`
    mask       bool: where a new lesion could go; inside white matter, clear of the existing ones
    existing   int32: labels of the lesions that are there, 0 elsewhere
    """

    name: str
    volumes: Mapping[str, Volume]
    mask: NDArray
    existing: NDArray


# Name -> what `brain_phantom` is asked for, and the volume of the new lesion in mm^3.
EXAMPLES: Mapping[str, tuple[dict[str, Any], float]] = {
    "brain": ({"seed": 7, "lesions": 9}, 1800.0),
    "brain-crop": ({"seed": 7, "lesions": 5, "size": (96, 112, 96), "centre_mm": (0.0, -18.0, 22.0)}, 1200.0),
    "brain-2mm": ({"seed": 11, "lesions": 9, "size": (96, 112, 96), "spacing": 2.0}, 1800.0),
}


@lru_cache(maxsize=len(EXAMPLES))
def built_in_example(name: str) -> Example:
    """A ready example, made on the spot: "brain" (whole head, 1 mm), "brain-crop" (1 mm), "brain-2mm" (whole head)."""
    if name not in EXAMPLES:
        raise UserError(f"no example named {name}", remedy=f"choose from {', '.join(EXAMPLES)}")
    wanted, volume = EXAMPLES[name]
    made = brain_phantom(**wanted)
    mask = lesion_mask(wanted["seed"], made, volume)
    return Example(name, made.volumes(), mask, made.lesion_ids.astype(np.int32))


def lesion_mask(seed: int, subject: BrainPhantom, volume_mm3: float) -> NDArray:
    """A plausible mask (bool, grid of the subject) of about this volume for a new lesion in its white matter.

    It keeps two voxels clear of the lesions that are there. UserError when no such place is found.
    """
    from scipy import ndimage

    rng = np.random.default_rng((seed, 0x3A5C))
    block = ndimage.find_objects((subject.tissue > 0).astype(np.uint8))[0]
    places = _places(subject.affine, block)
    tissue = subject.tissue[block]
    white = (tissue == WHITE) & ~ndimage.binary_dilation(subject.lesions[block], iterations=2)
    maps = np.stack([tissue == GREY, white, tissue == CSF]).astype(np.float32)
    radius = (3 * volume_mm3 / (4 * np.pi)) ** (1 / 3) / subject.spacing[0]
    deep = ndimage.uniform_filter(maps[1], max(3, round(1.6 * radius)), mode="constant") > 0.9
    low, high = np.searchsorted(places[2], CENTRUM_MM)
    deep[..., :low] = deep[..., high:] = False
    centres = np.argwhere(deep)
    for _ in range(40 if len(centres) else 0):
        spot = make_spot(rng, "deep", volume_mm3, centres[rng.integers(len(centres))], places, maps, fit=0.6)
        if spot is not None and not (spot.mask & ~white[spot.block]).any():
            inside = np.zeros(white.shape, bool)
            inside[spot.block] = spot.mask
            return _embed(inside, subject.lesions.shape, block)
    raise UserError(f"no room for a lesion of {volume_mm3:g} mm^3 in the white matter", remedy="ask for a smaller one")


# ------------------------------------------------------------------------------------------------------------ anatomy


def _grid(
    spacing: float, size: tuple[int, int, int] | None, centre: tuple[float, float, float]
) -> tuple[tuple[int, int, int], NDArray]:
    affine = np.diag([spacing, spacing, spacing, 1.0])
    if size is None:
        a, b, c = (int(np.ceil(n / spacing)) for n in MNI_SHAPE)
        affine[:3, 3] = MNI_ORIGIN_MM
        return (a, b, c), affine
    affine[:3, 3] = np.asarray(centre) - spacing * (np.asarray(size) - 1) / 2
    return (int(size[0]), int(size[1]), int(size[2])), affine


def _brain_block(shape: tuple[int, int, int], affine: NDArray) -> tuple[slice, slice, slice]:
    """The part of the grid that a moved brain can reach."""
    made, margin, step = template(), 9.0, affine[0, 0]
    low = np.maximum(np.floor((np.array(made.low) - margin - affine[:3, 3]) / step), 0).astype(int)
    high = np.minimum(np.ceil((np.array(made.high) + margin - affine[:3, 3]) / step) + 1, shape).astype(int)
    a, b, c = (slice(int(p), max(int(p), int(q))) for p, q in zip(low, high, strict=True))
    return a, b, c


def _places(affine: NDArray, block: Sequence[slice]) -> tuple[NDArray, NDArray, NDArray]:
    x, y, z = (affine[i, 3] + affine[i, i] * np.arange(b.start, b.stop) for i, b in enumerate(block))
    return x, y, z


def _head() -> list[tuple[float, float]]:
    """The box, mm, that smooth fields are drawn on whatever part of it is asked for: a crop shows the same subject."""
    return [(low - 10, high + 10) for low, high in zip(template().low, template().high, strict=True)]


def _anatomy(rng: np.random.Generator, places: tuple[NDArray, NDArray, NDArray]) -> NDArray:
    """(5, i, j, k) maps of the template, moved to this subject: grey, white, csf, and the two priors."""
    import torch

    made = template()
    turn = _small_affine(rng)
    x, y, z = places
    middle = np.array([0.0, -18.0, 5.0])
    where = np.empty((3, len(x), len(y), len(z)), np.float32)  # template mm of every voxel
    for axis in range(3):
        ramps = [turn[axis, i] * (p - middle[i]) for i, p in enumerate(places)]
        where[axis] = ramps[0][:, None, None] + ramps[1][:, None] + ramps[2] + middle[axis]
    for spacing, reach in ((28.0, 2.2), (11.0, 0.55)):
        where += reach * smooth_field(rng, places, spacing, components=3, span=_head())
    shape = np.array(made.maps.shape[1:])
    grid = torch.empty(1, *where.shape[1:], 3)
    for axis in range(3):  # to [-1, 1] from end to end; torch counts the last axis first
        grid[0, ..., 2 - axis] = torch.from_numpy((where[axis] - made.affine[axis, 3]) * (2 / (shape[axis] - 1)) - 1)
    source = torch.from_numpy(made.maps)[None]
    maps = torch.nn.functional.grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    out = maps[0].numpy()
    # The template is an average of many brains. Squaring the shares gives back edges that one brain has; a factor on
    # CSF widens the furrows, as age and disease do.
    inside = out[:3].sum(0)
    out[2] *= np.float32(np.exp(rng.uniform(0.0, 1.0)))
    np.square(out[:3], out=out[:3])
    out[:3] *= inside / np.maximum(out[:3].sum(0), 1e-9)
    return out


def _small_affine(rng: np.random.Generator) -> NDArray:
    """From the subject to the template: rotation by some 2 degrees, shear by some 1.5 %, and the size of the brain.

    The MNI brain is larger than most: subjects have 93 % of its length, give or take 3 %.
    """
    angles = np.deg2rad(rng.normal(0, 2.0, 3).clip(-5, 5))
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        one = np.eye(3)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        one[i, i] = one[j, j] = np.cos(angle)
        one[i, j], one[j, i] = -np.sin(angle), np.sin(angle)
        turn = turn @ one
    scale = np.diag((1 + rng.normal(0, 0.03, 3).clip(-0.07, 0.07)) / 0.93)
    shear = np.eye(3) + np.triu(rng.normal(0, 0.015, (3, 3)), 1)
    return turn @ scale @ shear


# -------------------------------------------------------------------------------------------------------------- signal


def _signal(rng: np.random.Generator, contrast: Contrast, grey: NDArray, white: NDArray, csf: NDArray) -> NDArray:
    """Noise-free image of the healthy subject, white matter near 1."""
    jitter = 1 + 0.05 * rng.standard_normal(2).clip(-2, 2)
    return white + np.float32(contrast.grey * jitter[0]) * grey + np.float32(contrast.csf * jitter[1]) * csf


def _with_lesions(rng: np.random.Generator, contrast: Contrast, clean: NDArray, spots: Sequence[Spot]) -> NDArray:
    """The image with each lesion blended in by its weight; where lesions overlap the later one is on top."""
    out = clean.copy()
    mild, severe = contrast.lesion
    for spot in spots:
        level = mild + (severe - mild) * float(np.clip(spot.severity + 0.12 * rng.standard_normal(), 0, 1))
        inside = level * (1 + 0.05 * spot.texture) * (1 - spot.core) + contrast.core * spot.core
        weight = np.where(spot.mask, spot.weight, 0)
        out[spot.block] += weight * (inside - out[spot.block])
    return out


def _scan(signal: NDArray, bias: NDArray, real: NDArray, imaginary: NDArray, scale: np.float32) -> NDArray:
    """Rician magnitude; a hair above zero, so that brain is never background."""
    return np.maximum(np.sqrt((signal * bias + real) ** 2 + imaginary**2), 1e-3) * scale


def _embed(block_values: NDArray, shape: tuple[int, int, int], block: tuple[slice, slice, slice]) -> NDArray:
    out = np.zeros(shape, block_values.dtype, order="F")
    out[block] = block_values
    return out
