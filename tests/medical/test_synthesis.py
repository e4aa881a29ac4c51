"""Phantoms: exact truth, the look of the real thing, and the same numbers from the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from domains.medical.data import read_volume
from domains.medical.export import write_volume
from domains.medical.geometry import to_mm, to_voxel
from domains.medical.phantoms.asymmetric import EIGHT_ORIENTATIONS, HEAD_VALUE, LANDMARKS, asymmetric_phantom
from domains.medical.phantoms.fields import smooth_field
from domains.medical.phantoms.template import template
from domains.medical.synthesis import (
    CSF,
    EXAMPLES,
    GREY,
    WHITE,
    BrainPhantom,
    brain_phantom,
    built_in_example,
    lesion_mask,
)
from shared.errors import UserError
from tests.medical.nifti_files import SHARED_DATA

BRAINS = SHARED_DATA / "medical" / "ms_brains"
CROP = {"size": (96, 112, 64), "centre_mm": (0.0, -18.0, 22.0)}


@pytest.fixture(scope="module")
def subject() -> BrainPhantom:
    return brain_phantom(3, lesions=12, **CROP)


def test_the_same_seed_gives_the_same_subject_and_another_seed_another(subject: BrainPhantom) -> None:
    again, other = brain_phantom(3, lesions=12, **CROP), brain_phantom(4, lesions=12, **CROP)
    for name in subject.images:
        assert again.images[name].tobytes() == subject.images[name].tobytes()
        assert (other.images[name] != subject.images[name]).mean() > 0.5
    assert again.lesion_ids.tobytes() == subject.lesion_ids.tobytes()


def test_a_contrast_does_not_depend_on_which_others_are_asked_for(subject: BrainPhantom) -> None:
    alone = brain_phantom(3, lesions=12, contrasts=["T2"], **CROP)
    assert list(alone.images) == ["T2"] and alone.images["T2"].tobytes() == subject.images["T2"].tobytes()


@pytest.mark.parametrize("contrast", ["FLAIR", "T1", "T2"])
def test_the_healthy_twin_is_equal_to_the_bit_outside_the_lesions(subject: BrainPhantom, contrast: str) -> None:
    twin, without = subject.healthy(contrast), brain_phantom(3, lesions=0, **CROP)
    image = subject.images[contrast]
    assert twin[~subject.lesions].tobytes() == image[~subject.lesions].tobytes()
    assert twin.tobytes() == without.images[contrast].tobytes()
    assert (twin[subject.lesions] != image[subject.lesions]).mean() > 0.99


def test_the_background_is_zero_and_no_brain_voxel_is(subject: BrainPhantom) -> None:
    for image in subject.images.values():
        assert image.dtype == np.float32 and ((image > 0) == (subject.tissue > 0)).all()


@pytest.mark.parametrize(
    ("contrast", "order"), [("T1", (CSF, GREY, WHITE)), ("T2", (WHITE, GREY, CSF)), ("FLAIR", (CSF, WHITE, GREY))]
)
def test_tissues_have_the_order_of_their_contrast(subject: BrainPhantom, contrast: str, order: tuple) -> None:
    image = subject.healthy(contrast)
    medians = [np.median(image[subject.tissue == tissue]) for tissue in order]
    assert medians == sorted(medians) and medians[2] > 1.02 * medians[1] > 1.1 * medians[0]


def test_lesions_are_bright_in_flair_and_t2_dark_in_t1(subject: BrainPhantom) -> None:
    for contrast, (low, high) in {"FLAIR": (1.1, 1.7), "T2": (1.1, 2.2), "T1": (0.5, 0.97)}.items():
        ratio = np.median(subject.images[contrast][subject.lesions] / subject.healthy(contrast)[subject.lesions])
        assert low < ratio < high, contrast


def test_lesions_have_texture_and_a_soft_rim() -> None:
    from scipy import ndimage

    made = brain_phantom(5, noise=0.0, lesions=25, **CROP)
    change = made.healthy("T1") - made.images["T1"]  # without noise
    deep = ndimage.binary_erosion(made.lesions, iterations=2)
    rim = made.lesions & ~ndimage.binary_erosion(made.lesions)
    assert deep.sum() > 100 and 0.1 < change[rim].mean() / change[deep].mean() < 0.75
    sizes = np.bincount(made.lesion_ids.ravel())[1:]
    largest = ndimage.binary_erosion(made.lesion_ids == 1 + np.argmax(sizes), iterations=2)
    assert 0.01 < np.std(made.images["FLAIR"][largest]) / np.mean(made.images["FLAIR"][largest]) < 0.3


def test_lesions_are_not_spheres_and_their_sizes_vary(subject: BrainPhantom) -> None:
    sizes = np.bincount(subject.lesion_ids.ravel())[1:]
    assert len(sizes) == 12 and sizes.min() >= 1 and sizes.max() > 10 * sizes.min()
    places = np.argwhere(subject.lesion_ids == 1 + np.argmax(sizes))
    distances = np.linalg.norm(places - places.mean(0), axis=1)
    ball = (3 * len(places) / (4 * np.pi)) ** (1 / 3)
    assert (distances > 1.15 * ball).mean() > 0.03  # a ball of that volume has none


def test_lesions_sit_in_white_matter_and_prefer_the_ventricles() -> None:
    made = brain_phantom(8, spacing=2.0, lesions=60)
    kinds = np.bincount(made.tissue[made.lesions], minlength=4) / made.lesions.sum()
    assert kinds[WHITE] > 0.6 and kinds[CSF] < 0.005 and kinds[0] == 0


@pytest.mark.skipif(not BRAINS.is_dir(), reason="the folder of real files is absent")
def test_real_lesions_are_likelier_where_the_prior_is_high() -> None:
    made = template()
    near = []
    for number in (1, 4, 7, 11, 19, 28):
        mask = read_volume(BRAINS / f"patient{number:02d}_lesions.nii.gz")
        where = np.rint(to_voxel(made.affine, to_mm(mask.affine, np.argwhere(mask.raw)))).astype(int)
        where = where[((where >= 0) & (where < made.maps.shape[1:])).all(1)]
        near.append(made.maps[3][tuple(where.T)].mean())
    assert np.mean(near) > 2 * np.average(made.maps[3], weights=made.maps[1])


def test_anatomy_is_the_same_at_every_size_and_spacing() -> None:
    whole, crop = brain_phantom(2, spacing=2.0, lesions=0), brain_phantom(2, lesions=0, **CROP)
    points = to_mm(crop.affine, np.argwhere(crop.tissue == WHITE)[::50])
    index = np.rint(to_voxel(whole.affine, points)).astype(int)
    assert (whole.tissue[tuple(index.T)] == WHITE).mean() > 0.8


def test_the_whole_head_is_the_mni_grid_and_two_millimetres_halve_it() -> None:
    made = brain_phantom(1, spacing=2.0, contrasts=["FLAIR"])
    assert made.images["FLAIR"].shape == (91, 109, 91) and made.spacing == (2.0, 2.0, 2.0)
    assert 1.2e6 < 8 * (made.tissue > 0).sum() < 1.9e6  # mm^3 of brain


def test_the_brain_stands_upright_and_faces_front() -> None:
    made = brain_phantom(6, spacing=2.0, lesions=0, contrasts=["T1"])
    inside = to_mm(made.affine, np.argwhere(made.tissue > 0))
    across, along, up = inside.max(0) - inside.min(0)
    assert 115 < across < up < along < 185  # mm
    fluid = to_mm(made.affine, np.argwhere(made.tissue == CSF))
    ventricles = fluid[(np.abs(fluid) - (14, 20, 24) < 12).all(1) & (fluid[:, 1] < 10) & (fluid[:, 2] > 10)]
    assert (ventricles[:, 0] < 0).any() and (ventricles[:, 0] > 0).any()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"contrasts": ["PD"]}, "no contrast PD"),
        ({"spacing": 0.01}, "a spacing of 0.01 mm"),
        ({"size": (8, 8, 8), "centre_mm": (500.0, 0.0, 0.0)}, "misses the brain"),
    ],
)
def test_an_impossible_subject_is_refused(wanted: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        brain_phantom(0, **wanted)


def test_a_phantom_goes_through_a_file(tmp_path: Path, subject: BrainPhantom) -> None:
    for name, volume in subject.volumes().items():
        path = write_volume(volume, volume.values, tmp_path / f"{name}.nii.gz", synthetic=True).path
        again = read_volume(path)
        assert again.raw.tobytes() == subject.images[name].tobytes() and again.orientation == "RAS"
    assert subject.volumes(healthy=True)["T1"].raw.tobytes() == subject.healthy("T1").tobytes()


@pytest.mark.parametrize("name", ["brain-crop", "brain-2mm"])
def test_an_example_has_contrasts_a_free_mask_and_labels_on_one_grid(name: str) -> None:
    example = built_in_example(name)
    assert list(example.volumes) == ["FLAIR", "T1", "T2"] and built_in_example(name) is example
    shape = example.volumes["FLAIR"].shape
    assert example.mask.shape == example.existing.shape == shape and example.mask.dtype == bool
    volume = example.mask.sum() * np.prod(example.volumes["T1"].spacing)
    assert 0.5 * EXAMPLES[name][1] < volume < 1.6 * EXAMPLES[name][1]
    assert example.existing.max() > 2 and not (example.mask & (example.existing > 0)).any()


def test_unknown_examples_and_lesions_without_room_are_refused(subject: BrainPhantom) -> None:
    with pytest.raises(UserError, match="no example named liver"):
        built_in_example("liver")
    with pytest.raises(UserError, match="no room"):
        lesion_mask(0, subject, 4e5)


@pytest.mark.parametrize("orientation", EIGHT_ORIENTATIONS)
def test_the_asymmetric_head_holds_its_landmarks_in_every_orientation(tmp_path: Path, orientation: str) -> None:
    made = asymmetric_phantom(orientation)
    path = write_volume(made, made.values, tmp_path / "head.nii.gz", synthetic=True).path
    volume = read_volume(path)
    assert volume.orientation == orientation
    for letter, (value, centre, _) in LANDMARKS.items():
        assert volume.raw[tuple(np.rint(to_voxel(volume.affine, centre)).astype(int))] == value
        assert (centre[{"L": 0, "A": 1, "S": 2}[letter]] > 0) == (letter != "L")
        opposite = tuple(np.rint(to_voxel(volume.affine, -np.array(centre))).astype(int))
        assert volume.raw[opposite] == HEAD_VALUE
    with pytest.raises(ValueError, match="three axes"):
        asymmetric_phantom("RLS")


def test_a_smooth_field_has_unit_deviation_and_no_fine_detail() -> None:
    places = [np.arange(0, 120.0, 1.5)] * 3
    field = smooth_field(np.random.default_rng(0), places, 9.0)[0]
    assert field.std() == pytest.approx(1, abs=0.08) and abs(field.mean()) < 0.1
    assert np.abs(np.diff(field, axis=0)).mean() < 0.25
    part = smooth_field(np.random.default_rng(0), [p[20:40] for p in places], 9.0, span=[(0.0, 118.5)] * 3)[0]
    np.testing.assert_allclose(part, field[20:40, 20:40, 20:40], atol=1e-5)
