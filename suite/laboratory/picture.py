"""What a run looks like, as numbers that a page and a file can draw: paths, contours of exact laws, points of a set.

States are drawn at 1 / max(1, sqrt(a^2 + sigma^2)) of their size, so that all levels of noise fit into one window: for
the processes ve and edm that is the state of the equivalent variance-preserving process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from shared.oracle import DataSet, Mixture
from shared.process import Gaussian, Point
from suite.laboratory.measures import Wanted, atoms
from suite.laboratory.recipe import Bench
from suite.laboratory.truths import density

SHARES: Final = (0.5, 0.9)
"""Contours hold these shares of a law."""
MULTIPLES: Final = 6
PIXELS: Final = 72  # places along an edge at which a density is computed
PATHS: Final = 300
STATES: Final = 61  # states of a path that are drawn
WINDOW: Final = (2.4, 4.5)  # smallest and largest half-width

Lines = list[list[list[float]]]


@dataclass(frozen=True)
class Moment:
    """The run at one time: position in the route, words of the noise level, all samples, contours of the exact law."""

    k: int
    words: str
    points: Tensor
    contours: Lines


@dataclass(frozen=True)
class Picture:
    """Everything in drawn coordinates: paths (K, B, 2) at positions `at`, the law at the end, six moments."""

    paths: Tensor
    at: tuple[int, ...]
    words: tuple[str, ...]
    half: float
    law: Lines
    atoms: Tensor | None
    moments: tuple[Moment, ...]
    rescaled: bool


def picture(bench: Bench, states: Tensor, law: Wanted | None) -> Picture:
    """The picture of a run; states (K + 1, B, 2) at every position of the route."""
    route = bench.grid.route
    points = [bench.grid.points[i] for i in route]
    scale = torch.tensor([drawn_at(p) for p in points], dtype=torch.float64)
    drawn = states * scale[:, None, None]
    at = spaced(len(route), STATES)
    half = _half(drawn)
    words = tuple(level(points[k]) for k in at)
    moments = tuple(
        Moment(k, level(points[k]), drawn[k], _marginal(bench, points[k], float(scale[k]), half, law))
        for k in spaced(len(route), MULTIPLES)
    )
    end = law.mixture if law is not None else None
    ended = contours(lambda x: density(end, x, 1.0, 0.0), half) if end is not None else []
    shown = atoms(bench.truth) if bench.settings.guide in ("none", "label") else None
    if shown is not None and bench.settings.guide == "label" and isinstance(bench.truth, DataSet):
        labels = bench.truth.labels
        shown = shown if labels is None else shown[labels == bench.settings.label]
    return Picture(drawn[list(at), :PATHS], at, words, half, ended, shown, moments, bool((scale < 0.999).any()))


def spaced(count: int, most: int) -> tuple[int, ...]:
    """At most `most` of the positions 0..count - 1, evenly, with both ends."""
    return tuple(dict.fromkeys(torch.linspace(0, count - 1, min(count, most)).round().int().tolist()))


def drawn_at(p: Point) -> float:
    """1 / max(1, sqrt(a^2 + sigma^2))."""
    return 1 / max(1.0, float((p.a**2 + p.sigma**2).sqrt()))


def level(p: Point) -> str:
    """The noise level in words: sigma / a, or that nothing of the data is left."""
    if p.signalless:
        return "noise only" if not p.noiseless else "the known end"
    ratio = float(p.sigma / p.a)
    return "clean" if ratio == 0 else f"σ/a = {ratio:.3g}" if ratio < 1000 else "almost noise only"


def _half(drawn: Tensor) -> float:
    """Half-width of a square window around 0 that holds nearly all that is drawn."""
    reach = torch.quantile(drawn.abs().amax(-1).flatten()[:: max(1, drawn.numel() // 200_000)], 0.995)
    return float((1.1 * reach).clamp(*WINDOW))


def _marginal(bench: Bench, p: Point, scale: float, half: float, law: Wanted | None) -> Lines:
    """Contours of the exact law of x_t, where it is known: Gaussian noise, and a run that is meant to follow it."""
    if law is None or not isinstance(bench.denoiser.process.law, Gaussian):
        return []
    known: Mixture | DataSet | None = law.mixture
    if p.clean:
        return contours(lambda x: density(known, x, 1.0, 0.0), half) if known is not None else []
    if not law.promised:
        return []
    known = known or (bench.truth if bench.settings.guide == "none" else None)
    y = bench.ends(1)
    offset = float(p.b) * y[0] if y is not None else 0.0
    if known is None or float(p.sigma) * scale < 0.04:
        return []
    return contours(lambda x: density(known, x / scale, float(p.a), float(p.sigma), offset), half)


def contours(of: Any, half: float) -> Lines:
    """Lines that hold the shares SHARES of a density's mass in the window; of(places (M, 2)) -> (M,)."""
    from contourpy import contour_generator

    edge = torch.linspace(-half, half, PIXELS, dtype=torch.float64)
    places = torch.cartesian_prod(edge, edge)
    values = of(places)
    ranked = values.sort(descending=True).values
    mass = ranked.cumsum(0) / ranked.sum().clamp_min(1e-300)
    made = contour_generator(edge.numpy(), edge.numpy(), values.reshape(PIXELS, PIXELS).T.numpy())
    lines: Lines = []
    for share in SHARES:
        threshold = ranked[int((mass < share).sum().clamp_max(len(ranked) - 1))]
        lines += [torch.as_tensor(line).tolist() for line in made.lines(float(threshold))]
    return lines


def value(shown: Picture) -> dict[str, Any]:
    """The picture as JSON for the page: thousandths of the window's unit, one flat list a state."""

    def flat(points: Tensor) -> list[int]:
        return (points.clamp(-99, 99) * 1000).round().int().flatten().tolist()

    return {
        "half": round(1000 * shown.half),
        "states": [flat(state) for state in shown.paths],
        "at": list(shown.at),
        "words": list(shown.words),
        "law": _thousandths(shown.law),
        "atoms": flat(shown.atoms) if shown.atoms is not None else [],
        "moments": [
            {"k": m.k, "words": m.words, "points": flat(m.points[:PATHS]), "law": _thousandths(m.contours)}
            for m in shown.moments
        ],
    }


def _thousandths(lines: Sequence[Sequence[Sequence[float]]]) -> list[list[int]]:
    return [[round(1000 * number) for place in line for number in place] for line in lines]
