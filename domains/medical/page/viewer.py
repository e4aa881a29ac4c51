"""The three-plane viewer of the page: pictures drawn by the server, events of mouse, touch and keys from the browser.

Pictures travel as data URLs inside the component's value, so that no picture of a visitor is ever a file of the server.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from domains.medical.planes import (
    ORANGE,
    PLANES,
    SKY,
    Overlay,
    View,
    fitting_zoom,
    position_in_words,
    render,
    render_change,
)
from domains.medical.windows import Window

HERE: Final = Path(__file__).parent
TOOLS: Final = ("Cross-hair", "Paint", "Erase")
LARGE_BOX, SMALL_BOX = (460, 560), (300, 300)  # pixels of the main plane and of the two others
LARGE_TEXT, SMALL_TEXT = 17, 17
HELP: Final = "click or arrow keys move the cross-hair, page up and down walk through the slices"
KEYS: Final = {  # key -> (which axis of the view, which way): across and up as on the screen, through the slices
    "ArrowRight": (0, 1),
    "ArrowLeft": (0, -1),
    "ArrowUp": (1, 1),
    "ArrowDown": (1, -1),
    "PageUp": (2, 1),
    "PageDown": (2, -1),
}


@dataclass(frozen=True)
class Look:
    """How a visitor looks at a scan: the place, the grey values and the conventions."""

    voxel: tuple[int, int, int]
    contrast: str
    window: Window
    opacity: float = 0.35
    convention: str = "radiological"
    main: str = "axial"
    tool: str = "Cross-hair"
    brush_mm: float = 8.0

    def inside(self, shape: Sequence[int]) -> Look:
        """The same with the voxel moved into a volume."""
        i, j, k = (int(np.clip(v, 0, n - 1)) for v, n in zip(self.voxel, shape, strict=True))
        return replace(self, voxel=(i, j, k))

    def planes(self) -> tuple[str, ...]:
        """The planes, the large one first."""
        return (self.main, *(plane for plane in PLANES if plane != self.main))

    def view(self, plane: str, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> View:
        """The geometry of the picture of a plane."""
        box = LARGE_BOX if plane == self.main else SMALL_BOX
        return View(plane, shape, spacing, self.convention, fitting_zoom(plane, shape, spacing, box))


def component(elem_id: str) -> Any:
    """The viewer as a component of the current Gradio Blocks; it has the events `select` and `input`."""
    import gradio as gr

    return gr.HTML(
        value="",
        html_template=(HERE / "viewer.html").read_text("utf-8"),
        js_on_load=(HERE / "viewer.js").read_text("utf-8"),
        elem_id=elem_id,
        elem_classes="viewer",
    )


def moved(event: Mapping[str, Any], look: Look, shape: tuple[int, int, int], spacing: Sequence[float]) -> Look:
    """Where the cross-hair goes after a click or a key; events come from a browser, so nothing in them is trusted."""
    plane = event.get("plane")
    if plane not in PLANES:
        return look
    a, b, c = (float(v) for v in spacing)
    view = look.view(plane, shape, (a, b, c))
    if event.get("key") in KEYS:
        which, step = KEYS[event["key"]]
        voxel = list(look.voxel)
        voxel[view.axes[which]] += -step if which == 0 and view.mirrored else step
        i, j, k = voxel
        return replace(look, voxel=(i, j, k)).inside(shape)
    points = voxels_under(event, [event.get("at")], view)
    if not len(points):
        return look
    i, j, k = (int(v) for v in points[0])
    return replace(look, voxel=(i, j, k)).inside(shape)


def painted(event: Mapping[str, Any], look: Look, shape: tuple[int, int, int], spacing: Sequence[float]) -> NDArray:
    """The voxels (n, 3) under the points of a drawn line; empty when the event makes no sense."""
    plane, points = event.get("plane"), event.get("points")
    if plane not in PLANES or not isinstance(points, list):
        return np.empty((0, 3), np.intp)
    a, b, c = (float(v) for v in spacing)
    return voxels_under(event, points[:3000], look.view(plane, shape, (a, b, c)))


def voxels_under(event: Mapping[str, Any], points: Sequence[Any], view: View) -> NDArray:
    """Pixels of a browser's event to voxels (n, 3) of the slice it was showing."""
    index = event.get("index")
    through = view.shape[view.axes[2]]
    good = [p for p in points if isinstance(p, list) and len(p) == 2 and all(isinstance(v, int | float) for v in p)]
    if not isinstance(index, int) or not 0 <= index < through or not good:
        return np.empty((0, 3), np.intp)
    pixels = np.asarray(good, float)
    return view.pixel_to_voxel(pixels[np.isfinite(pixels).all(1)], index)


