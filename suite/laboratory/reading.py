"""The result in words: what the numbers of this run say, and what they do not."""

from __future__ import annotations

from typing import Any

from suite.laboratory.convergence import Convergence, Curve
from suite.laboratory.measures import WITHIN, Distance, Wanted


def verdict(far: Distance | None, law: Wanted | None) -> str:
    """One sentence: whether the samples can be told from exact ones."""
    if far is None or law is None:
        return "No exact law is known for this combination, so no distance is given; look at the picture."
    if far.value != far.value:
        return "The run left the range of numbers: it did not converge. Take more steps, or another spacing."
    amount = f"distance {far.value:.3f}, {far.ratio:.1f} times the floor {far.floor:.3f}"
    if far.reached:
        return f"The samples cannot be told from {law.name} at this size: {amount}."
    said = f"The samples differ from {law.name}: {amount}."
    return said if law.promised else f"{said} This guidance does not promise that law."


def in_short(far: Distance | None) -> str:
    """The verdict in a few words, for the status line and the command line."""
    if far is None:
        return "no exact law to compare with"
    if far.value != far.value:
        return "the run did not converge"
    return f"{'as good as' if far.reached else 'unlike'} exact samples, at {far.ratio:.1f} times the floor"


def explained(far: Distance | None, settings: Any) -> str:
    """What distance and floor mean."""
    if far is None:
        return ""
    return (
        f"The distance compares {settings.samples} samples with as many exact ones, looked at from 32 directions "
        "(sliced 1-Wasserstein). Two exact samples differ as well, by chance: that is the floor. Up to "
        f"{WITHIN:g} times the floor counts as the same; more samples lower the floor and show smaller errors."
    )


def of_convergence(found: Convergence) -> list[str]:
    """What the two charts say, a sentence a fact."""
    said = []
    for curve in found.order:
        if curve.chosen and curve.slope is not None:
            said.append(_order(curve))
    if not any(curve.chosen for curve in found.order):
        said.append(
            "The chosen sampler has no curve in an order chart: it draws fresh noise, so its paths have no exact end, "
            "or it cannot walk there. On the correlated Gaussian without error its order can be computed."
        )
    mine = next((curve for curve in found.law if curve.chosen), None)
    if mine is not None and found.floor is not None:
        reached = next((n for n, e in zip(mine.calls, mine.errors, strict=True) if e <= WITHIN * found.floor), None)
        said.append(
            f"{mine.sampler} comes within {WITHIN:g} times the floor with {reached} calls a sample."
            if reached is not None
            else f"{mine.sampler} does not come within {WITHIN:g} times the floor with up to {mine.calls[-1]} calls."
        )
    return said


def _order(curve: Curve) -> str:
    assert curve.slope is not None
    fits = abs(curve.slope - float(curve.declared or 0)) <= 0.3
    factor = 2**curve.slope
    return (
        f"Twice the steps divide the error of {curve.sampler} by {factor:.1f}: a slope of {curve.slope:.2f}, "
        f"{'as' if fits else 'while'} {curve.declared} is declared."
        + ("" if fits else " A field that bends sharply, or a guidance, can hide the order at this number of steps.")
    )
