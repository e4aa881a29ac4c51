"""What every network does with its conditions: one rule for "not given", one check of names and shapes.

A row of NaN in a floating-point condition, or of numbers below zero in an integer one, means "not given"; so does a
declared condition that is missing altogether. Rows with and without a condition therefore share a batch.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from shared.errors import UserError


def given(value: Tensor, otherwise: Tensor) -> Tensor:
    """value, with `otherwise` in the rows that are NaN throughout; a row with some NaN stays as it is, and shows."""
    absent = value.isnan().flatten(1).all(dim=1)
    return torch.where(absent.reshape(-1, *[1] * (value.ndim - 1)), otherwise, value)


def with_images(x: Tensor, cond: Mapping[str, Tensor], images: Mapping[str, int]) -> Tensor:
    """x (B, C, *spatial) joined on its channels by image conditions (B, c, *spatial); zero where one is not given."""
    if not images:
        return x
    parts = [x]
    for name, channels in images.items():
        none = x.new_zeros(x.shape[0], channels, *x.shape[2:])
        parts.append(given(cond[name].to(x.dtype), none) if name in cond else none)
    return torch.cat(parts, dim=1)


def check(
    cond: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], integers: frozenset[str] = frozenset()
) -> None:
    """Raise UserError for a name that is not in `shapes`, another shape, or a float where integers are wanted."""
    for name, value in cond.items():
        if name not in shapes:
            raise UserError(
                f"condition {name!r} was not declared",
                where="cond",
                remedy=f"use {sorted(shapes)}" if shapes else "this network takes none: pass an empty mapping",
            )
        if tuple(value.shape) != shapes[name]:
            raise UserError(
                f"condition {name!r} has shape {tuple(value.shape)}", where="cond", remedy=f"pass {shapes[name]}"
            )
        if name in integers and value.is_floating_point():
            raise UserError(f"condition {name!r} is {value.dtype}", where="cond", remedy="pass whole numbers (int64)")
