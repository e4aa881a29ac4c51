"""Keep a known part of the sample exactly: the known region at every noise level (RePaint, Lugmayr et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from shared.run import Guidance, Own, Step, Transition


@dataclass(frozen=True, eq=False)
class KnownRegion(Guidance):
    """Where `where` is true the state is the known value noised to the state's own level; exact at the clean end.

    known   (B, ...) or (1, ...) clean values;  where  bool, broadcastable to the state
    With jumps in the route the unknown part comes to agree with it; without, a seam stays (more so with few steps).
    """

    known: Tensor
    where: Tensor

    needs = frozenset({"gaussian"})
    voids = frozenset({"deterministic", "reversible"})

    def after(self, x: Tensor, step: Step, tr: Transition | None, own: Own) -> tuple[Tensor, Own]:
        known = self.known.expand_as(x)
        if not (step.s.clean and step.process.b is None):
            known = step.process.join(known, self._noise(x, step), step.s, step.y)
        return torch.where(self.where, known, x), own

    def _noise(self, x: Tensor, step: Step) -> Tensor:
        """The move's own draw where it has one: known and unknown entries are disjoint, so each is used once."""
        if step.s.noiseless:
            return torch.zeros_like(x)
        return step.draw("known", x) if step.noise is None else step.noise
