"""Feynman-Kac steering (Singhal et al. 2025): populations of runs drift towards a reward, with or without a gradient.

The law p(x0) of the sampler becomes p(x0) exp(strength r(x0)) / Z. Every step weighs its rows by a potential G_k of the
reward so far, and the last one by what is missing, so that on every lineage

    sum_k log G_k = strength r(x0)

Where another guidance changed the proposal from p to q and `pays` is set, each step adds log p - log q of the state
that was proposed, so that its pull only saves particles and the law stays p's.

`Particles` resamples by these weights on the way; without it the run is importance sampling with all the weight at the
end. What comes out is weighted: RunState.log_w beside the samples, and log_z.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from shared.guidance.window import EVERYWHERE, Window
from shared.process import Point, lin
from shared.run import Guidance, Own, Step, Transition

Potential = Literal["difference", "max", "sum"]


@dataclass(frozen=True)
class Steering(Guidance):
    """Weigh the rows by the reward of the clean value that is believed, and of the state itself at the clean end.

    reward      (B, ...) clean values -> (B,), finite; it need not have a gradient
    strength    of the tilt; 0 does nothing. Published: 10 for rewards of order 1
    potential   log G_k = strength times s_k - s_{k-1}, max(s_1..s_k) or s_1 + ... + s_k, with s_k the reward believed
                at step k: the second keeps what was ever good, the third what has been good for long
    every       it weighs at positions of the route that are multiples of it; Particles(every=...) may be the same.
                "max" and "sum" grow with the number of times, so give them few (published: 100 steps, every 20)
    window      log-SNR in which it weighs on the way; the last step is always weighed
    pays        for what energies and corrections of other guidances did to a step (classifier-free guidance belongs to
                p). A step without noise cannot be paid: their windows have to end before the clean end
    Take a sampler with fresh noise: copies of a row must come apart again.
    """

    reward: Callable[[Tensor], Tensor]
    strength: float = 1.0
    potential: Potential = "difference"
    every: int = 1
    window: Window = EVERYWHERE
    pays: bool = False

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"stochastic", "x0", "law"} if self.pays else {"stochastic", "x0"})

    def __post_init__(self) -> None:
        if self.potential not in get_args(Potential):
            raise ValueError(f"unknown potential {self.potential!r}; choose {', '.join(get_args(Potential))}")
        if self.every < 1:
            raise ValueError(f"every is a whole number >= 1, got {self.every}")

    def active(self, at: Point) -> bool:
        return self.strength != 0

    def rewards(self, k: int, last: bool, at: Point) -> int:
        """One at the positions where it weighs."""
        return int(last or (k % self.every == 0 and self.window.open(at)))

    def weigh(self, x: Tensor, step: Step, tr: Transition, own: Own) -> tuple[Tensor | None, Own]:
        owed = _changed(step, tr) if self.pays else None
        if not self.rewards(step.k, step.last, step.t):
            return owed, own
        gain, own = self._gain(x, step, tr, own)
        return gain if owed is None else gain + owed, own

    def _gain(self, x: Tensor, step: Step, tr: Transition, own: Own) -> tuple[Tensor, Own]:
        """log G_k of every row."""
        paid = own.get("paid", x.new_zeros(len(x), dtype=torch.float64))
        said = self._reward(x if step.s.clean else tr.first.guided.x0, step)
        if step.last:
            return self.strength * said - paid, own
        if self.potential == "difference":
            gain = self.strength * said - paid
            return gain, {"paid": paid + gain}
        before = own.get("m")
        if self.potential == "max":
            m = said if before is None else torch.maximum(said, before)
        else:
            m = said if before is None else said + before
        return self.strength * m, {"paid": paid + self.strength * m, "m": m}

    def _reward(self, x0: Tensor, step: Step) -> Tensor:
        said = self.reward(x0).double()
        if said.shape != (len(x0),) or bool((~torch.isfinite(said)).any()):
            raise ValueError(
                f"the reward of {len(x0)} samples at position {step.k} is of shape {tuple(said.shape)} with values "
                f"{said.flatten()[:4].tolist()}...; it must be one finite number a sample"
            )
        return said


def _changed(step: Step, tr: Transition) -> Tensor | None:
    """log p - log q of the proposed state, (B,): q the Gaussian that it was drawn from, p that of the belief before
    energies and corrections. None where nothing changed the step."""
    base, law = tr.first.base, step.law
    if (tr.first.guided is base and tr.first.grad is None) or law is None:
        return None
    if tr.noise is None:
        if tr.first.grad is None and torch.equal(tr.first.guided.x0, base.x0):
            return None
        raise ValueError(
            f"a guidance changed the step to position {step.k}, which has no noise, so no weight can pay for it; "
            "close its window before the clean end"
        )
    unchanged = lin((law.k_x, base.shifted), (law.k_x0, base.x0))
    off = lin((1 / law.std, tr.x - step.process.shifted(unchanged, step.s, base.y, sign=-1)))
    return (tr.noise.double().square() - off.double().square()).flatten(1).sum(1) / 2
