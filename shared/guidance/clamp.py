"""Keep the predicted clean value inside the range of the data."""

from __future__ import annotations

from dataclasses import dataclass

from shared.denoiser import Prediction
from shared.run import Guidance, Own, Step


@dataclass(frozen=True)
class Clamp(Guidance):
    """x0 <- min(max(x0, low), high): the static threshold of Ho et al. 2020 and Saharia et al. 2022."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"the range is empty: low {self.low}, high {self.high}")

    def correct(self, pred: Prediction, step: Step, own: Own) -> Prediction:
        return pred.with_x0(pred.x0.clamp(self.low, self.high))
