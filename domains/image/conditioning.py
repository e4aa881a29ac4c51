"""Edge maps as conditions: read from a file, detected in a picture, or drawn by the world; always 32 x 32, in 0..1.

A detector works on the picture as it will be used, made square and small first. Canny's method (Canny 1986, from
scikit-image) runs on each colour channel, for two colours may be equally bright, with the contrast stretched over the
whole range and at four times the resolution; a pixel is an edge when an edge of some channel crosses most of it.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from domains.image.data import fit_lines, fit_square, read_picture
from domains.image.shapes.annotations import edges
from domains.image.shapes.scene import Scene, stacked
from shared.errors import UserError
from shared.front.option import EXAMPLE

SIDE: Final = 32
FINE: Final = 4  # times SIDE: where Canny's method works
SIGMA, LOW, HIGH = 3.0, 0.12, 0.3  # blur in fine pixels; thresholds of the gradient, values in 0..1
CROSSED: Final = 3  # fine edge pixels, of 16, that make an edge pixel
FLAT: Final = 0.03  # least range of values in 0..1 that is called contrast
CROWDED: Final = 0.5  # share of edge pixels from which a map is taken for black lines on white


@dataclass(frozen=True, eq=False)
class EdgeMap:
    """An edge map and where it came from.

    values    (32, 32) float32 in 0..1, 1 on an edge
    source    a file name, or example:NAME;  detector  how edges were taken from it
    notes     what had to be done to the picture
    sha256    of the file, "" for an example;  under  (32, 32, 3) the picture that edges were detected in, or None
    """

    values: NDArray
    source: str
    detector: str = "none"
    notes: tuple[str, ...] = ()
    sha256: str = ""
    under: NDArray | None = None

    def to_json(self) -> dict[str, Any]:
        """Origin and size, for a sidecar."""
        found = {"source": self.source, "detector": self.detector, "notes": list(self.notes), "sha256": self.sha256}
        return {**found, "edge_pixels": int((self.values > 0.5).sum())}


def edge_map(source: str, detector: str = "none", fit: str = "crop") -> EdgeMap:
    """The edge map that the options of a run name; raises UserError for a file that gives none."""
    if source.startswith(EXAMPLE):
        return EdgeMap(example_edges(source.removeprefix(EXAMPLE)), source)
    return detected(source, fit) if detector == "canny" else drawn(source, fit)


def drawn(path: str | Path, fit: str = "crop") -> EdgeMap:
    """A drawing in white on black (or on nothing); raises UserError when it is empty or looks like black on white."""
    picture = read_picture(path, ground=(0, 0, 0))
    lines = fit_lines(picture.rgb.max(-1), SIDE, fit)
    share = float((lines > 127).mean())
    where = picture.path.name
    if lines.max() < 13:
        raise UserError("the edge map is empty", where=where, remedy="draw white lines on black, or leave it away")
    if share > CROWDED:
        raise UserError(
            f"{share:.0%} of the pixels are edges, so this is no drawing in white on black",
            where=where,
            remedy="invert it, or let edges be detected: --detector canny",
        )
    return EdgeMap(lines.astype(np.float32) / 255, where, "none", picture.notes, picture.sha256)


def detected(path: str | Path, fit: str = "crop") -> EdgeMap:
    """The edges of any picture by Canny's method; raises UserError when it finds none."""
    picture = read_picture(path)
    values = canny(fit_square(picture.rgb, SIDE * FINE, fit))
    if not values.any():
        raise UserError("no edges are found in it", where=picture.path.name, remedy="give a picture with contrast")
    under = fit_square(picture.rgb, SIDE, fit)
    return EdgeMap(values, picture.path.name, "canny", picture.notes, picture.sha256, under)


def canny(rgb: NDArray) -> NDArray:
    """(128, 128, 3) uint8 -> (32, 32) float32 of 0 and 1."""
    from skimage.feature import canny as edges_of

    values = rgb.astype(np.float64) / 255
    low, high = float(values.min()), float(values.max())
    if high - low < FLAT:
        return np.zeros((SIDE, SIDE), np.float32)
    border = 2 * FINE  # the method says nothing at a border: it is moved out of the picture
    wide = np.pad((values - low) / (high - low), ((border, border), (border, border), (0, 0)), mode="edge")
    found = [edges_of(wide[..., c], sigma=SIGMA, low_threshold=LOW, high_threshold=HIGH) for c in range(3)]
    lines = np.any(found, axis=0)[border:-border, border:-border]
    return (lines.reshape(SIDE, FINE, SIDE, FINE).sum((1, 3)) >= CROSSED).astype(np.float32)


@cache
def example_edges(name: str) -> NDArray:
    """(32, 32) exact edges of a built-in example, drawn by the world when asked for."""
    from domains.image.control.exact import scene_for
    from domains.image.control.operations import EXAMPLES

    if name not in EXAMPLES:
        raise UserError(f"no example named {name}", where="--edges", remedy=f"choose {', '.join(EXAMPLES)}")
    return exact_edges(scene_for(EXAMPLES[name], seed=0))


def exact_edges(scene: Scene) -> NDArray:
    """(32, 32) float32, 1 on the contours of a scene."""
    return edges(stacked([scene]), SIDE)[0]


# --------------------------------------------------------------------------------------------------------- maps as PNG


def map_png(values: NDArray) -> bytes:
    """An edge map as a PNG of 32 x 32 grey pixels."""
    buffer = io.BytesIO()
    Image.fromarray(np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def map_url(values: NDArray, name: str) -> str:
    """The same as a data: URL with a file name, as an upload of a page."""
    return f"data:image/png;name={name};base64,{base64.b64encode(map_png(values)).decode()}"
