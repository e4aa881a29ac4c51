"""Result pictures say that they are synthetic and carry what is needed to make them again."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from domains.image.control.operations import GENERATE, GenerateShapes
from domains.image.export import ENLARGED, SHEET, contact_sheet, enlarged, infotext, packed, png
from shared.front.embedded import SIDECAR, sidecar_text
from shared.front.provenance import provenance


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8)


def record(**given: Any) -> dict[str, Any]:
    settings = GenerateShapes(**{"caption": "a red circle", "seed": 7, "out": "x", **given})
    return {**provenance(GENERATE, settings, threads=1), "files": packed({"edges.png": b"abc"})}


def opened(body: bytes) -> PngImageFile:
    image = Image.open(io.BytesIO(body))
    image.load()
    assert isinstance(image, PngImageFile)
    return image


def test_the_pixels_come_back_and_the_metadata_say_synthetic() -> None:
    image = opened(png(picture(), record(), words="a red <circle>"))
    assert (np.asarray(image) == picture()).all()
    assert image.text["Description"] == "SYNTHETIC picture: a red <circle>"
    assert image.text["Software"].startswith("diffusion-suite")
    xmp = image.text["XML:com.adobe.xmp"]
    assert "digitalsourcetype/trainedAlgorithmicMedia" in xmp and "a red &lt;circle&gt;" in xmp
    assert json.loads(image.text[SIDECAR])["settings"]["seed"] == 7


def test_the_xmp_is_well_formed() -> None:
    from xml.etree import ElementTree

    xmp = opened(png(picture(), record(), words="a & b")).text["XML:com.adobe.xmp"]
    body = xmp[xmp.index("<x:xmpmeta") : xmp.index("<?xpacket end")]
    assert "SYNTHETIC picture: a & b" in "".join(ElementTree.fromstring(body).itertext())


def test_a_drawn_scene_is_not_said_to_come_from_a_trained_model() -> None:
    image = opened(png(picture(), record(), trained=False))
    assert "XML:com.adobe.xmp" not in image.text and image.text["Description"] == "SYNTHETIC picture"


def test_the_sidecar_inside_is_the_one_that_was_given() -> None:
    made = record(edges="example:pair")
    assert json.loads(str(sidecar_text(png(picture(), made)))) == json.loads(json.dumps(made))
    assert base64.b64decode(made["files"]["edges.png"]) == b"abc"


def test_the_line_for_other_programs_lists_what_they_look_for() -> None:
    made = record(edges="example:pair", strength=0.5, control_until=0.75, mode="control", steps=9)
    made["picture"], made["edges"] = {"seed": 11}, {"detector": "canny"}
    assert infotext(made) == (
        "a red circle\nSteps: 9, Sampler: dpmpp_2m_sde, CFG scale: 4.0, Seed: 11, Size: 32x32, "
        'ControlNet 0: "Module: canny, Weight: 0.5, Guidance Start: 0.0, Guidance End: 0.75, Control Mode: control"'
    )
    assert "ControlNet" not in infotext(record())


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_every_pixel_becomes_a_square(shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape)).reshape(shape)
    large = enlarged(values, ENLARGED)
    assert large.shape[:2] == (4 * ENLARGED, 5 * ENLARGED)
    for dy in (0, ENLARGED - 1):
        assert (large[dy::ENLARGED, dy::ENLARGED] == values).all()


def test_sixteen_bit_depth_survives() -> None:
    depth = np.linspace(0, 65535, 1024).astype(np.uint16).reshape(32, 32)
    assert (np.asarray(opened(png(depth))) == depth).all()


@pytest.mark.parametrize("count", [1, 4, 5, 16])
def test_the_contact_sheet_shows_the_map_and_every_picture(count: int) -> None:
    edges = np.zeros((32, 32), np.float32)
    edges[4, :] = 1
    pictures = np.stack([np.full((32, 32, 3), 10 * k + 5, np.uint8) for k in range(count)])
    sheet = contact_sheet(pictures, [f"seed {k}" for k in range(count)], "a word " * 60, edges)
    for k in range(count):
        assert (sheet == 10 * k + 5).all(-1).sum() >= (32 * SHEET) ** 2, "each picture is there, whole"
    assert (sheet == 0).all(-1).sum() >= 31 * 32 * SHEET**2
    left = [np.argwhere((sheet == value).all(-1))[0][1] for value in (0, 5)]
    assert left[0] < left[1], "the map comes first"
    assert (sheet[:, [0, -1]] == 255).all() and (sheet[[0, -1]] == 255).all(), "nothing touches the border"
