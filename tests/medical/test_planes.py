"""The pictures of a scan: what lies under a pixel, which letter stands where, and what is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from domains.medical.data import Volume, make_volume, read_volume
from domains.medical.export import write_volume
from domains.medical.planes import (
    CONVENTIONS,
    LESS,
    MORE,
    NONE,
    ORANGE,
    PLANES,
    SKY,
    Overlay,
    View,
    blended,
    colours_of_change,
    position_in_words,
    render,
    render_change,
)
from domains.medical.windows import CT, presets
from tests.medical.nifti_files import affine_for

EIGHT = ("RAS", "LAS", "RPS", "LPI", "SAR", "PIR", "ILA", "ASL")
SHAPE, SPACING = (20, 24, 16), (2.0, 1.5, 3.0)
# A place in the patient for each end of each axis, mm; they lie at different distances, so that no flip goes unseen.
BEACONS = {"R": (14, 0, 0), "L": (-10, 0, 0), "A": (0, 12, 0), "P": (0, -9, 0), "S": (0, 0, 15), "I": (0, 0, -12)}

sizes = st.tuples(*[st.integers(1, 90)] * 3)
spacings = st.tuples(*[st.floats(0.3, 6)] * 3)
views = st.builds(
    View, st.sampled_from(PLANES), sizes, spacings, st.sampled_from(CONVENTIONS), st.floats(0.2, 5, exclude_min=True)
)


@settings(deadline=None)
@given(views, st.data())
def test_pixel_and_voxel_are_exact_inverses_on_voxel_centres(view: View, data: st.DataObject) -> None:
    voxel = [data.draw(st.integers(0, n - 1)) for n in view.shape]
    pixel = view.voxel_to_pixel(voxel)
    assert (0 <= pixel).all() and (pixel <= view.size).all()
    assert view.pixel_to_voxel(pixel, voxel[view.axes[2]]).tolist() == voxel


@settings(deadline=None)
@given(views, st.data())
def test_the_screen_shows_each_voxel_where_the_map_says(view: View, data: st.DataObject) -> None:
    voxel = tuple(data.draw(st.integers(0, n - 1)) for n in view.shape)
    array = np.zeros(view.shape)
    array[voxel] = 1
    cut = view.slice_of(array, voxel[view.axes[2]])
    (row,), (column,) = np.nonzero(cut)
    width, height = view.size
    x, y = (column + 0.5) * width / cut.shape[1], (row + 0.5) * height / cut.shape[0]
    assert np.allclose(view.voxel_to_pixel(voxel), (x, y), atol=1e-6)


def test_a_click_on_an_integer_pixel_meets_the_voxel_that_is_drawn_there() -> None:
    view = View("axial", (3, 2, 1), (1, 1, 1), "neurological", 10)
    assert view.size == (30, 20)
    pixels = np.array([[0.5, 0.5], [9.5, 9.5], [10.5, 10.5], [29.5, 19.5]])
    assert view.pixel_to_voxel(pixels, 0).tolist() == [
        [0, 1, 0],
        [0, 1, 0],
        [1, 0, 0],
        [2, 0, 0],
    ]


def test_voxels_that_are_not_cubes_keep_their_shape_on_the_screen() -> None:
    assert View("coronal", (10, 7, 20), (1.0, 1.0, 3.0), zoom=2).size == (20, 120)
    assert View("sagittal", (10, 8, 20), (1.0, 2.5, 0.5), zoom=4).size == (80, 40)


# -- left and right, from the file to the screen and back to a file ----------------------------------------------------


def beacon(letter: str, orientation: str) -> Volume:
    """A scan in some orientation whose one bright voxel lies towards one letter of the patient."""
    frame_of = make_volume(np.zeros(_file_shape(orientation), np.int16), _centred(orientation))
    place = np.linalg.solve(frame_of.affine, [*BEACONS[letter], 1])[:3]
    raw = np.zeros(frame_of.shape, np.int16)
    raw[tuple(np.rint(place).astype(int))] = 1000
    return make_volume(raw, frame_of.affine)


def _file_shape(orientation: str) -> tuple[int, ...]:
    return tuple(SHAPE["RLAPSI".index(letter) // 2] for letter in orientation)


def _centred(orientation: str) -> NDArray:
    spacing = tuple(SPACING["RLAPSI".index(letter) // 2] for letter in orientation)
    affine = affine_for(orientation, spacing)
    middle = (np.asarray(_file_shape(orientation)) - 1) / 2
    affine[:3, 3] = -affine[:3, :3] @ middle
    return affine


def side_of(picture: NDArray) -> tuple[float, float]:
    """Where the bright spot is, from -1 (left, top) to 1 (right, bottom)."""
    rows, columns = np.nonzero(picture[..., 0] > 200)
    height, width = picture.shape[:2]
    return 2 * (columns.mean() + 0.5) / width - 1, 2 * (rows.mean() + 0.5) / height - 1


@pytest.mark.parametrize("orientation", EIGHT)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_letter_and_voxel_agree_from_file_to_screen_to_saved_file(
    orientation: str, convention: str, tmp_path: Path
) -> None:
    for letter in "RLAPSI":
        volume = beacon(letter, orientation)
        stored = write_volume(volume, volume.values, tmp_path / f"{letter}.nii.gz", synthetic=False).path
        volume = read_volume(stored)  # what the screen shows is what the file holds
        values, affine = volume.frame.to_ras(volume.values), volume.frame.affine
        voxel = tuple(int(v) for v in np.argwhere(values == 1000)[0])
        for plane in PLANES:
            view = View(plane, values.shape, SPACING, convention, 4.0)
            if letter not in view.letters:
                continue
            picture = render(
                values, affine, voxel, plane=plane, window=1000, level=500, convention=convention, zoom=4,
                crosshair=False, letters=False,
            )  # fmt: skip
            x, y = side_of(picture)
            left, right, top, bottom = view.letters
            assert {left: x < -0.1, right: x > 0.1, top: y < -0.1, bottom: y > 0.1}[letter], (letter, plane, x, y)
            # and a mask drawn under that pixel is saved at the beacon's own voxel of the file
            at = view.pixel_to_voxel(view.voxel_to_pixel(voxel), voxel[view.axes[2]])
            drawn = np.zeros(values.shape, bool)
            drawn[tuple(at)] = True
            assert volume.values[volume.frame.from_ras(drawn)].tolist() == [1000]
        assert letter in position_in_words(affine, voxel)


def test_radiological_and_neurological_mirror_left_and_right_but_not_the_sagittal_plane() -> None:
    def letters(plane: str, convention: str) -> tuple[str, ...]:
        return View(plane, SHAPE, SPACING, convention).letters

    assert letters("axial", "radiological") == ("R", "L", "A", "P")
    assert letters("axial", "neurological") == ("L", "R", "A", "P")
    assert letters("coronal", "radiological") == ("R", "L", "S", "I")
    assert letters("coronal", "neurological") == ("L", "R", "S", "I")
    assert letters("sagittal", "radiological") == letters("sagittal", "neurological") == ("A", "P", "S", "I")


def test_the_position_is_in_words_and_millimetres() -> None:
    affine = np.diag([-1.0, 2.0, 3.0, 1.0])
    assert position_in_words(affine, (4, 5, 0)) == "L 4.0  A 10.0  S 0.0 mm"


# -- what is drawn -----------------------------------------------------------------------------------------------------


def plain(**options: object) -> NDArray:
    values = np.full(SHAPE, 50.0, np.float32)
    given = {"plane": "axial", "window": 100, "level": 50, "zoom": 6, "crosshair": False, "letters": False}
    return render(values, np.diag([*SPACING, 1.0]), (10, 12, 8), **{**given, **options})


def test_window_and_level_spread_the_range_over_black_to_white() -> None:
    values = np.zeros((4, 1, 1), np.float32)
    values[:, 0, 0] = (-100, 0, 40, 500)
    shown = render(
        values, np.eye(4), (0, 0, 0), plane="axial", window=80, level=40, convention="neurological", zoom=1,
        crosshair=False, letters=False,
    )  # fmt: skip
    assert shown[0, :, 0].tolist() == [0, 0, 127, 255]
    assert (shown[..., 0] == shown[..., 1]).all() and (shown[..., 0] == shown[..., 2]).all()


def test_an_overlay_has_a_fill_and_an_outline_and_touches_nothing_else() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[6:12, 8:15, 8] = True
    bare, covered = plain(), plain(overlays=[Overlay(mask, ORANGE, "new")], opacity=0.5)
    view = View("axial", SHAPE, SPACING, zoom=6)
    inside = view.slice_of(mask, 8).repeat(9, 0).repeat(12, 1)
    assert inside.shape == covered.shape[:2]
    changed = (bare != covered).any(-1)
    assert (changed == inside).all()
    outline = (covered == ORANGE).all(-1)
    assert outline.any() and outline.sum() < inside.sum() / 2  # the fill is a mixture, the outline is not
    assert (plain(overlays=[Overlay(mask, ORANGE, "new")], opacity=0) == ORANGE).all(-1).sum() == outline.sum()


def test_a_dashed_outline_is_told_from_a_whole_one_without_its_colour() -> None:
    mask = np.zeros((40, 40), bool)
    mask[5:35, 5:35] = True
    ground = np.zeros((40, 40, 3), np.uint8)
    whole = (blended(ground, mask, SKY, 0) != 0).any(-1).sum()
    dashed = (blended(ground, mask, SKY, 0, dashed=True) != 0).any(-1).sum()
    assert 0.3 * whole < dashed < 0.7 * whole


def test_the_cross_hair_meets_at_the_voxel_and_leaves_it_free() -> None:
    bare, crossed = plain(), plain(crosshair=True)
    changed = (bare != crossed).any(-1)
    x, y = View("axial", SHAPE, SPACING, zoom=6).voxel_to_pixel((10, 12, 8))
    rows, columns = np.nonzero(changed)
    assert set(columns[rows != int(y)]) == {int(x)} and int(y) in rows
    assert not changed[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4].any()


def test_letters_mark_and_scale_bar_are_drawn_only_when_asked_for() -> None:
    assert (plain(letters=True) != plain()).any()
    corner = (plain(mark="SYNTHETIC") != plain()).any(-1)
    assert corner[:30].any() and not corner[60:].any()
    width = plain().shape[1]
    white = (plain(letters=True)[-12:, width // 2 + 20 :] == 255).all(-1)
    bar = white[white.sum(1).argmax()].nonzero()[0] + width // 2 + 20
    assert bar.max() > width - 12 and abs(bar.max() - bar.min() - 60) <= 2  # 10 mm at 6 pixels a millimetre


def test_no_change_is_exactly_grey_and_the_ends_are_the_ends_of_the_map() -> None:
    assert colours_of_change(np.array([0.0, 1.0, -1.0, 7.0])).tolist() == [list(c) for c in (NONE, MORE, LESS, MORE)]
    change = np.zeros(SHAPE)
    change[10, 12, 8] = 30
    shown = render_change(
        change, np.diag([*SPACING, 1.0]), (10, 12, 8), plane="axial", limit=30, zoom=6, crosshair=False, letters=False
    )
    grey = (shown == NONE).all(-1)
    assert (~grey).sum() == 9 * 12 and (shown[~grey] == MORE).all()


def test_the_change_of_lightness_differs_in_sign_for_eyes_that_see_no_colour() -> None:
    def lightness(colour: tuple[int, int, int]) -> float:
        return float(np.dot(colour, (0.2126, 0.7152, 0.0722)))

    assert lightness(LESS) < 0.8 * lightness(NONE) and lightness(MORE) > 1.2 * lightness(NONE)


# -- presets -----------------------------------------------------------------------------------------------------------


def test_hounsfield_units_get_the_windows_of_ct() -> None:
    values = np.full((30, 30, 30), -1000.0, np.float32)
    values[10:20, 10:20, 10:20] = 40
    values[0, 0, 0] = 1500
    assert list(presets(values)) == [*CT, "Full range"]


def test_the_standard_window_of_mr_keeps_the_background_black_and_the_brain_grey() -> None:
    draw = np.random.default_rng(0)
    values = np.zeros((40, 40, 40), np.float32)
    values[10:30, 10:30, 10:30] = draw.normal(100, 10, (20, 20, 20))
    width, level = presets(values)["Standard"]
    assert level - width / 2 == 0 and 110 < level + width / 2 < 150
    assert all(window.width > 0 for window in presets(values).values())


def test_a_scan_that_is_nearly_all_background_still_has_windows() -> None:
    values = np.zeros((30, 30, 30), np.float32)
    values[1, 1, 1] = 5
    assert all(window.width > 0 for window in presets(values).values())
