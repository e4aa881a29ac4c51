"""What the page shows of a run: the pictures, the run in figures, and asked against found in a table."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from numpy.typing import NDArray

from domains.image.page.visit import data_url, lines_url
from shared.front.operation import Outcome

WAITING: Final = "Press Run: the pictures appear here."
KEPT: Final = 0.8  # F1 from which edges count as kept
ORANGE, SKY = (230, 159, 0), (86, 180, 233)  # edges asked for and found: told apart by every kind of eye


def gallery_value(outcome: Outcome) -> str:
    """The gallery of a finished run."""
    view, rows = outcome.view, outcome.report["pictures"]
    pictures = [
        {
            "src": data_url(picture),
            "alt": f"Synthetic picture {k + 1}: {row['found'] or 'nothing that can be read'}",
            "title": title(row),
            "found": lines_url(found, SKY),
        }
        for k, (picture, found, row) in enumerate(zip(view["pictures"], view["found_edges"], rows, strict=True))
    ]
    asked = lines_url(view["edges"], ORANGE) if view["edges"] is not None else ""
    return json.dumps({"empty": "", "pictures": pictures, "asked": asked, "running": False})


def preview_value(pictures: NDArray) -> str:
    """The gallery while a run goes on: what the network believes so far."""
    shown = [
        {"src": data_url(picture), "alt": f"Picture {k + 1}, not finished", "title": "on the way", "found": ""}
        for k, picture in enumerate(pictures)
    ]
    return json.dumps({"empty": "", "pictures": shown, "asked": "", "running": True})


def nothing(words: str = WAITING) -> str:
    """The gallery while there is nothing to show."""
    return json.dumps({"empty": words, "pictures": [], "asked": "", "running": False})


def title(row: Mapping[str, Any]) -> str:
    """One line for a picture: its seed, and how much of what was asked for it shows."""
    said = f"Seed {row['seed']}"
    if row["promises"]:
        said += f": {row['kept']} of {row['promises']} right"
    if row["edge_f1"] is not None:
        said += f", edges {row['edge_f1']:.2f}"
    return said


def figures(report: Mapping[str, Any]) -> str:
    """The run in figures: promises kept, agreement of the edges, effect of the control, calls and seconds."""
    rows = report["pictures"]
    asked = sum(row["promises"] for row in rows)
    cells = {}
    if asked:
        cells["Caption kept"] = f"{sum(row['kept'] for row in rows)} of {asked}"
    if report["edge_f1"] is not None:
        cells["Edges kept (F1)"] = f"{report['edge_f1']:.2f}"
    if report["effect"] is not None:
        cells["Effect of the edges"] = f"{report['effect']:.0%}"
    cells["Valid pictures"] = f"{sum(row['valid'] for row in rows)} of {len(rows)}"
    cells["Network calls"] = (
        f"{report['calls']} × {1000 * report['seconds_per_call']:.0f} ms = {report['seconds']:.1f} s"
    )
    shown = "".join(f"<div><dt>{name}</dt><dd>{words}</dd></div>" for name, words in cells.items())
    return f'<dl class="figures">{shown}</dl>'


def table(report: Mapping[str, Any]) -> str:
    """A row for everything that was asked, a column a picture with what was found: right or not in signs and words."""
    rows = report["pictures"]
    names = ["Asked", *(f"Picture {k + 1}" for k in range(len(rows)))]
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = ""
    for n, promise in enumerate(rows[0]["rows"]):
        found = [(row["rows"][n]["right"], row["rows"][n]["found"]) for row in rows]
        body += _line(promise["asked"], promise["what"], found)
    if report["edge_f1"] is not None:
        found = [(row["edge_f1"] >= KEPT, f"F1 {row['edge_f1']:.2f}") for row in rows]
        body += _line("the edges", f"F1 of {KEPT} or more", found)
    valid = [(row["valid"], "clear" if row["valid"] else "unclear") for row in rows]
    body += _line("a valid picture", "sharp shapes of the world", valid)
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Asked and found">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _line(asked: str, what: str, found: Sequence[tuple[bool, str]]) -> str:
    cells = "".join(
        f'<td class="{"right" if right else "wrong"}">{"✓" if right else "✕"} {html.escape(words)}</td>'
        for right, words in found
    )
    return f'<tr><th scope="row">{html.escape(asked)}<small>{html.escape(what)}</small></th>{cells}</tr>'


def effect(relative: float | None, strength: float, window: Sequence[float]) -> str:
    """Beside the strength: its curve over the run, and what the edges change at the first step."""
    if relative is None:
        return "<p>No edges: the caption alone decides.</p>"
    low, high = window
    y = 50 - 22 * min(strength, 2)
    points = f"0,50 {200 * low:.1f},50 {200 * low:.1f},{y:.1f} {200 * high:.1f},{y:.1f} {200 * high:.1f},50 200,50"
    curve = (
        f'<svg viewBox="-4 0 208 56" role="img" aria-label="Strength {strength:g} from {low:g} until {high:g} of the '
        'way from noise to picture" preserveAspectRatio="none"><path d="M0,50H200M0,28H200" stroke="currentColor" '
        'stroke-width="0.5" stroke-dasharray="2 3" vector-effect="non-scaling-stroke"/>'
        f'<polyline points="{points}" fill="none" stroke="#0f766e" stroke-width="2.5" '
        'vector-effect="non-scaling-stroke"/></svg>'
    )
    if strength == 0:
        return f"{curve}<p><strong>The edges are switched off</strong> (strength 0).</p>"
    weak = " That is hardly anything." if relative < 0.02 else ""
    return f"{curve}<p>Effect of the edges: the first prediction changes by <strong>{relative:.0%}</strong>.{weak}</p>"
