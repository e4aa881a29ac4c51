"""Muon for the matrices inside a network, AdamW for everything else, as one optimizer.

    B <- mu B + (1 - mu) G
    G + mu (B - G) = U S V^T
    W <- (1 - lr decay) W - length lr sqrt(max(W.shape)) U V^T

A convolution's weight is the matrix (out, in x kernel) that it is to its patches. A matrix moves equally far along all
its singular directions (Jordan et al. 2024, "Muon"); the root makes a step equally long for every shape, with a length
of 0.2 about as long as AdamW's (Liu et al. 2025, "Muon is scalable for LLM training"), so that one learning rate serves
both.
U V^T comes from five Newton-Schulz iterations, all matrices of a shape at once, and in the weights' own precision:
`torch.optim.Muon` iterates in bfloat16, which a processor without it emulates at a twentieth of the speed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn

from shared.errors import UserError

MOMENTUM: Final = 0.95
ITERATIONS: Final = 5
# of X <- a X + (b A + c A^2) X with A = X X^T: singular values of 0.01 to 1 come to lie in 0.7 to 1.2 (Jordan et al.)
A, B, C = 3.4445, -4.7750, 2.0315


class Muon(torch.optim.Optimizer):
    """Optimizer of all of a network's parameters.

    matching   a regular expression: matrices whose names it finds are Muon's, the rest AdamW's
    length     of a step of a matrix: lr times this is about the root mean square of what changes in it
    Its groups all have "lr"; its state of a matrix is {"momentum"}, of another parameter what AdamW keeps.
    Raises UserError where the expression finds no matrix, or is none.
    """

    def __init__(
        self, network: nn.Module, lr: float, *, matching: str, weight_decay: float, length: float = 0.2
    ) -> None:
        try:
            wanted = re.compile(matching)
        except re.error as error:
            raise UserError(
                f"{matching!r} is no regular expression ({error})", where="muon", remedy="escape its brackets"
            ) from None
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, parameter in network.named_parameters():
            (matrices if parameter.ndim >= 2 and wanted.search(name) else rest).append(parameter)
        if not matrices:
            known = [name for name, parameter in network.named_parameters() if parameter.ndim >= 2]
            raise UserError(f"{matching!r} finds no matrix", where="muon", remedy=f"choose among {', '.join(known)}")
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})
        self._rest = torch.optim.AdamW(rest, lr, weight_decay=weight_decay, fused=True) if rest else None
        if self._rest is not None:
            self.param_groups += self._rest.param_groups  # the same dicts: a new rate reaches both
            self._rest.state = self.state
        self._length = length
        self._shapes: dict[torch.Size, list[Tensor]] = {}
        for matrix in matrices:
            self._shapes.setdefault(matrix.shape, []).append(matrix)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One step of all parameters, every one of which has a gradient."""
        group = self.param_groups[0]
        for matrices in self._shapes.values():
            gradients = torch.stack([_gradient(matrix) for matrix in matrices])
            for matrix in matrices:
                if "momentum" not in self.state[matrix]:
                    self.state[matrix]["momentum"] = torch.zeros_like(matrix)
            held = [self.state[matrix]["momentum"] for matrix in matrices]
            torch._foreach_lerp_(held, list(gradients), 1 - MOMENTUM)
            moved = gradients.lerp_(torch.stack(held), MOMENTUM).flatten(2)
            directions = orthogonal(moved).reshape(gradients.shape)
            torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
            length = self._length * group["lr"] * max(moved.shape[1:]) ** 0.5
            torch._foreach_add_(matrices, list(directions), alpha=-length)
        return closure() if self._rest is None and closure else self._rest and self._rest.step(closure)


def orthogonal(matrices: Tensor) -> Tensor:
    """About U V^T of each matrix U S V^T: (..., rows, columns), any scale; 0 stays 0."""
    wide = matrices.shape[-2] <= matrices.shape[-1]
    x = matrices if wide else matrices.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-12)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = A * x + (B * gram + C * gram @ gram) @ x
    return x if wide else x.mT


def _gradient(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        raise ValueError("a matrix has no gradient; every parameter must count in the loss")
    return parameter.grad
