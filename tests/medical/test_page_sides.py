"""Left stays left on the whole way of the page: upload, screen, stroke, run, saved files, in eight orientations."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import gradio as gr
import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from domains.medical.data import make_volume
from domains.medical.export import write_volume
from domains.medical.geometry import to_mm, to_voxel
from domains.medical.lesions import add as adding
from domains.medical.lesions.operations import ADD
from domains.medical.page import handlers
from domains.medical.page.visit import Visit, uploaded
from domains.medical.phantoms.asymmetric import EIGHT_ORIENTATIONS, LANDMARKS, asymmetric_phantom
from shared.front.jobs import JobRunner
from shared.front.visitor import discard, submit
from tests.medical.lesion_world import untrained

VALUE, CENTRE_MM, _ = LANDMARKS["L"]
FORWARD_MM, UP_MM = 4.0, 2.0  # from the middle of the landmark to the stroke, so that no mirror hides
STROKE_MM = (CENTRE_MM[0], CENTRE_MM[1] + FORWARD_MM, CENTRE_MM[2] + UP_MM)


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps uploads, with the weights of an untrained network."""
    return untrained(tmp_path_factory.mktemp("uploads") / "tiny.safetensors").parent


def grainy(orientation: str) -> tuple[NDArray, NDArray]:
    """The phantom as it is stored, and its affine; with grain in the head, since a scan has more than one grey."""
    phantom = asymmetric_phantom(orientation)
    ras = np.array(phantom.frame.to_ras(phantom.values))
    ras[ras == 100] += np.random.default_rng(0).integers(-9, 10, int((ras == 100).sum()))
    return np.ascontiguousarray(phantom.frame.from_ras(ras)).astype(np.int16), phantom.affine


def held(visit: Visit) -> list[object]:
    """What the components hold: the axial plane through the landmark on the left, a window that leaves it alone white,
    the brush of 6 mm."""
    i, j, k = (int(v) + 1 for v in np.rint(to_voxel(visit.scan.affine, STROKE_MM)))
    return [i, j, k, "FLAIR", 20.0, 950.0, 0.3, "radiological", "axial", "Paint", 6.0, "After", "1", False, False]


def landmark_on_screen(picture: str) -> tuple[list[float], int, int]:
    """Middle of the white block in the axial picture, in pixels; the slice; the width of the picture."""
    plane = next(one for one in json.loads(picture)["planes"] if one["plane"] == "axial")
    rgb = np.asarray(Image.open(io.BytesIO(base64.b64decode(plane["src"].partition(",")[2]))).convert("RGB"))
    places = np.argwhere((rgb == 255).all(-1))
    y, x = np.median(places, axis=0)
    return [float(x), float(y)], plane["index"], rgb.shape[1]


@pytest.mark.parametrize("orientation", EIGHT_ORIENTATIONS)
def test_a_stroke_on_the_left_landmark_is_saved_on_the_left_of_the_patient(
    orientation: str, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adding, "REDRAWS", 0)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(uploads))
    stored, affine = grainy(orientation)
    source = write_volume(
        make_volume(stored, affine), stored, uploads / orientation / "scan.nii.gz", synthetic=False
    ).path
    own = nib.load(source)
    assert "".join(nib.aff2axcodes(own.affine)) == orientation

    visit = Visit(uploaded({"FLAIR": str(source)}, None, None))
    shown = handlers._draw(1, visit, None, *held(visit))[0]
    (x, y), index, width = landmark_on_screen(shown)
    assert x > width / 2, "radiological: the patient's left is on the right of the screen"
    pixels_a_mm = width / (visit.scan.shape[0] * visit.scan.spacing[0])
    y -= FORWARD_MM * pixels_a_mm  # the front is on top
    stroke = gr.EventData(None, {"plane": "axial", "index": index, "points": [[x - 1, y], [x + 1, y]]})
    handlers._paint(stroke, 2, visit, None, *held(visit))

    quick = {"steps": 10, "jump": 1, "repeats": 1, "outside_training": True}
    asked = {**handlers.values(visit, "typical", None), **quick, "checkpoint": str(uploads / "tiny.safetensors")}
    outcome = submit(ADD, asked, JobRunner()).outcome()

    try:
        files = {path.name: nib.load(path) for path in outcome.files if path.name.endswith(".nii.gz")}
        label = np.asarray(files["syn_label.nii.gz"].dataobj) > 0
        changed = np.asarray(files["syn_FLAIR.nii.gz"].dataobj) != np.asarray(own.dataobj)
    finally:
        discard(outcome)
    mm = to_mm(files["syn_label.nii.gz"].affine, np.argwhere(label))
    assert len(mm) > 20 and (mm[:, 0] < 0).all(), "+x is the patient's right"
    assert np.abs(mm.mean(0) - STROKE_MM).max() < 1.5
    assert (np.asarray(own.dataobj)[label] == VALUE).all(), "the stroke lies within the landmark"
    assert changed.any() and not changed[~label].any()
