"""How an adapter is used: condition, strength over the run, region, branch of the guidance, weight of each layer.

Strength is a curve over the *progress* of a run,

    progress = a / (a + sigma) = sigmoid(log-SNR),     0: noise alone, 1: clean,

piecewise linear between its points. It is the log-SNR in a bounded coordinate: it means the same whatever the grid, the
sampler and the process, has both ends within reach (log-SNR runs from -inf to +inf), and for a flow it is the clock
itself, 1 - t. A fraction of the steps would change with the grid, a fraction of the clock with the schedule.

Who wins, prompt or control? MODES, as users of ControlNet know them (Mikubill/sd-webui-controlnet):
    balanced   in both branches of classifier-free guidance
    prompt     in both, the n layers weighted 0.825^(12 - i), i = 0..12 stretched over the n: the early ones hardly
    control    in the conditional branch alone, so that guidance exaggerates it
    style, composition   InstantStyle's places in an SDXL U-Net (Wang et al. 2024); others have no such place
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from shared.adapters.adapter import Adapter, Condition
from shared.errors import UserError
from shared.process import Point

PROMPT = "prompt"
NULL = "null"  # the branch of classifier-free guidance without the condition
Layers = Mapping[str, float] | Sequence[float] | Literal["prompt"]


@dataclass(frozen=True)
class Curve:
    """Strength over progress: (progress, strength) points, linear between them, constant beyond them.

    Two points at one progress are a jump; the later one holds there.
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        places = [place for place, _ in self.points]
        flat = [number for point in self.points for number in point]
        if not places or places != sorted(places) or not all(0 <= place <= 1 for place in places):
            raise UserError(
                f"the points {self.points} do not rise in progress from 0 to 1",
                where="strength",
                remedy="give (progress, strength) pairs in order, such as ((0, 1), (0.5, 0))",
            )
        if not all(math.isfinite(number) for number in flat):
            raise UserError(f"{self.points} is not finite", where="strength", remedy="give numbers")

    @staticmethod
    def window(start: float, end: float, strength: float = 1.0) -> Curve:
        """`strength` while start <= progress < end, 0 elsewhere; an end of 1 is included."""
        points = [] if start <= 0 else [(0.0, 0.0), (start, 0.0)]
        points += [(max(start, 0.0), strength), (min(end, 1.0), strength)]
        return Curve(tuple(points if end >= 1 else [*points, (end, 0.0), (1.0, 0.0)]))

    @property
    def constant(self) -> float | None:
        """The strength, where it is one number."""
        values = {value for _, value in self.points}
        return values.pop() if len(values) == 1 else None

    def at(self, progress: Tensor) -> Tensor:
        """Strength at each progress, in its dtype."""
        value = torch.full_like(progress, self.points[0][1])
        for (x0, y0), (x1, y1) in zip(self.points, self.points[1:], strict=False):
            share = ((progress - x0) / (x1 - x0)).clamp(0, 1) if x1 > x0 else torch.ones_like(progress)
            value = torch.where(progress >= x0, y0 + (y1 - y0) * share, value)
        return torch.where(progress >= self.points[-1][0], torch.full_like(value, self.points[-1][1]), value)


def progress(at: Point) -> Tensor:
    """a / (a + sigma): float64 on the CPU, () or one a row; 0 where a = 0."""
    if at.log_snr.ndim > 1:
        raise UserError(
            f"the point has coefficients of shape {tuple(at.log_snr.shape)}",
            where="adapter",
            remedy="attach adapters to runs whose entries share one time",
        )
    return torch.sigmoid(at.log_snr)


@dataclass(frozen=True, eq=False)
class Card:
    """One adapter as it is to be used.

    adapter     with or without a condition of its own
    condition   names -> batch-first tensors: one row for all samples, or one a sample
    strength    a number or a Curve over progress; where it is 0 nothing is computed
    region      (1 or rows, 1, *spatial) in 0..1, any size: where it acts; it is resized (by area) to each site
    branches    "both", or "cond": not in rows of the branch "null"
    layers      weights of its sites: {pattern of names: weight}, the last that fits counts and others are 1; one number
                a site, in order; or "prompt"
    """

    adapter: Adapter
    condition: Condition = field(default_factory=dict)
    strength: float | Curve = 1.0
    region: Tensor | None = None
    branches: Literal["both", "cond"] = "both"
    layers: Layers = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = sorted(set(self.adapter.conditions) - set(self.condition))
        unknown = sorted(set(self.condition) - set(self.adapter.conditions))
        if missing or unknown:
            raise UserError(
                f"the condition has {sorted(self.condition)}, {type(self.adapter).__name__} wants "
                f"{sorted(self.adapter.conditions)}",
                where="condition",
                remedy="pass those",
            )
        if self.branches not in ("both", "cond"):
            raise UserError(f"branches are {self.branches!r}", where="branches", remedy="choose both or cond")
        if isinstance(self.layers, str) and self.layers != PROMPT:
            raise UserError(f"layers are {self.layers!r}", where="layers", remedy="name prompt, or give weights")
        region = self.region
        if region is not None and (region.ndim < 3 or region.shape[1] != 1 or region.min() < 0 or region.max() > 1):
            raise UserError(
                f"the region has shape {tuple(region.shape)} and values {float(region.min()):g} to "
                f"{float(region.max()):g}",
                where="region",
                remedy="pass (1 or rows, 1, and spatial axes) within 0..1",
            )
        rows = self.rows
        if len(rows - {1}) > 1:
            raise UserError(
                f"condition and region have {sorted(rows)} rows",
                where="condition",
                remedy="give each one, or one a sample",
            )
        object.__setattr__(self, "strength", self.curve)

    @property
    def curve(self) -> Curve:
        """The strength as a curve."""
        return self.strength if isinstance(self.strength, Curve) else Curve(((0.0, float(self.strength)),))

    @property
    def rows(self) -> set[int]:
        """Numbers of rows of condition and region."""
        tensors = [*self.condition.values(), *([] if self.region is None else [self.region])]
        return {tensor.shape[0] for tensor in tensors}

    def weights(self, names: Sequence[str]) -> dict[str, float]:
        """The weight of each site; raises UserError for patterns that fit none and lists of another length."""
        if isinstance(self.layers, str):
            last = max(len(names) - 1, 1)
            return {name: 0.825 ** (12 * (1 - i / last)) if len(names) > 1 else 1.0 for i, name in enumerate(names)}
        if not isinstance(self.layers, Mapping):
            if len(self.layers) != len(names):
                raise UserError(
                    f"{len(self.layers)} weights for {len(names)} sites", where="layers", remedy=f"give {len(names)}"
                )
            return dict(zip(names, map(float, self.layers), strict=True))
        lost = [p for p in self.layers if p != "*" and not any(fnmatchcase(name, p) for name in names)]
        if lost:
            raise UserError(
                f"{lost} fit none of the adapter's {len(names)} sites",
                where="layers",
                remedy=f"use patterns of names such as {list(names)[:4]}",
            )
        found = dict.fromkeys(names, 1.0)
        for pattern, weight in self.layers.items():
            found |= {name: float(weight) for name in names if fnmatchcase(name, pattern)}
        return found


MODES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "balanced": {},
        "prompt": {"layers": PROMPT},
        "control": {"branches": "cond"},
        "style": {"layers": {"*": 0.0, "up_blocks.0.attentions.1.*": 1.0}},
        "composition": {"layers": {"*": 0.0, "down_blocks.2.attentions.1.*": 1.0}},
    }
)
"""Card(adapter, condition, **MODES["prompt"])."""
