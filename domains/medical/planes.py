"""Axial, coronal and sagittal pictures of a scan, and the exact way from a pixel back to its voxel.

Arrays are in the RAS voxel frame (`geometry.ras_frame`): index 0 grows to the patient's right, 1 to the front, 2 to
the top. Pixels are continuous: pixel p covers [p, p + 1), x to the right, y down; the centre of a pixel is p + 0.5.

Radiological convention: the patient's right is on the left of axial and coronal pictures, as if looking from the feet
or at the patient's face; neurological: right is right. Sagittal pictures show the front on the left in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from domains.medical.geometry import spacing_of, to_mm

PLANES: Final = ("axial", "coronal", "sagittal")
CONVENTIONS: Final = ("radiological", "neurological")
AXES: Final = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}  # across, up, through the slices
ENDS: Final = ("LR", "PA", "IS")  # where a RAS axis comes from and runs to
# Colours that people with any of the common colour blindnesses tell apart (Okabe and Ito 2008).
ORANGE, SKY, GREEN = (230, 159, 0), (86, 180, 233), (140, 230, 170)
# The ends of the difference map: blue for less, orange for more, grey for no change.
LESS, NONE, MORE = (20, 90, 200), (128, 128, 128), (255, 150, 20)
LARGEST_EDGE: Final = 4096  # pixels; a picture, not a poster


class Overlay(NamedTuple):
    """A mask over a picture: fill and outline, so that nothing is told by colour alone.

    mask    (RAS shape) bool;  dashed  a broken outline, for what was there before
    """

    mask: NDArray
    colour: tuple[int, int, int]
    label: str
    dashed: bool = False


@dataclass(frozen=True)
class View:
    """The geometry of one picture: which voxel lies under which pixel.

    shape, spacing   of the RAS array, spacing in mm;  zoom  pixels a millimetre
    """

    plane: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    convention: str = "radiological"
    zoom: float = 2.0

    def __post_init__(self) -> None:
        if self.plane not in PLANES or self.convention not in CONVENTIONS:
            raise ValueError(f"no view {self.plane!r} in the convention {self.convention!r}")

    @property
    def axes(self) -> tuple[int, int, int]:
        """RAS axes that run across the picture, up it and through it."""
        return AXES[self.plane]

    @property
    def mirrored(self) -> bool:
        """Whether the index across the picture grows to the left."""
        return self.plane == "sagittal" or self.convention == "radiological"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels; the voxel's aspect is kept to half a pixel of the picture."""
        across, up, _ = self.axes
        width, height = (
            min(LARGEST_EDGE, max(1, round(self.shape[axis] * self.spacing[axis] * self.zoom))) for axis in (across, up)
        )
        return width, height

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """Where the left, right, top and bottom edge of the picture lie in the patient."""
        across, up, _ = self.axes
        low, high = ENDS[across]
        left, right = (high, low) if self.mirrored else (low, high)
        return left, right, ENDS[up][1], ENDS[up][0]

    def voxel_to_pixel(self, voxel: Sequence[float] | NDArray) -> NDArray:
        """RAS voxel indices (..., 3) to pixels (..., 2): the centre of voxel v is drawn there."""
        voxel = np.asarray(voxel, float)
        across, up, _ = self.axes
        width, height = self.size
        x = (voxel[..., across] + 0.5) / self.shape[across]
        y = 1 - (voxel[..., up] + 0.5) / self.shape[up]
        return np.stack([((1 - x) if self.mirrored else x) * width, y * height], -1)

    def pixel_to_voxel(self, pixel: Sequence[float] | NDArray, index: int) -> NDArray:
        """Pixels (..., 2) of slice `index` to the RAS voxels (..., 3) under them, clipped to the volume."""
        pixel = np.asarray(pixel, float)
        across, up, through = self.axes
        width, height = self.size
        x, y = pixel[..., 0] / width, 1 - pixel[..., 1] / height
        out = np.empty((*pixel.shape[:-1], 3), np.intp)
        for axis, share in ((across, 1 - x if self.mirrored else x), (up, y)):
            # An ulp must not push the edge between two voxels to the other side of both.
            out[..., axis] = np.clip(np.floor(share * self.shape[axis] + 1e-9), 0, self.shape[axis] - 1)
        out[..., through] = index
        return out

    def slice_of(self, array: NDArray, index: int) -> NDArray:
        """Slice `index` of a RAS array as it stands on the screen: rows down, columns to the right; a view."""
        across, up, through = self.axes
        flat = np.moveaxis(array, (up, across, through), (0, 1, 2))[:, :, index]
        return flat[::-1, ::-1] if self.mirrored else flat[::-1]


