"""Pictures of every common kind are read upright and in colour; what is no picture is one sentence."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from domains.image.data import FITS, MOST_PIXELS, fit_lines, fit_square, read_picture
from shared.errors import UserError

# Four quarters: red, green / blue, white; 12 x 8 pixels, so that a turn is seen.
RED, GREEN, BLUE, WHITE = (230, 20, 30), (20, 200, 40), (30, 40, 220), (255, 255, 255)


def quarters() -> NDArray:
    rgb = np.zeros((8, 12, 3), np.uint8)
    rgb[:4, :6], rgb[:4, 6:], rgb[4:, :6], rgb[4:, 6:] = RED, GREEN, BLUE, WHITE
    return rgb


def saved(folder: Path, name: str, image: Image.Image, **options: Any) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


def near(one: NDArray, other: NDArray, most: int) -> bool:
    return bool(np.abs(one.astype(int) - other.astype(int)).mean() <= most)


@pytest.mark.parametrize(
    ("name", "options", "most"),
    [("a.png", {}, 0), ("a.webp", {"lossless": True}, 0), ("a.jpg", {"quality": 95, "subsampling": 0}, 6)],
)
def test_the_three_formats_are_read(name: str, options: dict[str, Any], most: int, tmp_path: Path) -> None:
    picture = read_picture(saved(tmp_path, name, Image.fromarray(quarters()), **options))
    assert picture.rgb.shape == (8, 12, 3) and near(picture.rgb, quarters(), most) and picture.notes == ()


def test_the_content_counts_and_not_the_name(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.png", Image.fromarray(quarters()))
    assert (read_picture(path.rename(tmp_path / "a.jpg")).rgb == quarters()).all()


STORED = {  # EXIF orientation -> how such a file holds a picture
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    6: lambda a: np.rot90(a, 1),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_a_picture_is_turned_as_its_exif_says(orientation: int, name: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    large = quarters().repeat(16, 0).repeat(16, 1)
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](large)))
    picture = read_picture(saved(tmp_path, name, stored, exif=exif, quality=100))
    assert near(picture.rgb, large, 3) and picture.notes == ("turned upright as its EXIF says",)


def test_transparent_parts_show_the_ground(tmp_path: Path) -> None:
    rgba = np.dstack([quarters(), np.full((8, 12), 255, np.uint8)])
    rgba[:, 6:, 3] = 0
    path = saved(tmp_path, "a.png", Image.fromarray(rgba))
    white, black = read_picture(path), read_picture(path, ground=(0, 0, 0))
    assert (white.rgb[:, 6:] == 255).all() and (black.rgb[:, 6:] == 0).all()
    assert (white.rgb[:, :6] == quarters()[:, :6]).all()
    assert white.notes == ("transparent parts shown on white",)
    assert black.notes == ("transparent parts shown on black",)


def test_an_opaque_alpha_channel_is_not_worth_a_note(tmp_path: Path) -> None:
    rgba = np.dstack([quarters(), np.full((8, 12), 255, np.uint8)])
    assert read_picture(saved(tmp_path, "a.png", Image.fromarray(rgba))).notes == ()


def test_sixteen_bits_become_eight_over_their_whole_range(tmp_path: Path) -> None:
    wide = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    picture = read_picture(saved(tmp_path, "a.png", Image.fromarray(wide)))
    assert (picture.rgb[..., 0] == np.rint(wide / 257).astype(int)).all()
    assert picture.notes == ("16 bits a pixel reduced to 8",)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_every_mode_of_a_png_becomes_rgb(mode: str, tmp_path: Path) -> None:
    grey = np.where(np.arange(96).reshape(8, 12) % 2, 255, 0).astype(np.uint8)
    stored = Image.fromarray(grey).convert(mode)
    assert (read_picture(saved(tmp_path, "a.png", stored)).rgb == grey[..., None]).all()


def test_a_palette_with_a_transparent_entry_shows_the_ground(tmp_path: Path) -> None:
    stored = Image.fromarray(quarters()).quantize(4)
    index = stored.getpixel((0, 0))
    picture = read_picture(saved(tmp_path, "a.png", stored, transparency=index), ground=(0, 0, 0))
    assert (picture.rgb[:4, :6] == 0).all() and near(picture.rgb[4:], quarters()[4:], 3)


def test_cmyk_becomes_rgb_with_a_note(tmp_path: Path) -> None:
    stored = Image.fromarray(quarters()).convert("CMYK")
    picture = read_picture(saved(tmp_path, "a.jpg", stored, quality=100))
    assert near(picture.rgb, quarters(), 12) and picture.notes == ("CMYK turned into RGB without a colour profile",)


@pytest.mark.parametrize("name", ["a.webp", "a.png"])
def test_of_an_animation_the_first_frame_is_taken(name: str, tmp_path: Path) -> None:
    first = Image.fromarray(quarters())
    later = [Image.new("RGB", first.size, (n, 90, 0)) for n in range(3)]
    path = saved(tmp_path, name, first, save_all=True, append_images=later, lossless=True, duration=40)
    picture = read_picture(path)
    assert near(picture.rgb, quarters(), 1) and picture.notes == ("first of 4 frames",)


# ------------------------------------------------------------------------------------------------- what is no picture


def refused(path: Path) -> str:
    with pytest.raises(UserError) as error:
        read_picture(path)
    assert path.name in str(error.value) and str(path.parent) not in str(error.value)
    return str(error.value)


def test_what_is_not_there_or_empty_or_a_folder_is_refused(tmp_path: Path) -> None:
    assert "there is no such file" in refused(tmp_path / "a.png")
    (tmp_path / "b.png").touch()
    assert "the file is empty" in refused(tmp_path / "b.png")
    (tmp_path / "c.png").mkdir()
    assert "a folder" in refused(tmp_path / "c.png")


@pytest.mark.parametrize("body", [b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"GIF89a" + bytes(50)])
def test_a_text_or_another_format_under_the_name_of_a_picture_is_refused(body: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(body)
    assert "is not a PNG, JPEG or WebP picture" in refused(tmp_path / "a.png")


def header(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds almost nothing."""
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", body), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks
    )


