"""The same method on the same levels ends where an independent implementation ends."""

from __future__ import annotations

import pytest
import torch

from benchmarks.core import METHODS, ours, theirs

pytest.importorskip("diffusers")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # NumPy's, about diffusers' own arrays
@pytest.mark.parametrize("method", METHODS)
def test_samplers_end_where_the_schedulers_of_diffusers_end(method: str) -> None:
    sampler, name, options = METHODS[method]
    levels, run = theirs(name, options)
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(sampler, levels, 2)(x), run(x), rtol=1e-4, atol=1e-4)