def fitting_zoom(plane: str, shape: Sequence[int], spacing: Sequence[float], box: tuple[int, int]) -> float:
    """Pixels a millimetre for the largest picture of a plane inside a box of width and height."""
    across, up, _ = AXES[plane]
    return min(box[0] / (shape[across] * spacing[across]), box[1] / (shape[up] * spacing[up]))


def render(
    values: NDArray,
    affine: NDArray,
    voxel: Sequence[int],
    *,
    plane: str,
    window: float,
    level: float,
    overlays: Sequence[Overlay] = (),
    opacity: float = 0.35,
    convention: str = "radiological",
    zoom: float = 2.0,
    crosshair: bool = True,
    letters: bool = True,
    mark: str = "",
    text: int = 14,
) -> NDArray:
    """One plane through a voxel, (height, width, 3) uint8.

    values, affine   (RAS shape) numbers and their affine
    voxel            RAS index that the slice and the cross-hair go through
    window, level    width and centre of the range of values that is spread over black to white
    overlays         masks drawn with `opacity` (0 to 1) and an outline;  mark  a word burnt into a corner
    letters          draw orientation letters, the position in mm and a bar of 10 mm;  text  height of letters in pixels
    """
    view = View(plane, _three(values.shape), spacing_of(affine), convention, zoom)
    cut = view.slice_of(values, int(voxel[view.axes[2]])).astype(np.float32)
    low = level - window / 2
    grey = np.clip((cut - low) * (255 / max(window, 1e-12)), 0, 255).astype(np.uint8)
    picture = np.asarray(Image.fromarray(grey).resize(view.size, Image.Resampling.BILINEAR))
    rgb = np.repeat(picture[..., None], 3, -1)
    return _finish(rgb, view, affine, voxel, overlays, opacity, crosshair, letters, mark, text)


def render_change(
    change: NDArray,
    affine: NDArray,
    voxel: Sequence[int],
    *,
    plane: str,
    limit: float,
    convention: str = "radiological",
    zoom: float = 2.0,
    crosshair: bool = True,
    letters: bool = True,
    mark: str = "",
    text: int = 14,
) -> NDArray:
    """A difference, (height, width, 3) uint8: grey is 0, orange is `limit` and more, blue is -`limit` and less.

    The scale is drawn at the right edge. Other arguments as for `render`.
    """
    view = View(plane, _three(change.shape), spacing_of(affine), convention, zoom)
    cut = view.slice_of(change, int(voxel[view.axes[2]]))
    nearest = Image.fromarray(np.ascontiguousarray(cut, np.float32)).resize(view.size, Image.Resampling.NEAREST)
    rgb = colours_of_change(np.asarray(nearest) / max(limit, 1e-12))
    done = _finish(rgb, view, affine, voxel, (), 0, crosshair, letters, mark, text)
    return _scale(done, limit, text) if letters else done


def colours_of_change(share: NDArray) -> NDArray:
    """(...) numbers in [-1, 1] to (..., 3) uint8 of the diverging map; 0 is exactly grey."""
    share = np.clip(np.asarray(share, np.float32), -1, 1)[..., None]
    none = np.asarray(NONE, np.float32)
    ends = np.where(share < 0, np.asarray(LESS, np.float32), np.asarray(MORE, np.float32))
    return np.rint(none + np.abs(share) * (ends - none)).astype(np.uint8)


def position_in_words(affine: NDArray, voxel: Sequence[int]) -> str:
    """A voxel's place in the patient: "R 12.0  A 34.5  S 8.0 mm"."""
    mm = to_mm(affine, voxel)
    parts = (f"{ends[1] if value >= 0 else ends[0]} {abs(value):.1f}" for ends, value in zip(ENDS, mm, strict=True))
    return "  ".join(parts) + " mm"


def blended(rgb: NDArray, mask: NDArray, colour: Sequence[int], opacity: float, dashed: bool = False) -> NDArray:
    """A picture (h, w, 3) with a mask (h, w) over it: the fill blended by `opacity`, the outline opaque."""
    out = rgb.copy()
    tint = np.asarray(colour, np.float32)
    out[mask] = (out[mask] * (1 - opacity) + tint * opacity).astype(np.uint8)
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    edge = mask & ~inner
    if dashed:
        rows, columns = np.nonzero(edge)
        edge[rows, columns] = (rows + columns) // 5 % 2 == 0
    out[edge] = colour
    return out


