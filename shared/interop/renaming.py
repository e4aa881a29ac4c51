"""What conversions of weights have in common: renaming by rules, refusing options that have no counterpart."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from shared.errors import UserError

Rules = Sequence[tuple[str, str]]  # (regular expression, what it becomes): all are applied, in order

# A Transformer2DModel of old -> what its kinds are called today, by norm_type.
OLD_TRANSFORMERS = {"ada_norm_zero": "DiTTransformer2DModel", "ada_norm_single": "PixArtTransformer2DModel"}


def called_today(kind: str, config: Mapping[str, Any]) -> str:
    """The class of a network of diffusers by its name of today: old folders say Transformer2DModel and a norm_type."""
    return OLD_TRANSFORMERS.get(str(config.get("norm_type")), kind) if kind == "Transformer2DModel" else kind


def renamed(tensors: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """The tensors under the names that the rules give; a name that no rule knows stays, and will not fit."""
    out = {}
    for name, value in tensors.items():
        for pattern, becomes in rules:
            name = re.sub(pattern, becomes, name)
        out[name] = value
    return out


def whole(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of any version: defaults where an option was not there yet, without options that are gone.

    One that is gone is left away where it is None or False, which is to say unused; others are kept, and refused.
    """
    known = {
        name: value for name, value in options.items() if name in defaults or not (value is None or value is False)
    }
    return {**defaults, **known}


def refuse_unless(options: Mapping[str, Any], accepted: Mapping[str, tuple[Any, ...]], *, where: str) -> None:
    """Raise UserError, naming the option, for one whose value is not among the accepted; an empty tuple accepts all."""
    for name, value in options.items():
        if name.startswith("_"):  # the library's own notes
            continue
        if name not in accepted:
            raise UserError(f"{name}={value!r} is unknown here", where=where, remedy="use the library's own network")
        if accepted[name] and value not in accepted[name]:
            choices = " or ".join(repr(choice) for choice in accepted[name])
            refuse(name, value, where=where, remedy=f"convert one with {choices}")


def refuse(name: str, value: Any, *, where: str, remedy: str) -> None:
    """Raise the UserError of an option that has no counterpart."""
    raise UserError(
        f"{name}={value!r} has no counterpart in our network",
        where=where,
        remedy=f"{remedy}, or use the library's own network",
    )


def with_null_row(table: Tensor) -> Tensor:
    """The label table of a library that has no "not given": its last row, zeros, adds nothing."""
    return torch.cat([table, table.new_zeros(1, table.shape[1])])


def geometric(features: int, shift: float = 0.0) -> tuple[float, float]:
    """First and last frequency of Ho et al. 2020: 10000^(-k / (half - shift)), k = 0..half-1, for so many features."""
    half = features // 2
    return 1.0, 10_000.0 ** (-(half - 1) / (half - shift))
