"""Classifier-free guidance (Ho & Salimans 2022): away from the prediction without the condition.

    x0 = null + w (cond - null)

which is the same mix of eps, v or score, since each is affine in x0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shared.denoiser import Cond, Prediction, Query, blended
from shared.guidance.window import EVERYWHERE, Window
from shared.process import Point
from shared.run import Guidance, Own, Step


@dataclass(frozen=True)
class ClassifierFree(Guidance):
    """Guide with weight w; the second prediction is asked under the name "null" with the denoiser's null condition.

    weight   1 is the plain condition: inactive, not queried, not paid. 0 is the unconditional prediction and still
             costs both calls; a run with cond=None costs half. Above 1 the condition is exaggerated.
    window   log-SNR in which it acts
    """

    weight: float
    window: Window = EVERYWHERE

    needs = frozenset({"x0"})

    def active(self, at: Point) -> bool:
        return self.weight != 1 and self.window.open(at)

    def queries(self, cond: Cond | None) -> dict[str, Query]:
        if cond is None:
            raise ValueError("classifier-free guidance needs a condition: pass cond, or take the guidance away")
        return {"null": Query(None, branch="null")}

    def combine(self, named: Mapping[str, Prediction], pred: Prediction, step: Step, own: Own) -> Prediction:
        weight = 1 + self.window.strength(self.weight - 1, pred.at)
        return blended((1 - weight, named["null"]), (weight, pred))
