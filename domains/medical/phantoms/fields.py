"""Smooth random fields: cubic B-splines on a coarse lattice of normal numbers.

`f(p) = sum_ijk B((p - i h) / h) ... c_ijk`, with c normal and h the lattice spacing in mm, so the field has no detail
finer than about 2 h. The basis is separable: three small matrices instead of one large interpolation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Standard deviation of a field with unit normal coefficients, averaged over a cell: (integral of B^2)^(3/2), with
# integral of B^2 = 151/315 for the cubic B-spline.
_DEVIATION = (151 / 315) ** 1.5


def spline_basis(places: NDArray, spacing: float, low: float, high: float) -> NDArray:
    """(n, k) values of the cubic B-splines whose lattice of `spacing` covers [low, high] at `places` (n,)."""
    count = int(np.ceil((high - low) / spacing)) + 3
    x = np.abs((np.asarray(places, float)[:, None] - low) / spacing - (np.arange(count) - 1))
    near, far = 2 / 3 - x**2 + x**3 / 2, (2 - x) ** 3 / 6
    return np.where(x < 1, near, np.where(x < 2, far, 0.0)).astype(np.float32)


def smooth_field(
    rng: np.random.Generator,
    places: Sequence[NDArray],
    spacing: float,
    *,
    components: int = 1,
    span: Sequence[tuple[float, float]] | None = None,
) -> NDArray:
    """(components, len x, len y, len z) float32 random field of unit standard deviation.

    places    three increasing arrays of coordinates in mm
    spacing   lattice spacing in mm
    span      the interval that the lattice covers on each axis, where it is more than the places: the field is then
              the same whatever part of the span is asked for
    """
    spans = span or [(float(p[0]), float(p[-1])) for p in places]
    x, y, z = (spline_basis(p, spacing, *ends) for p, ends in zip(places, spans, strict=True))
    coefficients = rng.standard_normal((components, x.shape[1], y.shape[1], z.shape[1]), dtype=np.float32)
    field = x @ (coefficients / np.float32(_DEVIATION)).reshape(components, x.shape[1], -1)  # (c, X, y z)
    field = y @ field.reshape(components, len(x), y.shape[1], z.shape[1])  # (c, X, Y, z)
    return field @ z.T  # (c, X, Y, Z)
