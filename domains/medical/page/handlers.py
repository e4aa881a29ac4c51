"""What the page does when something is pressed, moved, painted or uploaded. Every handler is private to the page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
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


@dataclass(eq=False)
class Parts:
    """The components of the page, filled while it is laid out."""

    visit: Any
    result: Any
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

    def show_result(request: gr.Request, visit: Visit | None, result: Result | None, *held: Any) -> list[Any]:
        if result is not None:
            given[str(request.session_hash)] = result
        return _reported(_alive(visit), result, held)

    opened = [*parts.look, parts.preset, parts.loaded, parts.drawn, parts.before, parts.after]
    result_view = [parts.mode, parts.variation, parts.outlined]
    blocks.load(start, None, [parts.visit, *opened], **PRIVATE)
    blocks.unload(leave)
    for file in parts.files:
        file.change(_load, [parts.visit, *parts.files], [parts.visit, parts.result, *opened], **PRIVATE)

    everything = [parts.visit, parts.result, *parts.look, *result_view]
    steering = [*parts.slices, parts.width, parts.level, parts.opacity, parts.convention, parts.main]
    for part in (*steering, parts.tool, parts.brush):
        part.input(_draw, everything, parts.pictures, **LATEST)
    painted_on = [parts.visit, parts.drawn, *parts.slices, *parts.pictures]
    for viewer in (parts.before, parts.after):
        viewer.select(_select, everything, [parts.visit, *parts.slices, *parts.pictures], **LATEST)
    parts.before.input(_paint, [*everything, parts.inside], painted_on, **LATEST)
    window = [parts.preset, parts.width, parts.level]
    parts.contrast.input(_contrast, everything, [*window, *parts.pictures], **LATEST)
    parts.preset.input(_preset, [parts.preset, *everything], [parts.width, parts.level, *parts.pictures], **LATEST)
    for part in result_view:
        part.input(_draw, everything, parts.pictures, **LATEST)
    edits = {parts.ball: "ball", parts.undo: "undo", parts.clear: "clear", parts.restore: "restore"}
    for button, what in edits.items():
        edit = _edit(what)
        button.click(edit, [*everything, parts.inside], [parts.visit, parts.drawn, parts.before], **PRIVATE)
    report = [parts.variation, *parts.slices, *parts.pictures, parts.figures, parts.quality, parts.domain]
    parts.result.change(
        show_result,
        [parts.visit, parts.result, *parts.look, *result_view],
        [*report, parts.command, parts.sidecar],
        **PRIVATE,
    )


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


def _load(visit: Visit | None, *files: Any) -> list[Any]:
    visit = _alive(visit)
    flair, t1, t2, mask, label = files
    try:
        visit.load(example() if not any(files) else uploaded({"FLAIR": flair, "T1": t1, "T2": t2}, mask, label))
    except UserError as error:
        visit.trouble = str(error)
        silent = [gr.skip() for _ in range(12)]
        return [visit, gr.skip(), *silent, words.loaded(visit), gr.skip(), gr.skip(), gr.skip()]
    return [visit, None, *_opened(visit)]


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


def _draw(visit: Visit | None, result: Result | None, *held: Any) -> list[str]:
    visit = _alive(visit)
    return _pictures(visit, result, look_of(held[:11], visit.scan), *held[11:14])


def _select(event: gr.EventData, visit: Visit | None, result: Result | None, *held: Any) -> list[Any]:
    visit = _alive(visit)
    look = moved(event._data or {}, look_of(held[:11], visit.scan), visit.scan.shape, visit.scan.spacing)
    return [visit, *(v + 1 for v in look.voxel), *_pictures(visit, result, look, *held[11:14])]


def _paint(event: gr.EventData, visit: Visit | None, result: Result | None, *held: Any) -> list[Any]:
    visit = _alive(visit)
    look = look_of(held[:11], visit.scan)
    points = painted(event._data or {}, look, visit.scan.shape, visit.scan.spacing)
    if len(points):
        visit.paint(points, look.brush_mm, erase=look.tool == "Erase", inside=bool(held[-1]))
        look = _at(look, points[len(points) // 2])  # all three planes show what was drawn
    return [visit, words.drawn(visit), *(v + 1 for v in look.voxel), *_pictures(visit, result, look, *held[11:14])]


def _at(look: Look, voxel: Sequence[int]) -> Look:
    i, j, k = (int(v) for v in voxel)
    return replace(look, voxel=(i, j, k))


def _edit(what: str) -> Any:
    """The handler of a button that changes the mask."""

    def edit(visit: Visit | None, _result: Any, *held: Any) -> list[Any]:
        visit = _alive(visit)
        look = look_of(held[:11], visit.scan)
        if what == "ball":
            visit.paint([look.voxel], look.brush_mm, erase=False, inside=bool(held[-1]))
        else:
            {"undo": visit.undo, "clear": visit.clear, "restore": visit.restore}[what]()
        return [visit, words.drawn(visit), _before(visit, look)]

    return edit


def _contrast(visit: Visit | None, result: Result | None, *held: Any) -> list[Any]:
    visit = _alive(visit)
    look = look_of(held[:11], visit.scan)
    preset, width, level = _windows(visit.scan, look.contrast)
    window = next(iter(visit.scan.windows[look.contrast].values()))
    changed = replace(look, window=window)
    return [preset, width, level, *_pictures(visit, result, changed, *held[11:14])]


def _preset(name: str, visit: Visit | None, result: Result | None, *held: Any) -> list[Any]:
    visit = _alive(visit)
    look = look_of(held[:11], visit.scan)
    window = visit.scan.windows[look.contrast].get(name, look.window)
    changed = replace(look, window=window)
    return [float(f"{v:.4g}") for v in window] + _pictures(visit, result, changed, *held[11:14])


def _reported(visit: Visit, result: Result | None, held: Sequence[Any]) -> list[Any]:
    """Everything that changes when a run has ended, or a new scan has made the last one stale."""
    count = len(result.made) if result is not None else 1
    numbers = [str(k + 1) for k in range(count)]
    chosen = gr.update(choices=numbers, value="1", visible=count > 1)
    look = look_of(held[:11], visit.scan)
    if result is not None and result.mask.shape == visit.scan.shape and not result.mask[look.voxel]:
        look = _at(look, middle(result.mask))  # the new lesion is what one wants to see
    pictures = [*(v + 1 for v in look.voxel), *_pictures(visit, result, look, held[11], "1", held[13])]
    report = [results.figures(result), results.quality(result), results.training_domain(result)]
    sidecar = dict(result.sidecar) if result is not None else {}
    command = str(sidecar.get("command", ""))
    return [chosen, *pictures, *report, command, json.dumps(sidecar, indent=1) if sidecar else ""]