@pytest.mark.parametrize(
    "size", [(MOST_PIXELS // 100, 101), (12_000, 12_000), (40_000, 40_000), (2**31 - 1, 2**31 - 1)]
)
def test_a_file_that_unfolds_to_far_more_is_refused_before_it_does(size: tuple[int, int], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(header(*size))
    assert "million pixels" in refused(tmp_path / "a.png")


def test_a_picture_of_no_pixels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(header(0, 5))
    assert refused(tmp_path / "a.png")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.99), noise=st.binary(max_size=30), kind=st.sampled_from(["PNG", "JPEG", "WEBP"]))
def test_any_cut_of_a_file_is_refused(share: float, noise: bytes, kind: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    rgb = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(buffer, kind)
    path = tmp_path / "cut.png"
    path.write_bytes(buffer.getvalue()[: int(share * (buffer.tell() - 40))] + noise)
    refused(path)


# -------------------------------------------------------------------------------------------------------- to a square


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (32, 32), (300, 512), (3, 3000), (100_000, 1)])
def test_every_shape_becomes_the_square_that_was_asked_for(fit: str, shape: tuple[int, int]) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    assert fit_square(rgb, 32, fit).shape == (32, 32, 3)
    assert fit_lines(rgb[..., 0], 32, fit).shape == (32, 32)


def test_a_picture_of_the_wanted_size_is_left_alone() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    for fit in FITS:
        assert (fit_square(rgb, 32, fit) == rgb).all() and (fit_lines(rgb[..., 1], 32, fit) == rgb[..., 1]).all()


def test_the_three_ways_differ_as_their_names_say() -> None:
    wide = np.zeros((16, 48, 3), np.uint8)
    wide[:, :16], wide[:, 16:32], wide[:, 32:] = RED, GREEN, BLUE
    assert (fit_square(wide, 16, "crop") == GREEN).all()
    stretched = fit_square(wide, 48, "stretch")
    assert (stretched[:, 4] == RED).all() and (stretched[:, 44] == BLUE).all()
    filled = fit_square(wide, 48, "fill")
    assert (filled[:, 2] == RED).all() and (filled[2, 40] == BLUE).all()
    assert near(filled[20:28, 10], np.array(RED), 0)


def test_thin_lines_survive_when_a_drawing_is_made_small() -> None:
    lines = np.zeros((512, 512), np.uint8)
    lines[100, :], lines[:, 333] = 255, 200
    small = fit_lines(lines, 32, "stretch")
    assert (small[6] == 255).all() and (small[:5, 20] == 200).all() and (small > 0).sum() == 63


def test_a_drawing_is_filled_up_with_nothing() -> None:
    lines = np.full((10, 40), 255, np.uint8)
    filled = fit_lines(lines, 40, "fill")
    assert (filled[15:25] == 255).all() and filled.sum() == 255 * 400
