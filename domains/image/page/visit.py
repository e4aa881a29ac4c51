"""What one visitor of the page has before a run: the map in the editor, and where it came from.

The editor's own value travels with every event, so a visit keeps only what the map was loaded from: a map that was not
touched since is named by its source, a drawn one is handed over as a file.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from domains.image.conditioning import SIDE, EdgeMap, edge_map, map_url
from shared.errors import UserError

DRAWN: Final = "drawn_edges.png"
FAINT: Final = 13  # of 255: below, a map counts as empty


@dataclass(eq=False)
class Visit:
    """One visitor: what the editor was filled with, by name of the option, and what is wrong with the last upload."""

    values: NDArray = field(default_factory=lambda: np.zeros((SIDE, SIDE), np.uint8))
    options: Mapping[str, str] = field(default_factory=dict)
    words: str = ""
    under: NDArray | None = None
    trouble: str = ""
    drawn: int = 0  # scenes drawn for a caption so far

    def fill(self, made: EdgeMap, options: Mapping[str, str], words: str) -> None:
        """Another map in the editor; `options` are those that name it, none when it has no name."""
        self.values, self.under = as_bytes(made.values), made.under
        self.options, self.words, self.trouble = options, words, ""

    def take(self, path: str, detector: str, fit: str) -> None:
        """A visitor's own file; what is wrong with it becomes `trouble`, without the folder it lies in."""
        options = {"edges": path, "detector": detector, "fit": fit}
        try:
            made = edge_map(path, detector, fit)
        except UserError as error:
            self.trouble = str(UserError(error.what, where=Path(error.where).name, remedy=error.remedy))
            return
        how = "edges by Canny's method" if detector == "canny" else "an edge map"
        self.fill(made, options, "; ".join([f"{made.source}: {how}", *made.notes]))

    def editor(self) -> str:
        """The value of the editor."""
        return editor_value(self.values, self.under)

    def asked(self, held: str | None) -> dict[str, object]:
        """The options of a run that the editor holds, from its value; nothing for an empty map."""
        if self.trouble:
            raise UserError(self.trouble, remedy="mend or remove that file first")
        drawn = map_of(held)
        if drawn.max(initial=0) < FAINT:
            return {}
        if self.options and (drawn == self.values).all():
            return dict(self.options)
        return {"edges": map_url(drawn.astype(np.float32) / 255, DRAWN), "detector": "none"}


def editor_value(values: NDArray, under: NDArray | None = None) -> str:
    """(32, 32) uint8, and the picture to trace beneath it, as the editor takes them."""
    beneath = data_url(under) if under is not None else ""
    return json.dumps({"map": base64.b64encode(values.tobytes()).decode(), "under": beneath})


def map_of(held: str | None) -> NDArray:
    """(32, 32) uint8 from the editor's value; it comes from a browser, so what makes no sense is an empty map."""
    try:
        body = base64.b64decode(json.loads(held or "{}").get("map", ""), validate=True)
    except (ValueError, TypeError, AttributeError, binascii.Error, RecursionError):
        body = b""
    if len(body) != SIDE * SIDE:
        return np.zeros((SIDE, SIDE), np.uint8)
    return np.frombuffer(body, np.uint8).reshape(SIDE, SIDE)


def as_bytes(values: NDArray) -> NDArray:
    """(32, 32) in 0..1 -> uint8."""
    return np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)


def data_url(values: NDArray) -> str:
    """A picture (H, W, 3 or 4) uint8 as a PNG data URL."""
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG", compress_level=2)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def lines_url(values: NDArray, colour: tuple[int, int, int]) -> str:
    """(32, 32) in 0..1 as lines of a colour on nothing."""
    rgba = np.empty((*values.shape, 4), np.uint8)
    rgba[..., :3], rgba[..., 3] = colour, as_bytes(values)
    return data_url(rgba)


def read_replay(path: str) -> tuple[dict[str, Any], NDArray | None]:
    """Settings of a run, and the edge map they name, from a dropped sidecar or result picture.

    Raises UserError for a file of another operation, or one that names an edge map it does not carry.
    """
    from domains.image.control.operations import GENERATE, GenerateShapes
    from shared.front.embedded import carried
    from shared.front.option import EXAMPLE
    from shared.front.settings import read_json

    where = Path(path).name
    try:
        sidecar = read_json(path)
    except UserError as error:
        raise UserError(error.what, where=where, remedy=error.remedy) from None
    if sidecar.get("operation", GENERATE.name) != GENERATE.name:
        raise UserError(f"belongs to {sidecar['operation']}", where=where, remedy="give a result of this page")
    settings = GenerateShapes.from_json(dict(sidecar), out="unused")
    found = settings.to_json()
    if settings.edges is None:
        return found, None
    if settings.edges.startswith(EXAMPLE):
        return found, as_bytes(edge_map(settings.edges).values)
    inside = carried(sidecar, settings.edges)
    if inside is None:
        raise UserError(
            f"names the edge map {settings.edges} and does not carry it",
            where=where,
            remedy="give a result picture, or report.json, which do",
        )
    return found, as_bytes(edge_map(str(inside), settings.detector, settings.fit).values)
