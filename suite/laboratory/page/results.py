"""A result as the components of the page show it: drawing, verdict, numbers, charts, code."""

from __future__ import annotations

import html
import json

from suite.laboratory import reading
from suite.laboratory.figures import convergence_figure, inline
from suite.laboratory.picture import value
from suite.laboratory.run import Result


def drawing(result: Result) -> str:
    """The value of the viewer: JSON."""
    rescaled = " States are drawn smaller where they are larger than the data." if result.shown.rescaled else ""
    alt = f"Paths of {len(result.samples)} samples from noise to data: {result.title}.{rescaled}"
    return json.dumps({**value(result.shown), "alt": alt}, separators=(",", ":"))


def verdict(result: Result) -> str:
    """The verdict and the numbers behind it."""
    far = result.far
    kind = "" if far is None else " same" if far.reached else " other"
    facts = [
        ("Calls a sample", f"{result.made} (declared {result.declared})"),
        ("Time", f"{result.seconds:.2f} s"),
    ]
    if far is not None:
        facts += [("Distance", f"{far.value:.3f}"), ("Floor", f"{far.floor:.3f}"), ("Ratio", f"{far.ratio:.2f}")]
    if result.missed is not None:
        facts.append(("Measurement missed by", f"{result.missed:.2g}"))
    rows = "".join(f"<div><dt>{name}</dt><dd>{words}</dd></div>" for name, words in facts)
    meaning = reading.explained(far, result.bench.settings)
    said = html.escape(reading.verdict(far, result.law))
    return (
        f'<p class="verdict{kind}" role="status">{said}</p><dl class="facts">{rows}</dl>'
        f'<p class="meaning">{html.escape(meaning)}</p>'
    )


def charts(result: Result) -> str:
    """The convergence charts, once for a desk and once for a phone, and what they say."""
    found = result.convergence
    if found is None:
        asked = result.bench.settings.convergence
        words = "Measuring the error against the number of calls…" if asked and result.finite else ""
        return f'<p class="meaning" role="status">{words}</p>'
    says = "".join(f"<li>{html.escape(words)}</li>" for words in reading.of_convergence(found))
    if not found.order and not found.law:
        return f"<ul>{says}</ul>"
    label = html.escape("Error against calls, log-log. " + " ".join(reading.of_convergence(found)), quote=True)
    drawn = [
        f'<div class="{name}">{inline(convergence_figure(found, narrow=narrow), label)}</div>'
        for name, narrow in (("wide", False), ("narrow", True))
    ]
    return f'<div class="charts">{"".join(drawn)}<ul>{says}</ul></div>'
