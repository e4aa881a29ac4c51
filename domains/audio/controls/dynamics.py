"""Dynamics: loudness over time as a curve of break points in dB.

0 dB is the mean square of a constant +-1, so a full-scale sine has -3 dB; -80 dB and below is silence. Between two
points the curve is straight in dB, before the first and after the last it is flat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from domains.audio.controls import checks
from shared.errors import UserError

QUIETEST, LOUDEST = -80.0, 0.0  # dB
SHAPES: Final = ("linear", "tanh", "cosine")


@dataclass(frozen=True)
class Dynamics:
    """Break points (seconds, dB), sorted by time, one or more, each from -80 to 0 dB."""

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        checks.few(self.points, "dynamics")
        if not self.points:
            raise UserError("the curve has no point", where="dynamics", remedy="give one or leave dynamics out")
        ordered = []
        for n, point in enumerate(self.points):
            where = f"dynamics[{n}]"
            if len(point) != 2:
                raise UserError(f"a point has {len(point)} numbers", where=where, remedy="give a time and a level")
            second = checks.real(point[0], 0.0, checks.LONGEST, where, "the time", "seconds")
            ordered.append((second, checks.real(point[1], QUIETEST, LOUDEST, where, "the level", "dB")))
        ordered.sort(key=lambda point: point[0])
        for n in range(1, len(ordered)):
            if ordered[n][0] == ordered[n - 1][0]:
                raise UserError(
                    f"two points are at {ordered[n][0]:g} s", where=f"dynamics[{n}]", remedy="keep one of them"
                )
        object.__setattr__(self, "points", tuple(ordered))

    def at(self, seconds: ArrayLike) -> NDArray[np.float64]:
        """dB at these times, any shape."""
        times, levels = zip(*self.points, strict=True)
        return np.asarray(np.interp(np.asarray(seconds, dtype=np.float64), times, levels))

    @classmethod
    def shape(
        cls,
        kind: str,
        length: float,
        *,
        middle: float = -20.0,
        span: float = 12.0,
        falling: bool = False,
        points: int = 25,
    ) -> Dynamics:
        """A rise (or fall) over the whole clip: the drawn curves of the Music ControlNet protocol.

        kind     linear, tanh (steep in the middle), cosine (flat at both ends)
        middle   dB in the middle of the clip;  span  dB from end to end (the protocol has 6, 9, 12 and 15)
        """
        checks.word(kind, SHAPES, "dynamics", "the shape")
        x = np.linspace(-1.0, 1.0, 2 if kind == "linear" else points)
        y = {"linear": x, "tanh": np.tanh(3 * x) / np.tanh(3.0), "cosine": np.sin(np.pi / 2 * x)}[kind]
        levels = middle + span / 2 * (-y if falling else y)
        return cls(tuple(zip(((x + 1) / 2 * length).tolist(), levels.tolist(), strict=True)))

    @classmethod
    def through(cls, seconds: ArrayLike, levels: ArrayLike, within: float = 0.1) -> Dynamics:
        """The curve through measured levels, with as few points as stay `within` dB of every one of them.

        seconds (N,) ascending;  levels (N,) dB, clipped to -80 .. 0.
        """
        x = np.asarray(seconds, dtype=np.float64)
        y = np.clip(np.asarray(levels, dtype=np.float64), QUIETEST, LOUDEST)
        keep = np.zeros(len(x), dtype=bool)
        keep[[0, -1]] = True
        open_ = [(0, len(x) - 1)]
        while open_:
            first, last = open_.pop()
            if last - first < 2:
                continue
            between = slice(first + 1, last)
            off = np.abs(y[between] - np.interp(x[between], x[[first, last]], y[[first, last]]))
            worst = int(off.argmax())
            if off[worst] > within:
                split = first + 1 + worst
                keep[split] = True
                open_ += [(first, split), (split, last)]
        return cls(tuple(zip(x[keep].tolist(), y[keep].tolist(), strict=True)))