def _finish(
    rgb: NDArray,
    view: View,
    affine: NDArray,
    voxel: Sequence[int],
    overlays: Sequence[Overlay],
    opacity: float,
    crosshair: bool,
    letters: bool,
    mark: str,
    text: int,
) -> NDArray:
    """Everything that is drawn over the grey picture."""
    index = int(voxel[view.axes[2]])
    for overlay in overlays:
        cut = view.slice_of(overlay.mask, index)
        if cut.any():
            whole = Image.fromarray(np.ascontiguousarray(cut).astype(np.uint8) * 255)
            mask = np.asarray(whole.resize(view.size, Image.Resampling.NEAREST)) > 0
            rgb = blended(rgb, mask, overlay.colour, opacity, overlay.dashed)
    if crosshair:
        rgb = _crossed(rgb, view.voxel_to_pixel(voxel))
    if not letters and not mark:
        return rgb
    image = Image.fromarray(rgb)
    draw = ImageDraw.Draw(image)
    if letters:
        _letters(draw, view, affine, voxel, text)
    if mark:
        _write(draw, (image.width - 6, 4), mark, text, "ra", (255, 214, 102))
    return np.asarray(image)


def _crossed(rgb: NDArray, pixel: NDArray) -> NDArray:
    """Thin lines through a pixel with a gap around it, so that they hide nothing of interest."""
    height, width = rgb.shape[:2]
    x, y = int(min(pixel[0], width - 1)), int(min(pixel[1], height - 1))
    out, gap = rgb.copy(), max(6, round(0.03 * max(height, width)))
    lines: list[tuple[int | slice, int | slice]] = [(y, slice(0, max(x - gap, 0))), (y, slice(x + gap, width))]
    lines += [(slice(0, max(y - gap, 0)), x), (slice(y + gap, height), x)]
    for line in lines:
        out[line] = (out[line] * 0.35 + np.asarray(GREEN) * 0.65).astype(np.uint8)
    return out


def _letters(draw: ImageDraw.ImageDraw, view: View, affine: NDArray, voxel: Sequence[int], text: int) -> None:
    width, height = view.size
    left, right, top, bottom = view.letters
    for at, letter, anchor in (
        ((5, height / 2), left, "lm"),
        ((width - 5, height / 2), right, "rm"),
        ((width / 2, 4), top, "ma"),
        ((width / 2, height - 5), bottom, "md"),
    ):
        _write(draw, at, letter, text + 2, anchor)
    across, _, through = view.axes
    title = f"{view.plane.capitalize()} {int(voxel[through]) + 1}/{view.shape[through]}"
    place, bar = position_in_words(affine, voxel), 10 * width / (view.shape[across] * view.spacing[across])
    small = max(10, text - 2)
    room = width / 2 - text
    if _font(small).getlength(title) + 6 < room:
        _write(draw, (6, 4), title, small, "la")
    if _font(small).getlength(place) + 6 < room:
        _write(draw, (6, 6 + small), place, small, "la")
    if bar + 12 < room:
        x, y = width - 8, height - 8
        draw.line([(x - bar, y), (x, y)], fill=(0, 0, 0), width=4)
        draw.line([(x - bar, y), (x, y)], fill=(255, 255, 255), width=2)
        _write(draw, (x, y - 5), "10 mm", small, "rd")


def _scale(rgb: NDArray, limit: float, text: int) -> NDArray:
    """The scale of the difference map at the right edge, with its numbers."""
    height, width = rgb.shape[:2]
    top, bottom, thick = round(height * 0.56), round(height * 0.8), max(8, text // 2)
    out = rgb.copy()
    out[top:bottom, width - thick - 6 : width - 6] = colours_of_change(np.linspace(1, -1, bottom - top))[:, None]
    image = Image.fromarray(out)
    draw = ImageDraw.Draw(image)
    for share, y in ((limit, top), (0, (top + bottom) / 2), (-limit, bottom)):
        _write(draw, (width - thick - 10, y), f"{share:+.3g}" if share else "0", max(10, text - 2), "rm")
    return np.asarray(image)


def _write(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    words: str,
    size: int,
    anchor: str,
    colour: tuple[int, int, int] = (255, 255, 255),
) -> None:
    draw.text(at, words, fill=colour, font=_font(size), anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """The font that Pillow carries: the same letters on every machine."""
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("this Pillow was built without FreeType, so letters cannot be drawn")
    return font


def _three(shape: Sequence[int]) -> tuple[int, int, int]:
    i, j, k = shape
    return int(i), int(j), int(k)
