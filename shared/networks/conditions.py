"""What every network does with its conditions: one rule for "not given", one check of names and shapes.

A row of NaN in a floating-point condition, or of numbers below zero in an integer one, means "not given"; so does a
declared condition that is missing altogether. Rows with and without a condition therefore share a batch.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

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


def vector_projections(vectors: Mapping[str, int], width: int) -> tuple[nn.ModuleDict, nn.ParameterDict]:
    """Of every vector condition, name -> width: two layers into the embedding, and the learned value of "not given".

    The null lives in the space of the condition itself.
    """
    projections = {
        name: nn.Sequential(nn.Linear(wide, width), nn.SiLU(), nn.Linear(width, width))
        for name, wide in vectors.items()
    }
    nulls = {name: nn.Parameter(torch.zeros(wide)) for name, wide in vectors.items()}
    return nn.ModuleDict(projections), nn.ParameterDict(nulls)


def label_tables(classes: Mapping[str, int], width: int) -> nn.ModuleDict:
    """Of every label condition, name -> count: one learned row a label, and a last one for "not given"."""
    tables = {name: nn.Embedding(count + 1, width) for name, count in classes.items()}
    for table in tables.values():
        nn.init.normal_(table.weight, std=0.02)
    return nn.ModuleDict(tables)


def with_vectors(
    embedding: Tensor, cond: Mapping[str, Tensor], projections: nn.ModuleDict, nulls: nn.ParameterDict
) -> Tensor:
    """embedding (B, E) with every vector condition (B, width) added."""
    for name, project in projections.items():
        null = nulls[name].expand(embedding.shape[0], -1)
        value = given(cond[name].to(null.dtype), null) if name in cond else null
        embedding = embedding + project(value)
    return embedding


def with_labels(
    embedding: Tensor, cond: Mapping[str, Tensor], tables: nn.ModuleDict, classes: Mapping[str, int]
) -> Tensor:
    """embedding (B, E) with every label condition (B,) int64 added; a label below 0 is "not given"."""
    for name, table in tables.items():
        nothing = torch.full((embedding.shape[0],), -1, device=embedding.device)
        label = cond[name] if name in cond else nothing
        embedding = embedding + table(torch.where(label < 0, classes[name], label))
    return embedding


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
