"""Pictures in: PNG, JPEG and WebP of any size, colour mode and orientation become upright 8-bit RGB, with notes.

What counts is the content of a file, not its name. The rules, each said in a note when it was needed: the turn that
EXIF asks for is made; 16-bit values are divided by 257; a palette, CMYK or YCbCr becomes RGB by Pillow's formulas,
without colour profiles; what is transparent shows the ground; of an animation the first frame is taken.
Size and frame are checked before anything is unpacked, so a file that unfolds to gigabytes is refused at once.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from shared.errors import UserError

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp")
FORMATS: Final = ("PNG", "JPEG", "WEBP")
MOST_BYTES: Final = 64 * 2**20
MOST_PIXELS: Final = 50_000_000  # the largest camera pictures; 150 MB unpacked
FITS: Final = ("crop", "fill", "stretch")
_REMEDY: Final = "give a PNG, JPEG or WebP picture"
_SAVE_AGAIN: Final = "save or download the picture again"


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture that was read.

    rgb     (H, W, 3) uint8, upright
    notes   what had to be done to it, a few words each
    path, sha256   the file it came from, and the hash of its bytes
    """

    rgb: NDArray
    notes: tuple[str, ...]
    path: Path
    sha256: str


def read_picture(path: str | Path, *, ground: tuple[int, int, int] = (255, 255, 255)) -> Picture:
    """The picture in a file.

    ground   colour that transparent parts show
    Raises UserError for a file that is absent, empty, no picture, cut short, damaged or too large.
    """
    path = Path(path)
    body = _bytes_of(path)
    where = path.name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning)  # broken EXIF tags: what they say is not needed
            with Image.open(io.BytesIO(body), formats=FORMATS) as image:
                _refuse_size(image.width, image.height, where)
                rgb, notes = _upright_rgb(image, ground)
    except UserError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UserError("unfolds to far more pixels than a picture has", where=where, remedy=_smaller()) from None
    except Image.UnidentifiedImageError:
        raise UserError("is not a PNG, JPEG or WebP picture", where=where, remedy=_REMEDY) from None
    except MemoryError:
        raise UserError("does not fit into the memory", where=where, remedy=_smaller()) from None
    except Exception as error:  # a decoder that meets damaged bytes may raise anything
        said = f" ({error})" if isinstance(error, OSError) and str(error).isascii() and len(str(error)) < 60 else ""
        raise UserError(f"the picture is cut short or damaged{said}", where=where, remedy=_SAVE_AGAIN) from None
    return Picture(rgb, notes, path, hashlib.sha256(body).hexdigest())


def fit_square(rgb: NDArray, side: int, fit: str) -> NDArray:
    """(H, W, 3) uint8 -> (side, side, 3) uint8, averaged over the area of a pixel.

    fit   crop: the middle square; fill: all of it, the rest in the colours of its border; stretch: all of it, distorted
    """
    image = Image.fromarray(rgb)
    if fit == "crop":
        image = image.crop(_middle_square(image.width, image.height))
    width, height = _inside(image.width, image.height, side) if fit == "fill" else (side, side)
    method = Image.Resampling.BOX if min(image.size) >= side else Image.Resampling.BICUBIC
    small = np.asarray(image.resize((width, height), method))
    return np.pad(small, (*_margins(height, width, side), (0, 0)), mode="edge")


def fit_lines(lines: NDArray, side: int, fit: str) -> NDArray:
    """(H, W) a drawing in lines -> (side, side): a pixel is the strongest value in its area, so thin lines stay.

    An average would thin a line of one pixel in a picture of 512 out to a sixteenth. `fit` as in `fit_square`, with
    nothing (0) around a drawing that is filled up to a square.
    """
    height, width = lines.shape
    if fit == "crop":
        left, top, right, bottom = _middle_square(width, height)
        lines = lines[top:bottom, left:right]
    columns, rows = _inside(width, height, side) if fit == "fill" else (side, side)
    for axis, wanted in ((0, rows), (1, columns)):
        starts = np.arange(wanted) * lines.shape[axis] // wanted
        lines = np.maximum.reduceat(lines, starts, axis=axis)
    return np.pad(lines, _margins(rows, columns, side))


# ------------------------------------------------------------------------------------------------------------ one file


def _bytes_of(path: Path) -> bytes:
    if not path.is_file():
        what = "this is a folder, not a file" if path.is_dir() else "there is no such file"
        raise UserError(what, where=path.name, remedy="give the path of a PNG, JPEG or WebP picture")
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise UserError(f"the file has {size / 2**20:.0f} MiB", where=path.name, remedy=_smaller())
    try:
        body = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"the file cannot be read ({error.strerror or error})", where=path.name, remedy=_SAVE_AGAIN
        ) from None
    if not body:
        raise UserError("the file is empty", where=path.name, remedy=_REMEDY)
    return body


def _refuse_size(width: int, height: int, where: str) -> None:
    if width < 1 or height < 1:
        raise UserError(f"the picture has {width} x {height} pixels", where=where, remedy=_REMEDY)
    if width * height > MOST_PIXELS:
        raise UserError(f"the picture has {width} x {height} pixels", where=where, remedy=_smaller())


def _smaller() -> str:
    return f"give a picture of at most {MOST_PIXELS // 10**6} million pixels and {MOST_BYTES // 2**20} MiB"


def _upright_rgb(image: Image.Image, ground: tuple[int, int, int]) -> tuple[NDArray, tuple[str, ...]]:
    """(H, W, 3) uint8 and what was done."""
    notes = []
    frames = int(getattr(image, "n_frames", 1))
    if frames > 1:
        image.seek(0)
        notes.append(f"first of {frames} frames")
    image.load()
    frame: Image.Image = image
    upright = ImageOps.exif_transpose(frame)
    if frame.getexif().get(0x0112, 1) != 1:
        notes.append("turned upright as its EXIF says")
    mode = upright.mode
    if mode.startswith("I"):  # 16 bits a pixel, whatever the order of bytes
        wide = np.clip(np.asarray(upright).astype(np.int64), 0, 65535)
        upright = Image.fromarray(((wide + 128) // 257).astype(np.uint8))
        notes.append("16 bits a pixel reduced to 8")
    elif mode not in _PLAIN:
        notes.append(f"{mode} turned into RGB without a colour profile")
    if upright.has_transparency_data:
        whole = upright.convert("RGBA")
        if whole.getchannel("A").getextrema() != (255, 255):
            notes.append(f"transparent parts shown on {_named(ground)}")
        below = Image.new("RGBA", whole.size, (*ground, 255))
        upright = Image.alpha_composite(below, whole)
    return np.asarray(upright.convert("RGB")), tuple(notes)


_PLAIN: Final = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX")


def _named(ground: tuple[int, int, int]) -> str:
    return {(0, 0, 0): "black", (255, 255, 255): "white"}.get(ground, f"rgb{ground}")


def _middle_square(width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the largest square in the middle."""
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def _inside(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height of a picture made to fit into a square, at least one pixel each."""
    longest = max(width, height)
    return max(1, round(width * side / longest)), max(1, round(height * side / longest))


def _margins(height: int, width: int, side: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows before and after, columns before and after, that make a square."""
    rows, columns = side - height, side - width
    return (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)