def scan_value(
    values: NDArray, affine: NDArray, look: Look, overlays: Sequence[Overlay], *, mark: str = "", after: Any = None
) -> str:
    """The viewer's value for grey pictures; with `after` (the same shape) it blinks between the two."""
    pictures = []
    for plane in look.planes():
        one = _plane(values, affine, look, plane, overlays, mark if after is None else "")
        if after is not None:
            one["second"] = _plane(after, affine, look, plane, overlays, mark)["src"]
        pictures.append(one)
    return _value(pictures, affine, look, [(o.label, o.colour, o.dashed) for o in overlays])


def change_value(change: NDArray, affine: NDArray, look: Look, limit: float, *, mark: str) -> str:
    """The viewer's value for a difference."""
    pictures = []
    for plane in look.planes():
        view, text = _geometry(change, affine, look, plane)
        rgb = render_change(
            change,
            affine,
            look.voxel,
            plane=plane,
            limit=limit,
            convention=look.convention,
            zoom=view.zoom,
            mark=mark,
            text=text,
        )
        pictures.append(_described(rgb, view, affine, look, "difference"))
    return _value(pictures, affine, look, [])


def nothing(words: str) -> str:
    """The viewer's value while there is nothing to show."""
    return json.dumps({"planes": [], "empty": words, "position": "", "legend": [], "tool": TOOLS[0]})


def new_lesion(mask: NDArray) -> Overlay:
    return Overlay(mask, ORANGE, "new lesion")


def old_lesion(mask: NDArray) -> Overlay:
    return Overlay(mask, SKY, "lesion that was there", dashed=True)


def data_url(rgb: NDArray) -> str:
    """A picture as a PNG data URL: lossless, quickly packed."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG", compress_level=2)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _geometry(values: NDArray, affine: NDArray, look: Look, plane: str) -> tuple[View, int]:
    i, j, k = values.shape
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    view = look.view(plane, (i, j, k), (float(spacing[0]), float(spacing[1]), float(spacing[2])))
    return view, LARGE_TEXT if plane == look.main else SMALL_TEXT


def _plane(
    values: NDArray, affine: NDArray, look: Look, plane: str, overlays: Sequence[Overlay], mark: str
) -> dict[str, Any]:
    view, text = _geometry(values, affine, look, plane)
    rgb = render(
        values,
        affine,
        look.voxel,
        plane=plane,
        window=look.window.width,
        level=look.window.level,
        overlays=overlays,
        opacity=look.opacity,
        convention=look.convention,
        zoom=view.zoom,
        mark=mark,
        text=text,
    )
    return _described(rgb, view, affine, look, look.contrast)


def _described(rgb: NDArray, view: View, affine: NDArray, look: Look, what: str) -> dict[str, Any]:
    through = view.axes[2]
    title = f"{view.plane.capitalize()} {look.voxel[through] + 1}/{view.shape[through]}"
    return {
        "plane": view.plane,
        "src": data_url(rgb),
        "alt": f"{title}, {what}, {look.convention} convention, at {position_in_words(affine, look.voxel)}",
        "help": HELP,
        "index": look.voxel[through],
        "brush": max(1.0, look.brush_mm * view.zoom),
    }


def _value(pictures: list[dict[str, Any]], affine: NDArray, look: Look, legend: Sequence[tuple]) -> str:
    side = "patient's right on the left" if look.convention == "radiological" else "patient's right on the right"
    entries = [
        {"label": label, "colour": "#{:02x}{:02x}{:02x}".format(*colour), "dashed": dashed}
        for label, colour, dashed in legend
    ]
    position = f"{position_in_words(affine, look.voxel)}. {look.convention.capitalize()}: {side}."
    return json.dumps({"planes": pictures, "empty": "", "position": position, "legend": entries, "tool": look.tool})
