"""Lung patches in two dimensions: parenchyma, vessels, look-alikes and nodules, with exact masks; made in milliseconds.

A patch is 48 x 48 pixels of 1 mm in CT numbers (HU), shown in the unit u = (HU + 300) / 700 clipped to [-1, 1], the
window from -1000 to 400 HU. Row i of (seed, count) depends on (seed, i) alone. Edges are drawn with the share of the
pixel that the shape covers, c = clip(1/2 - d, 0, 1) for a signed distance d in pixels (partial volume).

Everything that a nodule can be told by alone is also true of something else in the patch: vessels are as dense as solid
nodules, their cross-sections as round, bands of haze as faint as ground glass. Numbers: CT densities as in common
radiology texts (parenchyma -880 to -780 HU, ground glass -650 to -450, soft tissue 20 to 60).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EDGE = 48
KINDS = ("ground-glass", "part-solid", "solid")
NO_NODULE = -1
RADIUS = (3.0, 7.5)  # pixels
WINDOW = (-1000.0, 400.0)  # HU shown as -1 and 1

_ROWS, _COLUMNS = np.mgrid[0:EDGE, 0:EDGE].astype(np.float32)


@dataclass(frozen=True, eq=False)
class Patches:
    """N patches, batch first.

    images  (N, 48, 48) float32 in [-1, 1];  masks  (N, 48, 48) bool, the nodule;  kinds  (N,) index into KINDS or -1;
    radii   (N,) float32 pixels, mean radius of the outline, 0 without a nodule
    """

    images: NDArray
    masks: NDArray
    kinds: NDArray
    radii: NDArray

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Sequence[int] | NDArray) -> Patches:
        """The given rows."""
        return Patches(self.images[rows], self.masks[rows], self.kinds[rows], self.radii[rows])


def joined(*parts: Patches) -> Patches:
    """The rows of all parts, in order."""
    return Patches(
        np.concatenate([p.images for p in parts]),
        np.concatenate([p.masks for p in parts]),
        np.concatenate([p.kinds for p in parts]),
        np.concatenate([p.radii for p in parts]),
    )


def with_nodules(count: int, seed: int, shares: Sequence[float] = (1, 1, 1)) -> Patches:
    """`count` patches with one nodule each; shares are the chances of the KINDS, in any unit."""
    chances = np.asarray(shares, float)
    return _patches(count, seed, chances / chances.sum())


def lesion_free(count: int, seed: int) -> Patches:
    """`count` patches with everything but a nodule."""
    return _patches(count, seed, None)


def to_unit(hu: NDArray) -> NDArray:
    """CT numbers to [-1, 1], float32."""
    low, high = WINDOW
    return (np.clip((hu - low) / (high - low), 0, 1) * 2 - 1).astype(np.float32)


# ------------------------------------------------------------------------------------------------------------ a patch


def _patches(count: int, seed: int, chances: NDArray | None) -> Patches:
    hu = np.empty((count, EDGE, EDGE), np.float32)
    masks = np.zeros((count, EDGE, EDGE), bool)
    kinds, radii = np.full(count, NO_NODULE, np.int64), np.zeros(count, np.float32)
    white = np.empty((3, count, EDGE, EDGE), np.float32)  # parenchyma, inside of the nodule, scanner noise
    draws = [np.random.default_rng((seed, i)) for i in range(count)]
    for i, rng in enumerate(draws):
        white[:, i] = rng.standard_normal((3, EDGE, EDGE), dtype=np.float32)
    tissue, inner, scanner = _coloured(white[0], 1.0), _coloured(white[1], 0.8), _coloured(white[2], -0.25)
    for i, rng in enumerate(draws):
        air = rng.uniform(-880, -780)
        field = air + 32 * tissue[i]
        field = _vessels(field, rng)
        field = _look_alikes(field, rng)
        if chances is not None:
            kind = int(rng.choice(len(KINDS), p=chances))
            field, masks[i], radii[i] = _nodule(field, rng, kind, inner[i])
            kinds[i] = kind
        hu[i] = field + rng.uniform(15, 35) * scanner[i]
    return Patches(to_unit(hu), masks, kinds, radii)


def _coloured(white: NDArray, power: float) -> NDArray:
    """Noise (N, 48, 48) of unit deviation whose amplitude falls as 1 / frequency^power; periodic."""
    fy, fx = np.fft.fftfreq(EDGE)[:, None], np.fft.rfftfreq(EDGE)[None]
    frequency = np.sqrt(fy**2 + fx**2)
    frequency[0, 0] = 1
    gain = frequency**-power
    gain[0, 0] = 0
    out = np.fft.irfft2(np.fft.rfft2(white) * gain, s=(EDGE, EDGE))
    return (out / out.std(axis=(1, 2), keepdims=True)).astype(np.float32)


def _over(field: NDArray, cover: NDArray, hu: NDArray | float) -> NDArray:
    """Something of density `hu` over the field where it covers it."""
    return field + cover * (hu - field)


# ------------------------------------------------------------------------------------------------ vessels, look-alikes


def _vessels(field: NDArray, rng: np.random.Generator) -> NDArray:
    """One to three vessels that taper and may fork: chains of short straight pieces."""
    for _ in range(rng.integers(1, 4)):
        start, angle = rng.uniform(0, EDGE, 2), rng.uniform(0, 2 * np.pi)
        radius, hu = rng.uniform(0.7, 1.9), rng.uniform(20, 60)
        points, widths = _walk(rng, start, angle, radius, int(rng.integers(6, 14)))
        field = _over(field, _tube(points, widths), hu)
        if rng.random() < 0.6:  # a fork; Murray's law r^3 = r1^3 + r2^3 with equal branches
            place = int(rng.integers(1, len(points) - 1))
            turn = rng.choice((-1, 1)) * rng.uniform(0.4, 1.0)
            points, widths = _walk(rng, points[place], angle + turn, widths[place] * 0.5 ** (1 / 3), 7)
            field = _over(field, _tube(points, widths), hu)
    return field


def _walk(
    rng: np.random.Generator, start: NDArray, angle: float, radius: float, pieces: int
) -> tuple[NDArray, NDArray]:
    angles = angle + np.cumsum(rng.normal(0, 0.22, pieces))
    steps = rng.uniform(2.5, 4.5, (pieces, 1)) * np.stack([np.sin(angles), np.cos(angles)], 1)
    points = np.concatenate([start[None], start + np.cumsum(steps, 0)]).astype(np.float32)
    return points, (radius * 0.97 ** np.arange(pieces + 1)).astype(np.float32)


def _tube(points: NDArray, widths: NDArray) -> NDArray:
    """Share of each pixel covered by a chain of pieces (n, 2) with radii (n,)."""
    p, q = points[:-1, None, None], points[1:, None, None]  # (n, 1, 1, 2)
    along = q - p
    dy, dx = _ROWS - p[..., 0], _COLUMNS - p[..., 1]  # (n, 48, 48)
    t = np.clip((dy * along[..., 0] + dx * along[..., 1]) / (along**2).sum(-1), 0, 1)
    distance = np.sqrt((dy - t * along[..., 0]) ** 2 + (dx - t * along[..., 1]) ** 2)
    return np.clip(0.5 + (widths[:-1, None, None] - distance).max(0), 0, 1)


def _look_alikes(field: NDArray, rng: np.random.Generator) -> NDArray:
    """Cross-sections of vessels, thick bent vessels, and bands of haze."""
    for _ in range(rng.integers(1, 4)):  # round and dense, but small
        field = _over(field, _ellipse(rng, rng.uniform(1.0, 2.4), 1.0), rng.uniform(0, 60))
    if rng.random() < 0.7:  # as dense and as wide as a small nodule, but long
        field = _over(field, _ellipse(rng, rng.uniform(1.8, 3.2), rng.uniform(2.6, 4.0)), rng.uniform(0, 60))
    for _ in range(rng.integers(0, 3)):  # as faint as ground glass, but long, with a soft edge
        cover = _ellipse(rng, rng.uniform(2.5, 4.5), rng.uniform(2.5, 4.0), soft=2.5)
        field = _over(field, cover * rng.uniform(0.5, 1.0), rng.uniform(-650, -450))
    return field


def _ellipse(rng: np.random.Generator, radius: float, aspect: float, soft: float = 0.5) -> NDArray:
    """Share covered by an ellipse of the given short radius anywhere in the patch; the edge is 2 `soft` pixels wide."""
    centre, angle = rng.uniform(0, EDGE, 2), rng.uniform(0, np.pi)
    dy, dx = _ROWS - np.float32(centre[0]), _COLUMNS - np.float32(centre[1])
    across, along = np.cos(angle) * dy - np.sin(angle) * dx, np.sin(angle) * dy + np.cos(angle) * dx
    distance = (np.sqrt(across**2 + (along / aspect) ** 2) - radius).astype(np.float32)
    return np.clip(0.5 - distance / (2 * soft), 0, 1)


# ------------------------------------------------------------------------------------------------------------- nodules


def _nodule(field: NDArray, rng: np.random.Generator, kind: int, texture: NDArray) -> tuple[NDArray, NDArray, float]:
    """A star-shaped nodule r = R (1 + sum_k a_k cos(k angle + phase)) over the field; field, mask, mean radius R."""
    radius = float(rng.uniform(*RADIUS))
    margin = radius + 3
    centre = rng.uniform(margin, EDGE - 1 - margin, 2).astype(np.float32)
    dy, dx = _ROWS - centre[0], _COLUMNS - centre[1]
    distance, angle = np.sqrt(dy**2 + dx**2), np.arctan2(dy, dx)
    bumps = np.zeros_like(angle)
    spread = 0.10 if KINDS[kind] == "solid" else 0.14
    for k in range(2, 7):
        bumps += rng.normal(0, spread) / (k - 0.5) * np.cos(k * angle + np.float32(rng.uniform(0, 2 * np.pi)))
    outline = radius * (1 + np.clip(bumps, -0.35, 0.35))
    edge = 0.5 if KINDS[kind] == "solid" else 1.0  # half the width of the edge: ground glass fades
    cover = np.clip(0.5 - (distance - outline) / (2 * edge), 0, 1)
    glass = rng.uniform(-650, -450) + 45 * texture
    soft = rng.uniform(20, 60) + 12 * texture
    if KINDS[kind] == "ground-glass":
        field = _over(field, cover, np.maximum(glass, field))  # vessels stay visible in ground glass
    elif KINDS[kind] == "solid":
        field = _over(field, cover, soft)
    else:
        core = rng.uniform(0.4, 0.6)
        off = np.hypot(dy - radius * rng.uniform(-0.2, 0.2), dx - radius * rng.uniform(-0.2, 0.2))
        field = _over(field, cover, np.maximum(glass, field))
        field = _over(field, np.clip(0.5 - (off - core * outline), 0, 1), soft)
    return field.astype(np.float32), distance < outline, radius
