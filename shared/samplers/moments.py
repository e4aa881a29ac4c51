"""Weights of a few nodes with given moments, in plain arithmetic: a step needs two to four, once for all rows.

    sum_k r_k^i w_k = m_i   for i = 0 .. n-1

is a Vandermonde system, solved by differences (Björck & Pereyra 1970) in n^2 operations without a matrix. Numbers stay
numbers, which is a hundredth of the time of the same in tensors of one entry; tensors (B,) give weights (B,).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from shared.process import Number

BELOW_ONE = 1 - 2.0**-53  # what an exp(-H) that rounds away leaves of 1


def moments(nodes: Sequence[Number], wanted: Sequence[Number]) -> list[Number]:
    """The weight of every node; nodes r_k differ, and there are as many moments as nodes."""
    w, last = list(wanted), len(nodes) - 1
    for k in range(last):
        for i in range(last, k, -1):
            w[i] = w[i] - nodes[k] * w[i - 1]
    for k in range(last - 1, -1, -1):
        for i in range(k + 1, last + 1):
            w[i] = w[i] / (nodes[i] - nodes[i - k - 1])
        for i in range(k, last):
            w[i] = w[i] - w[i + 1]
    return w


def exponent(left: Number, h: Number) -> Number:
    """H of a step from left = 1 - exp(-H), at least its h in log-SNR: from 37 on, exp(-H) is lost in `left`."""
    if isinstance(left, float) and isinstance(h, float):
        return max(-math.log1p(-min(left, BELOW_ONE)), h)
    left, h = torch.as_tensor(left), torch.as_tensor(h)
    return torch.maximum(-torch.log1p(-left.clamp_max(BELOW_ONE)), h)
