"""Measurement operators know their adjoint and pseudo-inverse."""

from __future__ import annotations

import pytest
import torch

from shared.operators import LinearOperator, Mask, Matrix

SEED = torch.Generator().manual_seed(0)
WIDE = torch.randn(3, 6, generator=SEED, dtype=torch.float64)
DEFICIENT = torch.cat([WIDE[:2], WIDE[:1] + WIDE[1:2]])  # three rows of rank two
OPERATORS: dict[str, tuple[LinearOperator, tuple[int, ...]]] = {
    "wide matrix": (Matrix(WIDE), (6,)),
    "tall matrix": (Matrix(WIDE.T), (3,)),
    "matrix without full rank": (Matrix(DEFICIENT), (6,)),
    "matrix on pictures": (Matrix(WIDE, (2, 3)), (2, 3)),
    "mask": (Mask(torch.tensor([[True, False, True], [False, False, True]])), (2, 3)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_adjoint_and_pseudo_inverse_keep_their_identities(name: str) -> None:
    operator, shape = OPERATORS[name]
    x = torch.randn(5, *shape, generator=SEED, dtype=torch.float64)
    y = torch.randn(operator.forward(x).shape, generator=SEED, dtype=torch.float64)
    left = (operator.forward(x) * y).flatten(1).sum(1)
    torch.testing.assert_close(left, (x * operator.adjoint(y)).flatten(1).sum(1))
    assert operator.adjoint(y).shape == operator.pinv(y).shape == x.shape
    seen = operator.forward(x)
    torch.testing.assert_close(operator.forward(operator.pinv(seen)), seen)  # A A+ A = A
    back = operator.pinv(y)
    torch.testing.assert_close(operator.pinv(operator.forward(back)), back)  # A+ A A+ = A+
    other = torch.randn(5, *shape, generator=SEED, dtype=torch.float64)
    projected = [operator.pinv(operator.forward(value)) for value in (x, other)]
    torch.testing.assert_close(  # A+ A is symmetric
        (projected[0] * other).flatten(1).sum(1), (x * projected[1]).flatten(1).sum(1)
    )


def test_operators_take_the_type_of_the_state() -> None:
    for operator, shape in OPERATORS.values():
        x = torch.randn(2, *shape)
        assert operator.pinv(operator.forward(x)).dtype == torch.float32
