"""The weights of UniPC and PLMS against the linear systems that define them, solved by a matrix."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import shared.samplers.ddim as ddim
from shared.grid import own_times
from shared.noise import PerSample
from shared.oracle import Oracle
from shared.process import Number, vp
from shared.sample import sample
from shared.samplers.ddim import DDIM, PLMS
from shared.samplers.moments import moments
from shared.samplers.unipc import UniPC
from tests.shared.worlds import MIXTURE

UNEVEN = [-0.3, -0.7, -1.4, -1.6]  # newest first


def doubles(values: list[Number]) -> Tensor:
    return torch.stack([torch.as_tensor(value, dtype=torch.float64) for value in values])


def solved(nodes: Tensor, wanted: Tensor) -> Tensor:
    """sum_k nodes_k^i w_k = wanted_i by a general solver."""
    power = torch.arange(len(nodes), dtype=torch.float64)
    return torch.linalg.solve(nodes[None] ** power[:, None], wanted)


def unipc_by_matrix(at: list[float], to: float, H: float, variant: str, arrived: bool) -> Tensor:
    """Weights of m_0, m_1, ... in D = m_0 + B / (exp(-H) - 1) sum_k rho_k (m_k - m_0) / r_k, from the paper's b_i."""
    h = to - at[0]
    r = torch.tensor([(other - at[0]) / h for other in at[1:]] + [1.0] * arrived, dtype=torch.float64)
    B = math.expm1(-H) if variant == "bh2" else -H
    phi, b = math.expm1(-H) / -H - 1, []
    for i in range(1, len(r) + 1):
        b.append(math.factorial(i) * phi / B)
        phi = phi / -H - 1 / math.factorial(i + 1)
    rho = torch.full((1,), 0.5, dtype=torch.float64) if len(r) == 1 else solved(r, torch.tensor(b, dtype=torch.float64))
    share = rho * B / (math.expm1(-H) * r)
    return torch.cat([1 - share.sum(0, keepdim=True), share])


@pytest.mark.parametrize("rows", [False, True], ids=["numbers", "rows"])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize(("count", "arrived"), [(1, True), (2, False), (2, True), (3, False), (3, True)])
@pytest.mark.parametrize("step", [1e-2, 0.4, 5.0, 40.0])
def test_weights_of_unipc_solve_the_published_system(
    count: int, arrived: bool, variant: str, step: float, rows: bool
) -> None:
    to = UNEVEN[0] + step
    at: list[Any] = UNEVEN[:count]
    wanted = unipc_by_matrix(at, to, step, variant, arrived)
    left = -math.expm1(-step)
    if rows:
        at, to, left = ([torch.full((2,), v, dtype=torch.float64) for v in vs] for vs in (at, [to], [left]))  # type: ignore[assignment]
        (to,), (left,) = to, left  # type: ignore[misc]
    got = UniPC(3, variant)._weights(at, to, left, arrived=arrived)
    assert rows or all(isinstance(w, float) for w in got), "a weight that all rows share is a plain number"
    for row in doubles(got).reshape(count + arrived, -1).unbind(1):
        torch.testing.assert_close(row, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_weights_of_plms_solve_their_system(count: int) -> None:
    at, to = [1.0, 1.3, 1.4, 2.0][:count], 0.7
    offsets = (torch.tensor(at, dtype=torch.float64) - at[0]) / (to - at[0])
    wanted = solved(offsets, 1 / torch.arange(1, count + 1, dtype=torch.float64))
    got = ddim._adams(list(at), to)
    assert all(isinstance(w, float) for w in got)
    torch.testing.assert_close(doubles(got), wanted, rtol=1e-12, atol=1e-12)
    several = ddim._adams(
        [torch.full((3,), v, dtype=torch.float64) for v in at], torch.full((3,), to, dtype=torch.float64)
    )
    if count > 1:
        torch.testing.assert_close(doubles(several)[..., -1], wanted, rtol=1e-12, atol=1e-12)


def test_moments_are_those_that_were_wanted() -> None:
    nodes, wanted = [0.3, -1.2, 2.0, 0.9], [1.0, 0.5, -2.0, 3.0]
    weights = moments(nodes, wanted)
    for power, moment in enumerate(wanted):
        assert sum(w * r**power for w, r in zip(weights, nodes, strict=True)) == pytest.approx(moment, abs=1e-12)


@pytest.mark.parametrize("infinite", [False, True], ids=["finite", "into the clean end"])
@pytest.mark.parametrize("name", ["unipc1", "unipc2", "unipc3", "unipc2 bh1", "plms4"])
def test_a_grid_for_each_row_ends_where_one_for_all_ends(name: str, infinite: bool) -> None:
    filters = {"unipc1": UniPC(1), "unipc2": UniPC(2), "unipc3": UniPC(3), "unipc2 bh1": UniPC(2, "bh1")}
    sampler, process = DDIM(filter=filters.get(name, PLMS(4))), vp("linear")
    times = torch.tensor([900.0, 700.0, 560.0, 300.0, 120.0, 0.0 if infinite else 40.0], dtype=torch.float64)
    x = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ends = [
        sample(Oracle(MIXTURE, process), sampler, own_times(process, t), noise=PerSample.of(0, 3), x=x).x
        for t in (times, times[:, None].expand(-1, 3).contiguous())
    ]
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-12)
