"""How far a run's samples are from the law they should have, beside what chance alone makes of exact samples.

distance   mean over 3 exact samples of the sliced 1-Wasserstein distance to them
floor      the largest distance of 3 pairs of exact samples of the same size: nothing can be seen below it
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from shared.oracle import DataSet, Mixture
from shared.testing import sampling_noise, sliced_wasserstein
from suite.laboratory.operations import Experiment
from suite.laboratory.recipe import LINE, SECOND, Bench
from suite.laboratory.truths import conditioned

SEEDS: Final = 3
WITHIN: Final = 1.5
"""Up to this multiple of the floor, samples are as good as exact ones; the bound of the core's own tests."""
EXACTLY: Final = 1e-3
"""Standard deviation that stands for a measurement without noise: its law on the line needs a density around it."""


@dataclass(frozen=True)
class Wanted:
    """The law that a run should have: exact draws(rows, seed), its name, and whether the method promises it."""

    draw: Callable[[int, int], Tensor]
    name: str
    promised: bool
    mixture: Mixture | None = None


@dataclass(frozen=True)
class Distance:
    """Distance of samples from the wanted law and the floor, in units of the state."""

    value: float
    floor: float

    @property
    def ratio(self) -> float:
        """Distance as a multiple of the floor."""
        return self.value / self.floor

    @property
    def reached(self) -> bool:
        """Whether the samples cannot be told from exact ones at this size."""
        return self.ratio <= WITHIN


def wanted(bench: Bench) -> Wanted | None:
    """The exact law that the run is measured against; None where none is known in closed form."""
    settings, truth = bench.settings, bench.truth
    if settings.guide == "label":
        name = f"the law of label {settings.label}"
        given = truth.given_label(settings.label) if isinstance(truth, Mixture) else None
        return Wanted(lambda n, seed: truth.draw(n, seed, settings.label), name, settings.weight == 1, given)
    if settings.guide == "none":
        return Wanted(truth.draw, "the truth", True, truth if isinstance(truth, Mixture) else None)
    row = SECOND if settings.guide == "known" else LINE
    matrix = torch.tensor([row], dtype=torch.float64)
    value = torch.tensor([settings.value], dtype=torch.float64)
    std = settings.noise if settings.guide == "dps" else EXACTLY
    name = "the exact law given the measurement"
    if isinstance(truth, Mixture):
        given = truth.posterior(matrix, value, std)
        return Wanted(given.draw, name, False, given)
    if settings.guide != "dps":
        return None  # a finite set has no law on a line
    return Wanted(lambda n, seed: conditioned(truth, matrix, value, std, n, seed), name, False)


def distance(samples: Tensor, law: Wanted) -> Distance:
    """Distance and floor of samples (rows, 2)."""
    rows = len(samples)
    far = sum(sliced_wasserstein(samples, law.draw(rows, 2000 + i)) for i in range(SEEDS)) / SEEDS
    return Distance(far, sampling_noise(law.draw, rows, SEEDS))


def misfit(samples: Tensor, settings: Experiment) -> float:
    """Largest error of the measurement that a guidance keeps exactly (ddnm at weight 1, known)."""
    row = torch.tensor(SECOND if settings.guide == "known" else LINE, dtype=torch.float64)
    return float((samples @ row - settings.value).abs().max())


def atoms(truth: Mixture | DataSet) -> Tensor | None:
    """The points of a finite set, (M, 2)."""
    return truth.points if isinstance(truth, DataSet) else None
