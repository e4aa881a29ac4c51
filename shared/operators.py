"""Linear measurements y = A x0 + noise, as objects that know their adjoint and pseudo-inverse.

States are batch first, (B, ...); a measurement is (B, ...) or (1, ...), in the shape that `forward` returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor


class LinearOperator(Protocol):
    """A with its adjoint and Moore-Penrose pseudo-inverse: <A x, y> = <x, adjoint y>, A pinv A = A."""

    def forward(self, x: Tensor) -> Tensor:
        """A x."""
        ...

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y."""
        ...

    def pinv(self, y: Tensor) -> Tensor:
        """The shortest x among those that bring A x nearest to y."""
        ...


@dataclass(frozen=True, eq=False)
class Matrix:
    """A given matrix (M, N) on the flattened state: (B, ...) of N entries to (B, M).

    shape   of one state, default (N,); what adjoint and pinv return
    """

    matrix: Tensor
    shape: Sequence[int] | None = None

    def __post_init__(self) -> None:
        size = torch.Size(self.shape).numel() if self.shape is not None else self.matrix.shape[-1]
        if self.matrix.ndim != 2 or self.matrix.shape[1] != size:
            raise ValueError(f"a matrix {tuple(self.matrix.shape)} does not act on states of {size} entries")

    @cached_property
    def _inverse(self) -> Tensor:
        return torch.linalg.pinv(self.matrix.double())

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.matrix.to(x).T

    def adjoint(self, y: Tensor) -> Tensor:
        return (y @ self.matrix.to(y)).reshape(-1, *(self.shape or self.matrix.shape[1:]))

    def pinv(self, y: Tensor) -> Tensor:
        return (y @ self._inverse.to(y).T).reshape(-1, *(self.shape or self.matrix.shape[1:]))


@dataclass(frozen=True, eq=False)
class Mask:
    """Some entries are seen, the others read 0: its own adjoint and its own pseudo-inverse.

    seen   bool, broadcastable to the state
    """

    seen: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(self.seen.to(x.device), x, torch.zeros_like(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self.forward(y)

    def pinv(self, y: Tensor) -> Tensor:
        return self.forward(y)
