"""UniPC (Zhao et al. 2023): a predictor, and a corrector that costs nothing, as a filter for DDIM.

A step from log-SNR l_0 by h believes D = m_0 + B / (exp(-H) - 1) sum_k rho_k (m_k - m_0) / r_k in the clean value, with
m_k the predictions at l_0 + r_k h, and rho from  sum_k r_k^(i-1) rho_k = b_i:

    b_i = i! / B phi_i,   phi_1 = (exp(-H) - 1) / (-H) - 1,   phi_{i+1} = phi_i / (-H) - 1 / (i + 1)!
    B = exp(-H) - 1 ("bh2") or -H ("bh1");   one m_k alone has rho = 1/2

The predictor takes the m_k of the past (r_k < 0). The corrector adds the one at the end of the step (r = 1), which the
next step asks for anyway; the state there moves by k_x0 (D_corrected - D_predicted) before the next step leaves from
it. Put into that step's D, where the state weighs k_x and D weighs k_x0, it is a filter. H = h, or 2 h if ancestral.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from shared.denoiser import Prediction
from shared.process import Number, Point, plain
from shared.run import Law, Own
from shared.samplers.ddim import kept, recalled
from shared.samplers.moments import exponent, moments


@dataclass(frozen=True)
class UniPC:
    """UniPC-p with p = `length` predictions: DDIM(filter=UniPC(2)).

    length    1, 2 or 3; the published default is 2 where the network is guided and 3 where not
    variant   "bh2" (default) or "bh1", the published B(h)
    The state of the last point is not corrected, since no step asks there. Lengths 2 and 3 both reach order 3: the
    first step, corrected, has an error of h^3 that stays.
    """

    length: int = 2
    variant: Literal["bh1", "bh2"] = "bh2"

    def __post_init__(self) -> None:
        if self.length not in (1, 2, 3):
            raise ValueError(f"UniPC keeps 1, 2 or 3 predictions, got {self.length}")
        if self.variant not in ("bh1", "bh2"):
            raise ValueError(f"unknown variant {self.variant!r} of UniPC; choose bh1 or bh2")

    @property
    def order(self) -> int:
        return min(self.length + 1, 3)

    def __call__(self, pred: Prediction, t: Point, s: Point, own: Own, law: Law) -> tuple[Prediction, Own]:
        if t.signalless:  # an infinite step in log-SNR: nothing of the past carries over it
            return pred, {}
        past, past_at = recalled(own, "x0"), recalled(own, "log_snr")
        x0, at = [pred.x0, *past], [t.log_snr, *past_at]
        new = {**kept(self.length, x0=x0, log_snr=at), "k_x0": law.k_x0}
        k_x, k_x0, _ = law.numbers
        here, there, *before = (plain(place) for place in (t.log_snr, s.log_snr, *past_at))
        weights = self._weights([here, *before][: self.length], there, k_x0 / plain(s.a))
        weights += [0.0] * (len(x0) - len(weights))
        if past:
            arrived = plain(own["k_x0"])
            left = arrived / plain(t.a)
            predicted = self._weights(before, here, left)
            corrected = self._weights(before, here, left, arrived=True)
            gain = k_x / k_x0 * arrived
            moved = [corrected[-1], *(c - p for c, p in zip(corrected[:-1], predicted, strict=True))]
            weights = [w + gain * m for w, m in zip(weights, moved, strict=True)]
        return pred.mixed(weights, x0), new

    def _weights(self, at: list[Number], to: Number, left: Number, *, arrived: bool = False) -> list[Number]:
        """Weights of the predictions at log-SNR `at` (newest first; then the one at `to` if arrived), summing to 1.

        left   1 - exp(-H);  an infinite step takes the newest as it is
        """
        h, count = to - at[0], len(at) - 1 + arrived
        bare: list[Number] = [1.0, *(0.0 for _ in range(count))]
        if isinstance(h, float):
            return self._of_step(at, h, left, arrived) if math.isfinite(h) and count else bare
        fine = torch.isfinite(h)
        some, half = torch.where(fine, h, torch.ones_like(h)), torch.full_like(h, 0.5)
        found = self._of_step(at, some, torch.where(fine, torch.as_tensor(left), half), arrived) if count else bare
        return [
            torch.where(fine, torch.as_tensor(w).to(h), torch.as_tensor(b).to(h))
            for w, b in zip(found, bare, strict=True)
        ]

    def _of_step(self, at: list[Number], h: Number, left: Number, arrived: bool) -> list[Number]:
        """The same of a finite step h."""
        r = [(other - at[0]) / h for other in at[1:]] + ([1.0] if arrived else [])
        H = exponent(left, h)
        B = -left if self.variant == "bh2" else -H
        rho = [0.5] if len(r) == 1 else _rho(r, H, B)
        share = [p * B / (-left * place) for p, place in zip(rho, r, strict=True)]
        return [1 - sum(share), *share]


def _rho(r: list[Number], H: Number, B: Number) -> list[Number]:
    """Solves sum_k r_k^(i-1) rho_k = b_i for as many i as there are r."""
    b, phi = [], (math.expm1(-H) if isinstance(H, float) else torch.expm1(-H)) / -H - 1
    for i in range(1, len(r) + 1):
        b.append(math.factorial(i) * phi / B)
        phi = phi / -H - 1 / math.factorial(i + 1)
    return moments(r, b)
