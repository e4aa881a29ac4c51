"""What the page does when something is pressed, moved, painted or uploaded. Every handler is private to the page.

The browser numbers what it asks for. Handlers of one visitor run side by side, and a slow one may end after another
that was asked later: what it drew is dropped then, what it changed (the mask, the scan) stays.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from weakref import WeakValueDictionary

import gradio as gr

from domains.medical.page import results, words
from domains.medical.page.results import Result, viewer_value
from domains.medical.page.viewer import Look, moved, new_lesion, nothing, old_lesion, painted, scan_value
from domains.medical.page.visit import Scan, Visit, example, middle, uploaded
from domains.medical.planes import CONVENTIONS, PLANES
from domains.medical.windows import Window
from shared.errors import UserError
from shared.front.operation import Outcome

PRIVATE: Final[dict[str, Any]] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": 4}
LEFT_ALONE: Final = "the page was left alone for too long and has let go of the scan"
LATEST: Final[dict[str, Any]] = {**PRIVATE, "trigger_mode": "always_last"}
# Runs in the browser when something is asked for: the first input becomes its number.
NUMBERED: Final = """(...held) => {
  window.lesionMoment = (window.lesionMoment || 0) + 1;
  return [window.lesionMoment, ...held.slice(1, %d)];
}"""


@dataclass(eq=False)
class Parts:
    """The components of the page, filled while it is laid out."""

    visit: Any
    result: Any
    moment: Any
    files: list[Any] = field(default_factory=list)
    slices: list[Any] = field(default_factory=list)
    loaded: Any = None
    contrast: Any = None
    preset: Any = None
    convention: Any = None
    before: Any = None
    tool: Any = None
    brush: Any = None
    ball: Any = None
    undo: Any = None
    clear: Any = None
    restore: Any = None
    inside: Any = None
    drawn: Any = None
    width: Any = None
    level: Any = None
    opacity: Any = None
    main: Any = None
    mode: Any = None
    variation: Any = None
    after: Any = None
    outlined: Any = None
    strip: Any = None
    figures: Any = None
    quality: Any = None
    domain: Any = None
    command: Any = None
    sidecar: Any = None

    @property
    def look(self) -> list[Any]:
        """The components that say how the visitor looks at the scan, in the order of `look_of`."""
        own = [self.contrast, self.width, self.level, self.opacity, self.convention, self.main, self.tool, self.brush]
        return [*self.slices, *own]

    @property
    def pictures(self) -> list[Any]:
        """Everything that follows the cross-hair."""
        return [self.before, self.after, self.strip]


def look_of(held: Sequence[Any], scan: Scan) -> Look:
    """What the components of `Parts.look` hold; they come from a browser, so they are put into range."""
    i, j, k, contrast, width, level, opacity, convention, main, tool, brush = held
    contrast = contrast if contrast in scan.ras else next(iter(scan.ras))
    return Look(
        (int(i or 1) - 1, int(j or 1) - 1, int(k or 1) - 1),
        contrast,
        Window(max(float(width or 0), 1e-6), float(level or 0)),
        min(max(float(opacity or 0), 0), 1),
        convention if convention in CONVENTIONS else CONVENTIONS[0],
        main if main in PLANES else PLANES[0],
        str(tool),
        min(max(float(brush or 8), 0.5), 80),
    ).inside(scan.shape)


def values(visit: Visit | None, texture: str, own_texture: str | None) -> Mapping[str, Any]:
    """For `run_panel`: the options that the page holds."""
    if visit is None:
        raise UserError(LEFT_ALONE, remedy="reload the page")
    return {**visit.values(), "texture": own_texture or f"example:{texture}"}


def finished(outcome: Outcome) -> list[Result]:
    """For `run_panel`: what the result state becomes."""
    return [Result.of(outcome)]


def forget(held: Visit | Result | None) -> None:
    """Let go of what belonged to a visitor who left."""
    if held is not None:
        held.forget()


def connect(blocks: gr.Blocks, parts: Parts, panel: Any) -> None:
    """Connect the components of a page to the handlers below."""
    here: WeakValueDictionary[str, Visit] = WeakValueDictionary()
    given: WeakValueDictionary[str, Result] = WeakValueDictionary()

    def start(request: gr.Request) -> list[Any]:
        visit = Visit(example())
        here[str(request.session_hash)] = visit
        return [visit, *_opened(visit)]

    def leave(request: gr.Request) -> None:
        forget(here.pop(str(request.session_hash), None))
        forget(given.pop(str(request.session_hash), None))

    def show_result(
        request: gr.Request, moment: float, visit: Visit | None, result: Result | None, *held: Any
    ) -> list[Any]:
        if result is not None:
            given[str(request.session_hash)] = result
        return _reported(moment, _alive(visit), result, held)

    def asked(event: Any, handler: Any, extra: Sequence[Any], outputs: Sequence[Any], how: Mapping[str, Any]) -> None:
        """Connect an event to a handler (moment, visit, result, *look, *result_view, *extra)."""
        inputs = [*everything, *extra]
        event(handler, inputs, list(outputs), js=NUMBERED % len(inputs), **how)

    opened = [*parts.look, parts.preset, parts.loaded, parts.drawn, parts.before, parts.after]
    result_view = [parts.mode, parts.variation, parts.outlined]
    blocks.load(start, None, [parts.visit, *opened], **PRIVATE)
    blocks.unload(leave)
    everything = [parts.moment, parts.visit, parts.result, *parts.look, *result_view]
    for file in parts.files:
        asked(file.change, _load, parts.files, [parts.visit, parts.result, *opened], PRIVATE)
    steering = [*parts.slices, parts.width, parts.level, parts.opacity, parts.convention, parts.main]
    for part in (*steering, parts.tool, parts.brush, *result_view):
        asked(part.input, _draw, (), parts.pictures, LATEST)
    moving = [*parts.slices, *parts.pictures]
    for viewer in (parts.before, parts.after):
        asked(viewer.select, _select, (), moving, LATEST)
    asked(parts.before.input, _paint, [parts.inside], [parts.visit, parts.drawn, *moving], LATEST)
    window = [parts.width, parts.level, *parts.pictures]
    asked(parts.contrast.input, _contrast, (), [parts.preset, *window], LATEST)
    asked(parts.preset.input, _preset, [parts.preset], window, LATEST)
    edits = {parts.ball: "ball", parts.undo: "undo", parts.clear: "clear", parts.restore: "restore"}
    for button, what in edits.items():
        asked(button.click, _edit(what), [parts.inside], [parts.visit, parts.drawn, parts.before], PRIVATE)
    report = [parts.variation, parts.figures, parts.quality, parts.domain, parts.command, parts.sidecar, *moving]
    asked(parts.result.change, show_result, (), report, PRIVATE)


def _alive(visit: Visit | None) -> Visit:
    if visit is None:
        raise gr.Error(f"{LEFT_ALONE}; reload the page", title="Please check", print_exception=False)
    return visit


def _opened(visit: Visit) -> list[Any]:
    """The components that change with the scan."""
    scan = visit.scan
    contrast = next(iter(scan.ras))
    sliders = [gr.update(maximum=n, value=v + 1) for n, v in zip(scan.shape, scan.centre(), strict=True)]
    named = gr.update(choices=list(scan.ras), value=contrast)
    preset, width, level = _windows(scan, contrast)
    look = [*sliders, named, width, level, gr.skip(), gr.skip(), gr.skip(), gr.skip(), gr.skip()]
    first = Look(scan.centre(), contrast, next(iter(scan.windows[contrast].values())))
    return [*look, preset, words.loaded(visit), words.drawn(visit), _before(visit, first), nothing(results.WAITING)]


def _windows(scan: Scan, contrast: str) -> tuple[Any, Any, Any]:
    """Presets, width and level of a contrast, at its first preset."""
    known = scan.windows[contrast]
    name, window = next(iter(known.items()))
    whole = known["Full range"]
    step = 10.0 ** math.floor(math.log10(whole.width / 200))
    low, high = (math.floor((whole.level + side * whole.width / 2) / step) * step for side in (-1, 1))
    width, level = (round(round(value / step) * step, 10) for value in window)
    most = max(high - low, width) + step
    return (
        gr.update(choices=list(known), value=name),
        gr.update(minimum=step, maximum=round(most, 10), step=step, value=max(width, step)),
        gr.update(minimum=round(low, 10), maximum=round(high + step, 10), step=step, value=level),
    )


def _load(moment: float, visit: Visit | None, _result: Result | None, *held: Any) -> list[Any]:
    visit = _alive(visit)
    flair, t1, t2, mask, label = files = held[-5:]
    visit.newest(moment)
    try:
        visit.load(example() if not any(files) else uploaded({"FLAIR": flair, "T1": t1, "T2": t2}, mask, label))
    except UserError as error:
        visit.trouble = str(error)
        return [visit, gr.skip(), *_nothing(12), words.loaded(visit), *_nothing(3)]
    return [visit, None, *_opened(visit)]


def _nothing(count: int) -> list[Any]:
    """Components that stay as they are."""
    return [gr.skip() for _ in range(count)]


def _newest(visit: Visit, moment: float, look: Look, count: int, draw: Callable[[], list[Any]]) -> list[Any]:
    """What `draw` gives, drawn again when the mask changed meanwhile; nothing when something later was asked for."""
    while visit.newest(moment, look):
        mask, drawn = visit.mask, draw()
        if visit.mask is mask:
            return drawn if visit.newest(moment) else _nothing(count)
    return _nothing(count)


def _before(visit: Visit, look: Look) -> str:
    scan = visit.scan
    overlays = [new_lesion(visit.mask)]
    overlays += [old_lesion(scan.existing)] if scan.existing is not None else []
    return scan_value(scan.ras[look.contrast], scan.affine, look, overlays)


def _pictures(visit: Visit, result: Result | None, look: Look, mode: str, variation: str, outlined: bool) -> list[str]:
    """What `Parts.pictures` show."""
    number = int(variation) - 1 if str(variation).isdecimal() else 0
    if result is not None and result.mask.shape != visit.scan.shape:
        result = None
    after = viewer_value(result, look, mode, number, bool(outlined))
    return [_before(visit, look), after, results.strip(result, look)]


def _draw(moment: float, visit: Visit | None, result: Result | None, *held: Any) -> list[Any]:
    visit = _alive(visit)
    look = look_of(held[:11], visit.scan)
    return _newest(visit, moment, look, 3, lambda: _pictures(visit, result, look, *held[11:14]))


def _select(event: gr.EventData, moment: float, visit: Visit | None, result: Result | None, *held: Any) -> list[Any]:
    visit = _alive(visit)
    look = moved(event._data or {}, look_of(held[:11], visit.scan), visit.scan.shape, visit.scan.spacing)
    return _newest(visit, moment, look, 6, lambda: _moved_to(visit, result, look, held))


def _moved_to(visit: Visit, result: Result | None, look: Look, held: Sequence[Any]) -> list[Any]:
    return [*(v + 1 for v in look.voxel), *_pictures(visit, result, look, *held[11:14])]


def _paint(event: gr.EventData, moment: float, visit: Visit | None, result: Result | None, *held: Any) -> list[Any]:
    visit = _alive(visit)
    look = look_of(held[:11], visit.scan)
    visit.newest(moment, look)
    points = painted(event._data or {}, look, visit.scan.shape, visit.scan.spacing)
    if len(points):
        visit.paint(points, look.brush_mm, erase=look.tool == "Erase", inside=bool(held[14]))
        look = _at(look, points[len(points) // 2])  # all three planes show what was drawn
    if visit.newest(moment, look):
        shown = _newest(visit, moment, look, 6, lambda: _moved_to(visit, result, look, held))
    else:  # the visitor has gone on to another place: the new mask is shown there
        shown = [*_nothing(3), _before(visit, visit.look or look), *_nothing(2)]
    return [visit, words.drawn(visit), *shown]


def _at(look: Look, voxel: Sequence[int]) -> Look:
    i, j, k = (int(v) for v in voxel)
    return replace(look, voxel=(i, j, k))


def _edit(what: str) -> Any:
    """The handler of a button that changes the mask."""

    def edit(moment: float, visit: Visit | None, _result: Any, *held: Any) -> list[Any]:
        visit = _alive(visit)
        look = look_of(held[:11], visit.scan)
        visit.newest(moment, look)
        if what == "ball":
            visit.paint([look.voxel], look.brush_mm, erase=False, inside=bool(held[14]))
        else:
            {"undo": visit.undo, "clear": visit.clear, "restore": visit.restore}[what]()
        return [visit, words.drawn(visit), _before(visit, visit.look or look)]

    return edit


def _contrast(moment: float, visit: Visit | None, result: Result | None, *held: Any) -> list[Any]:
    visit = _alive(visit)
    look = look_of(held[:11], visit.scan)
    preset, width, level = _windows(visit.scan, look.contrast)
    changed = replace(look, window=next(iter(visit.scan.windows[look.contrast].values())))
    drawn = _newest(visit, moment, changed, 3, lambda: _pictures(visit, result, changed, *held[11:14]))
    return [preset, width, level, *drawn]


def _preset(moment: float, visit: Visit | None, result: Result | None, *held: Any) -> list[Any]:
    visit = _alive(visit)
    look = look_of(held[:11], visit.scan)
    window = visit.scan.windows[look.contrast].get(held[14], look.window)
    changed = replace(look, window=window)
    drawn = _newest(visit, moment, changed, 3, lambda: _pictures(visit, result, changed, *held[11:14]))
    return [*(float(f"{v:.4g}") for v in window), *drawn]


def _reported(moment: float, visit: Visit, result: Result | None, held: Sequence[Any]) -> list[Any]:
    """Everything that changes when a run has ended, or a new scan has made the last one stale."""
    count = len(result.made) if result is not None else 1
    numbers = [str(k + 1) for k in range(count)]
    chosen = gr.update(choices=numbers, value="1", visible=count > 1)
    look = look_of(held[:11], visit.scan)
    if result is not None and result.mask.shape == visit.scan.shape and not result.mask[look.voxel]:
        look = _at(look, middle(result.mask))  # the new lesion is what one wants to see
    sidecar = dict(result.sidecar) if result is not None else {}
    report = [results.figures(result), results.quality(result), results.training_domain(result)]
    report += [str(sidecar.get("command", "")), json.dumps(sidecar, indent=1) if sidecar else ""]
    first = [*held[:12], "1", *held[13:]]
    if not visit.newest(moment, look):  # the visitor has moved on while the run ended: shown where he is now
        after = _pictures(visit, result, visit.look or look, held[11], "1", held[13])[1:]
        return [chosen, *report, *_nothing(4), *after]
    return [chosen, *report, *_newest(visit, moment, look, 6, lambda: _moved_to(visit, result, look, first))]
