"""What the page does when something is chosen, typed, drawn or dropped. Every handler is private to the page."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import gradio as gr
import numpy as np
from numpy.typing import NDArray

from domains.image.conditioning import SIDE, EdgeMap, edge_map
from domains.image.control.operations import EXAMPLES, GenerateShapes
from domains.image.page import results, words
from domains.image.page.visit import Visit, map_of, read_replay
from shared.errors import UserError
from shared.front.controls import Controls
from shared.front.operation import Outcome

PRIVATE: Final[dict[str, Any]] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": 4}
LATEST: Final[dict[str, Any]] = {**PRIVATE, "trigger_mode": "always_last"}
LEFT_ALONE: Final = "the page was left alone for too long"
FIRST: Final = "pair"
ALONE: Final = "caption alone"


@dataclass(eq=False)
class Parts:
    """The components of the page, filled while it is laid out."""

    visit: Any
    example: Any = None
    caption: Any = None
    promised: Any = None
    editor: Any = None
    for_caption: Any = None
    source: Any = None
    file: Any = None
    detector: Any = None
    fit: Any = None
    replay: Any = None
    replayed: Any = None
    effect: Any = None
    gallery: Any = None
    figures: Any = None
    table: Any = None
    stages: Any = None
    command: Any = None
    sidecar: Any = None

    @property
    def results(self) -> list[Any]:
        """What shows the outcome of a run, in the order of `finished`."""
        return [self.gallery, self.figures, self.table, self.stages, self.command, self.sidecar]


def values(visit: Visit | None, caption: str | None, held: str | None) -> Mapping[str, Any]:
    """For `run_panel`: the options that the page holds."""
    if visit is None:
        raise UserError(LEFT_ALONE, remedy="reload the page")
    return {"caption": caption or "", **visit.asked(held)}


def finished(outcome: Outcome) -> list[Any]:
    """For `run_panel`: what `Parts.results` show of an outcome."""
    sidecar = outcome.view["sidecar"]
    shown = {name: value for name, value in sidecar.items() if name != "files"}
    report = outcome.report
    return [
        results.gallery_value(outcome),
        results.figures(report),
        results.table(report),
        outcome.view["stages"],
        sidecar["command"],
        json.dumps(shown, indent=1),
    ]


def preview(pictures: NDArray) -> list[Any]:
    """For `run_panel`: what `Parts.results` show while a run goes on."""
    return [results.preview_value(pictures), *(gr.skip() for _ in range(5))]


def connect(blocks: gr.Blocks, parts: Parts, controls: Controls) -> None:
    """Connect the components of a page to the handlers below."""
    by_name = {control.option.name: control.components[0] for control in controls.controls}
    curve = [by_name[name] for name in ("strength", "control_from", "control_until")]
    acting = [parts.caption, parts.editor, *curve, by_name["mode"]]
    filled = [parts.visit, parts.caption, parts.promised, parts.editor, parts.source]

    def measured(event: Any) -> None:
        event.then(_effect, acting, parts.effect, **LATEST)

    measured(blocks.load(_start, None, filled, **PRIVATE))
    measured(parts.example.input(_example, [parts.visit, parts.example], filled, **PRIVATE))
    measured(parts.for_caption.click(_for_caption, [parts.visit, parts.caption], filled, **PRIVATE))
    own = [parts.visit, parts.file, parts.detector, parts.fit]
    for event in (parts.file.change, parts.detector.input, parts.fit.input):
        measured(event(_upload, own, [parts.visit, parts.editor, parts.source], **PRIVATE))
    measured(
        parts.replay.upload(
            _replay(controls),
            [parts.visit, parts.replay],
            [*filled, parts.replayed, *controls.components],
            **PRIVATE,
        )
    )
    parts.caption.change(words.promised, parts.caption, parts.promised, **LATEST)
    parts.caption.blur(_effect, acting, parts.effect, **LATEST)
    for part in (parts.editor, *curve, by_name["mode"]):
        part.input(_effect, acting, parts.effect, **LATEST)


def _start() -> list[Any]:
    visit = Visit()
    return [visit, *_filled(visit, FIRST)]


def _filled(visit: Visit, name: str) -> list[Any]:
    """Caption, what it promises, editor and words of an example."""
    caption = EXAMPLES[name]
    visit.fill(
        edge_map(f"example:{name}"), {"edges": f"example:{name}"}, f"Edges of the example {name}, drawn exactly."
    )
    return [caption, words.promised(caption), visit.editor(), said(visit)]


def said(visit: Visit) -> str:
    """Where the map in the editor came from, or what is wrong with the file."""
    if visit.trouble:
        return f'<p role="alert" class="status-error">Please check: {html.escape(visit.trouble)}</p>'
    return f'<p role="status">{html.escape(visit.words)}</p>'


def _alive(visit: Visit | None) -> Visit:
    if visit is None:
        raise gr.Error(f"{LEFT_ALONE}; reload the page", title="Please check", print_exception=False)
    return visit


def _example(visit: Visit | None, name: str) -> list[Any]:
    visit = _alive(visit)
    if name in EXAMPLES:
        return [visit, *_filled(visit, name)]
    visit.fill(_empty(), {}, "No edges: the caption alone decides.")
    return [visit, gr.skip(), gr.skip(), visit.editor(), said(visit)]


def _for_caption(visit: Visit | None, caption: str | None) -> list[Any]:
    """Exact edges of another scene that keeps the caption, at every press."""
    from domains.image.conditioning import exact_edges
    from domains.image.control.exact import scene_for

    visit = _alive(visit)
    visit.drawn += 1
    try:
        values = exact_edges(scene_for(caption or "", visit.drawn))
    except UserError as error:
        visit.trouble = str(error)
        return [visit, gr.skip(), gr.skip(), gr.skip(), said(visit)]
    visit.fill(EdgeMap(values, "scene"), {}, f"Exact edges of scene {visit.drawn} for this caption.")
    return [visit, gr.skip(), gr.skip(), visit.editor(), said(visit)]


def _upload(visit: Visit | None, path: str | None, detector: str, fit: str) -> list[Any]:
    visit = _alive(visit)
    if path is None:
        visit.trouble = ""
        return [visit, gr.skip(), said(visit)]
    visit.take(path, "canny" if detector.startswith("Detect") else "none", fit)
    return [visit, gr.skip() if visit.trouble else visit.editor(), said(visit)]


def _replay(controls: Controls) -> Any:
    """The handler of a dropped result: every control as it was, the caption and the edge map."""

    def replay(visit: Visit | None, path: str | None) -> list[Any]:
        visit = _alive(visit)
        try:
            settings, values = read_replay(str(path))
        except UserError as error:
            visit.trouble = ""
            skipped = [gr.skip() for _ in range(4 + len(controls.components))]
            alert = f'<p role="alert" class="status-error">Please check: {_plain(error)}</p>'
            return [visit, *skipped[:4], alert, *skipped[4:]]
        visit.fill(_empty() if values is None else EdgeMap(values / 255, "replay"), {}, "Edges of the dropped result.")
        if settings["edges"] and str(settings["edges"]).startswith("example:"):
            visit.options = {"edges": settings["edges"]}
        given = [settings[control.option.name] for control in controls.controls]
        caption = settings["caption"]
        done = '<p role="status">All settings are those of the dropped result; press Run.</p>'
        return [visit, caption, words.promised(caption), visit.editor(), said(visit), done, *given]

    return replay


def _plain(error: UserError) -> str:
    return html.escape(str(error))


def _empty() -> EdgeMap:
    return EdgeMap(np.zeros((SIDE, SIDE), np.float32), "none")


def _effect(caption: str | None, held: str | None, *curve: Any) -> str:
    """Strength over the run and the measured effect of the edges; quiet while caption or numbers do not fit."""
    from domains.image.control.effect import effect_of

    edges = map_of(held).astype(np.float32) / 255
    strength, low, high, mode = curve
    try:
        settings = GenerateShapes(
            caption=caption or "", strength=strength, control_from=low, control_until=high, mode=mode, out="unused"
        )
        relative = effect_of(settings, edges) if edges.any() else None
    except UserError as error:
        return f'<p role="alert">{_plain(error)}</p>'
    return results.effect(relative, settings.strength, (settings.control_from, settings.control_until))
