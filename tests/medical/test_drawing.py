"""A mask drawn by hand: its shape in mm, in every direction, and what can be undone."""

from __future__ import annotations

import base64
import gzip

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domains.medical.data import make_volume
from domains.medical.drawing import stroke, volume_ml
from domains.medical.page.visit import Visit, _scan
from shared.errors import UserError
from tests.medical.nifti_files import affine_for


@settings(deadline=None, max_examples=25)
@given(
    st.tuples(*[st.floats(0.4, 3)] * 3),
    st.lists(st.tuples(*[st.floats(-2, 18)] * 3), min_size=1, max_size=5),
    st.floats(0.2, 14),
)
def test_a_stroke_is_every_voxel_within_half_the_diameter_of_the_line(
    spacing: tuple[float, float, float], points: list[tuple[float, float, float]], diameter: float
) -> None:
    shape = (16, 14, 12)
    drawn = stroke(shape, spacing, points, diameter)
    line = np.clip(np.asarray(points), 0, np.asarray(shape) - 1)
    dense = np.concatenate(
        [np.linspace(a, b, 200) for a, b in zip(line, np.vstack([line[1:], line[-1:]]), strict=True)]
    ) * np.asarray(spacing)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) * np.asarray(spacing)
    off = np.sqrt(((grid[..., None, :] - dense) ** 2).sum(-1).min(-1)) - diameter / 2
    slack = diameter / 16 + 0.1  # points nearer than that to one another are one point
    assert drawn[off < -slack].all()
    under = np.rint(line).astype(int)
    own = np.zeros(shape, bool)
    own[tuple(under.T)] = True
    assert not (drawn & ~own)[off > slack].any() and drawn[own].all()


def test_a_single_point_is_a_ball_of_its_diameter_whatever_the_voxels() -> None:
    for spacing in ((1, 1, 1), (0.5, 0.5, 2), (1, 2, 0.7)):
        shape = tuple(int(40 / edge) for edge in spacing)
        ball = stroke(shape, spacing, [[(n - 1) / 2 for n in shape]], 20)
        assert volume_ml(ball, np.diag([*spacing, 1])) == pytest.approx(np.pi * 20**3 / 6 / 1000, rel=0.03)


def test_a_thin_line_still_marks_the_voxels_under_it() -> None:
    assert stroke((5, 5, 5), (1, 1, 1), [(1, 1, 1), (3, 3, 3)], 0.01)[1, 1, 1]


def visit() -> Visit:
    affine = affine_for("LPS", (1.0, 1.0, 2.0))
    values = np.zeros((30, 28, 20), np.float32)
    values[4:26, 4:24, 3:17] = np.random.default_rng(0).normal(100, 10, (22, 20, 14))
    volume = make_volume(values, affine)
    return Visit(_scan({"FLAIR": volume}, np.zeros(values.shape, bool), None, {"FLAIR": "a.nii.gz"}, ""))


def test_painting_stays_inside_the_brain_unless_told_otherwise() -> None:
    one = visit()
    one.paint([(3, 14, 10)], 6, erase=False, inside=True)
    assert one.mask.any() and not (one.mask & ~one.scan.brain).any()
    one.paint([(3, 14, 10)], 6, erase=False, inside=False)
    assert (one.mask & ~one.scan.brain).any()


def test_every_change_of_the_mask_can_be_undone_to_the_voxel() -> None:
    one = visit()
    seen = [one.mask.copy()]
    one.paint([(12, 14, 10)], 8, erase=False, inside=True)
    seen.append(one.mask.copy())
    one.paint([(14, 14, 10)], 4, erase=True, inside=True)
    seen.append(one.mask.copy())
    one.clear()
    assert not one.mask.any()
    while seen:
        one.undo()
        assert (one.mask == seen.pop()).all()
    one.undo()
    assert not one.edited and not one.mask.any()


def test_the_drawn_mask_is_handed_over_on_the_grid_of_the_scan_file() -> None:
    one = visit()
    one.paint([(12, 9, 10)], 7, erase=False, inside=True)
    url = str(one.values()["mask"])
    head, body = url.split(",")
    assert head == "data:application/gzip;name=drawn_mask.nii.gz;base64"
    image = nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(body)))
    assert np.allclose(image.affine, one.scan.lead.affine)
    assert (one.scan.lead.frame.to_ras(np.asarray(image.dataobj)) == one.mask).all()


def test_an_empty_mask_and_a_bad_upload_are_sentences_not_runs() -> None:
    one = visit()
    with pytest.raises(UserError, match=r"the mask is empty.*paint"):
        one.values()
    one.paint([(12, 9, 10)], 7, erase=False, inside=True)
    one.trouble = "x.nii.gz: this is not a NIfTI file; export it again"
    with pytest.raises(UserError, match="not a NIfTI file"):
        one.values()
