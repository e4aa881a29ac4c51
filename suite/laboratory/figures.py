"""The charts as files: the run (paths and six moments) and its convergence, as PNG or SVG.

Colours are of the palette of Okabe and Ito, which colour-blind people can tell apart; every curve also has a marker
and a name of its own. The SVG for the page writes its lines and words in the page's own text colour.
"""

from __future__ import annotations

import io
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from suite.laboratory.convergence import Convergence, Curve
from suite.laboratory.picture import Picture

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#B86295"
CURVES: Final = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PURPLE, "D"))
INK: Final = "#010203"  # stands for the page's text colour
KINDS: Final = {
    "covariance": "error of mean and covariance",
    "path": "distance from the exact end of each path",
}


def run_figure(shown: Picture, title: str) -> Figure:
    """Paths over the exact law at the left, the samples at six moments at the right."""
    figure = Figure(figsize=(11, 5.4), layout="constrained")
    figure.suptitle(title, fontsize=11)
    grid = figure.add_gridspec(2, 5)
    main = figure.add_subplot(grid[:, :2])
    tracks = shown.paths.transpose(0, 1).numpy()
    main.add_collection(LineCollection(list(tracks), colors="#64748b", linewidths=0.4, alpha=0.35, zorder=1))
    main.scatter(
        tracks[:, 0, 0],
        tracks[:, 0, 1],
        s=7,
        facecolors="none",
        edgecolors="#64748b",
        linewidths=0.6,
        label="start",
        zorder=2,
    )
    if shown.atoms is not None:
        main.scatter(
            shown.atoms[:, 0],
            shown.atoms[:, 1],
            s=9,
            marker="+",
            c=ORANGE,
            linewidths=0.7,
            label="the exact set",
            zorder=4,
        )
    main.scatter(tracks[:, -1, 0], tracks[:, -1, 1], s=7, c=BLUE, label="end", zorder=3)
    _lines(main, shown.law, "50 % and 90 % of the exact law")
    main.legend(loc="lower left", fontsize=8, framealpha=0.9)
    _square(main, shown.half)
    for n, moment in enumerate(shown.moments):
        axes = figure.add_subplot(grid[n // 3, 2 + n % 3])
        axes.scatter(moment.points[:, 0], moment.points[:, 1], s=3, c=BLUE)
        _lines(axes, moment.contours)
        axes.set_title(f"step {moment.k}: {moment.words}", fontsize=8)
        _square(axes, shown.half)
        axes.set_xticklabels([])
        axes.set_yticklabels([])
    return figure


def _lines(axes: Axes, lines: Any, label: str = "") -> None:
    if lines:
        axes.add_collection(LineCollection(lines, colors=ORANGE, linewidths=1.2, label=label, zorder=5))


def _square(axes: Axes, half: float) -> None:
    axes.set(xlim=(-half, half), ylim=(-half, half), aspect="equal")
    axes.tick_params(labelsize=8)


def convergence_figure(found: Convergence, *, narrow: bool = False) -> Figure:
    """Error over calls, log-log: the order in the smooth middle, and the distance from the law beside the floor."""
    charts = [bool(found.order), bool(found.law)]
    shape = (sum(charts), 1) if narrow else (1, sum(charts))
    figure = Figure(figsize=(5 * shape[1], 3.7 * shape[0]), layout="constrained")
    panels = list(figure.subplots(*shape, squeeze=False).flat)
    if found.order:
        axes = panels.pop(0)
        _curves(axes, found.order)
        axes.set(title="Order, in the smooth middle of the way", ylabel=KINDS[found.kind])
    if found.law:
        axes = panels.pop(0)
        _curves(axes, found.law)
        if found.floor is not None:
            axes.axhspan(1e-12, found.floor, color=INK, alpha=0.1, linewidth=0)
            words = "floor: two exact samples differ this much"
            axes.annotate(words, (0.03, 0.03), xycoords="axes fraction", fontsize=8, color=INK)
        shown = [error for curve in found.law for error in curve.errors]
        low = min([*shown, found.floor or 1]) / 3
        axes.set(title=f"The whole way: distance from {found.wanted}", ylabel="sliced Wasserstein distance")
        axes.set_ylim(low, min(max(shown), 40 * (found.floor or max(shown))) * 1.6)
    return figure


def _curves(axes: Axes, curves: tuple[Curve, ...]) -> None:
    for curve, (colour, marker) in zip(curves, CURVES, strict=False):
        words = curve.sampler
        if curve.slope is not None:
            words += f": slope {curve.slope:.2f}, declared {curve.declared}"
        width = 2.4 if curve.chosen else 1.2
        axes.plot(curve.calls, curve.errors, color=colour, marker=marker, markersize=5, linewidth=width, label=words)
    ticks = sorted({calls for curve in curves for calls in curve.calls if calls & (calls - 1) == 0})
    axes.set(xscale="log", yscale="log", xlabel="calls of the network a sample")
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=9))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    axes.title.set_fontsize(10)
    axes.grid(alpha=0.25, color=INK)
    axes.legend(fontsize=8, framealpha=0, labelcolor=INK)


def written(figure: Figure, kind: str) -> bytes:
    """The figure as "png" or "svg", the same bytes every time."""
    buffer = io.BytesIO()
    facts = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    with mpl.rc_context({"svg.hashsalt": "laboratory"}):
        figure.savefig(buffer, format=kind, dpi=130, metadata=facts)
    return buffer.getvalue()


def inline(figure: Figure, label: str) -> str:
    """The figure as SVG for a page, transparent, in the page's text colour, with `label` for screen readers."""
    for axes in figure.axes:
        axes.patch.set_alpha(0)
        axes.tick_params(colors=INK, which="both")
        for part in (axes.title, axes.xaxis.label, axes.yaxis.label):
            part.set_color(INK)
        for spine in axes.spines.values():
            spine.set_color(INK)
    figure.patch.set_alpha(0)
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "laboratory", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    start = text.index("<svg")
    return text[start:].replace("<svg", f'<svg role="img" aria-label="{label}"', 1).replace(INK, "currentColor")
