"""Reading NIfTI: what is kept, and what is refused in one sentence."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domains.medical.data import STORED_TYPES, make_volume, read_contrasts, read_labels, read_mask, read_volume
from shared.errors import UserError
from tests.medical.nifti_files import ORIENTATIONS, SHARED_DATA, affine_for, numbers, save

EDGE_CASES = sorted((SHARED_DATA / "medical" / "nifti_edge_cases").glob("*.nii*"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scans")


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(STORED_TYPES),
    orientation=st.sampled_from(ORIENTATIONS),
    order=st.sampled_from("<>"),
    version=st.sampled_from([1, 2]),
    scaling=st.sampled_from([(1.0, 0.0), (0.25, -3.0), (-2.0, 10.0), (0.0, 0.0), (np.nan, np.nan)]),
    shape=st.tuples(*[st.integers(2, 6)] * 3),
    ending=st.sampled_from([".nii", ".nii.gz"]),
    seed=st.integers(0, 2**16),
)
def test_stored_numbers_scaling_affine_and_orientation_are_read_as_written(
    folder: Path, dtype, orientation, order, version, scaling, shape, ending, seed
) -> None:
    raw = numbers(shape, dtype, seed)
    raw.flat[0] = raw.flat[1] + 1
    affine = affine_for(orientation, (0.75, 1.25, 3.0))
    path = save(folder / f"a{ending}", raw, affine, slope=scaling[0], inter=scaling[1], order=order, version=version)
    volume = read_volume(path)
    assert volume.raw.dtype == np.dtype(dtype) and volume.raw.tobytes() == raw.tobytes()
    assert volume.orientation == orientation
    assert volume.spacing == pytest.approx((0.75, 1.25, 3.0))
    assert volume.header.endianness == order
    np.testing.assert_array_equal(volume.affine, affine)
    slope, inter = scaling if np.isfinite(scaling[0]) and scaling[0] else (1.0, 0.0)
    np.testing.assert_array_equal(volume.values, (raw.astype(np.float64) * slope + inter).astype(np.float32))


@settings(max_examples=80, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), zipped=st.booleans(), version=st.sampled_from([1, 2]))
def test_every_truncation_is_refused_in_one_sentence(folder: Path, share: float, zipped: bool, version: int) -> None:
    whole = save(folder / ("b.nii.gz" if zipped else "b.nii"), numbers(), version=version).read_bytes()
    short = folder / "short.nii"
    short.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError):
        read_volume(short)


@settings(max_examples=150, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=6), zipped=st.booleans()
)
def test_a_damaged_header_is_read_or_refused_but_never_crashes(folder: Path, changes, zipped: bool) -> None:
    whole = bytearray(save(folder / "c.nii", numbers()).read_bytes())
    for place, value in changes:
        whole[place] = value
    damaged = folder / "damaged.nii"
    damaged.write_bytes(gzip.compress(bytes(whole), 1) if zipped else whole)
    try:
        volume = read_volume(damaged)
    except UserError:
        return
    assert np.isfinite(volume.values).all() and len(volume.orientation) == 3


def test_noise_of_any_length_is_not_a_scan(folder: Path) -> None:
    for size in (0, 1, 4, 348, 352, 5000):
        path = folder / "noise.nii.gz"
        path.write_bytes(np.random.default_rng(size).bytes(size))
        with pytest.raises(UserError, match=r"NIfTI|empty|cut short"):
            read_volume(path)


def _quirk(**change: object) -> dict[str, object]:
    return {"change": change}


@pytest.mark.parametrize(
    ("raw", "options", "words"),
    [
        (numbers((5, 6)), {}, "single slice"),
        (numbers((5, 6, 1)), {}, "single slice"),
        (numbers((5, 6, 7, 3)), {}, "holds 3 volumes"),
        (np.full((4, 4, 4), 7, np.int16), {"slope": 2.0}, "every voxel of the image is 14"),
        (np.full((4, 4, 4), 7, np.float32), {}, "every voxel"),
        (numbers().astype(np.complex64), {}, "complex"),
        (np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), {}, "colours"),
        (numbers(), {"slope": 1.0, "inter": np.nan}, "intercept"),
        (numbers(), _quirk(sform_code=0, qform_code=0, pixdim=[1, 0, 1, 1, 0, 0, 0, 0]), "voxel size is 0 x 1 x 1"),
        (numbers(), _quirk(xyzt_units=1), "voxel size is 1000 x"),
        (numbers(), _quirk(srow_x=[0, 0, 0, 0]), "voxel size"),
        (numbers(), _quirk(srow_x=[1, 0, 0, 0], srow_y=[1, 0, 0, 0], srow_z=[0, 1, 1, 0]), "voxel size|singular"),
        (numbers(), _quirk(srow_x=[1, 1, 0, 0], srow_y=[1, 1, 0, 0]), "singular"),
        (numbers(), _quirk(srow_x=[np.nan, 1, 0, 0]), "voxel size is nan"),
        (numbers(), _quirk(sform_code=0, quatern_b=3.0), "orientation in the header is invalid"),
        (numbers(), _quirk(datatype=1), "number type|bool"),
        (numbers(), _quirk(datatype=77), "number type 77 is unknown"),
        (numbers(), _quirk(dim=[3, 30000, 30000, 30000, 1, 1, 1, 1]), "more than 4 GiB"),
        (numbers(), _quirk(dim=[3, -5, 6, 7, 1, 1, 1, 1]), "impossible size"),
        (numbers(), _quirk(dim=[9, 5, 6, 7, 1, 1, 1, 1]), "impossible size"),
        (numbers(), _quirk(vox_offset=17), "places the voxels at byte 17"),
        (numbers(), _quirk(magic=b"ni1"), "header without its image"),
        (numbers((4, 4, 4), "float64") * 1e300, {}, "more than single precision"),
    ],
)
def test_what_is_not_one_scan_is_refused(tmp_path: Path, raw, options, words: str) -> None:
    path = save(tmp_path / "x.nii", raw, **options)
    with pytest.raises(UserError, match=words) as caught:
        read_volume(path)
    assert caught.value.where == str(path) and caught.value.remedy


@pytest.mark.parametrize(("bad", "count"), [(np.nan, 2), (np.inf, 1), (-np.inf, 3)])
def test_nan_and_infinity_are_counted_and_refused(tmp_path: Path, bad: float, count: int) -> None:
    raw = numbers(dtype="float32")
    raw.flat[3 : 3 + count] = bad
    with pytest.raises(UserError, match=f"{count} of 210 voxels are NaN or infinite"):
        read_volume(save(tmp_path / "x.nii", raw))


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_volume(tmp_path / "none.nii")
    with pytest.raises(UserError, match="a folder, not a file"):
        read_volume(tmp_path)


def test_a_compressed_bomb_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    path = save(tmp_path / "x.nii.gz", numbers())
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(100 * 2**20), 9))
    with pytest.raises(UserError, match="follow the voxels"):
        read_volume(path)


def test_trailing_axes_of_one_are_squeezed_and_units_respected(tmp_path: Path) -> None:
    raw = numbers((5, 6, 7, 1, 1))
    assert read_volume(save(tmp_path / "a.nii", raw)).shape == (5, 6, 7)
    micrometres = affine_for("RAS", (500.0, 500.0, 500.0))
    micrometres[:3, 3] *= 1000
    volume = read_volume(save(tmp_path / "b.nii", raw, micrometres, change={"xyzt_units": 3}))
    assert volume.spacing == pytest.approx((0.5, 0.5, 0.5)) and volume.affine[0, 3] == pytest.approx(-12.5)


def test_a_file_without_orientation_says_so(tmp_path: Path) -> None:
    assert read_volume(save(tmp_path / "a.nii", numbers())).orientation_known
    path = save(tmp_path / "b.nii", numbers(), change={"sform_code": 0, "qform_code": 0})
    assert not read_volume(path).orientation_known


def test_the_numbers_of_a_volume_cannot_be_changed_by_accident(tmp_path: Path) -> None:
    volume = read_volume(save(tmp_path / "a.nii", numbers(dtype="float32")))
    with pytest.raises(ValueError, match="read-only"):
        volume.values[0, 0, 0] = 1


# masks and label maps


def _pair(tmp_path: Path, mask: np.ndarray, affine: np.ndarray | None = None, **options: object):
    scan = read_volume(save(tmp_path / "scan.nii", numbers()))
    return scan, save(tmp_path / "mask.nii", mask, affine, **options)


@pytest.mark.parametrize(
    ("inside", "dtype", "slope"),
    [(1, "uint8", 1.0), (255, "uint8", 1 / 255), (1, "float32", 1.0), (7, "int16", 1.0), (-1, "int8", -1.0)],
)  # fmt: skip
def test_a_mask_is_zero_outside_and_any_one_value_inside(tmp_path: Path, inside: int, dtype: str, slope) -> None:
    drawn = np.random.default_rng(1).random((5, 6, 7)) > 0.7
    scan, path = _pair(tmp_path, (drawn * inside).astype(dtype), slope=slope)
    np.testing.assert_array_equal(read_mask(path, scan), drawn)


@pytest.mark.parametrize(
    ("mask", "affine", "words"),
    [
        (np.ones((5, 6, 8), np.uint8), None, r"the mask has shape \(5, 6, 8\), the image \(5, 6, 7\)"),
        (np.ones((5, 6, 7), np.uint8), affine_for("LAS"), "run to LAS, those of the image to RAS"),
        (np.ones((5, 6, 7), np.uint8), affine_for("RAS") + np.eye(4)[:, [1, 2, 3, 0]] * 0.2, "affines differ"),
        (np.zeros((5, 6, 7), np.uint8), None, "the mask is empty"),
        (numbers() % 3, None, "3 different values"),
        (1 + (numbers() > 0).astype(np.uint8), None, "none of its voxels is outside"),
        (np.where(numbers() > 0, np.nan, 1).astype(np.float32), None, "NaN"),
        (-(numbers() > 0).astype(np.int8), None, "the mask holds 0 and -1"),
        ((numbers() > 0).astype(np.float32) * np.float32(0.7), None, "the mask holds 0 and 0.7"),
        (np.full((5, 6, 7), -1, np.int8), None, "the mask holds -1"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(tmp_path: Path, mask, affine, words: str) -> None:
    scan, path = _pair(tmp_path, mask, affine)
    with pytest.raises(UserError, match=words):
        read_mask(path, scan)


def test_an_empty_mask_is_read_when_allowed_and_rounding_of_the_affine_is_forgiven(tmp_path: Path) -> None:
    scan, path = _pair(tmp_path, np.zeros((5, 6, 7), np.uint8), affine_for("RAS") + 1e-5)
    assert not read_mask(path, scan, allow_empty=True).any()


def test_labels_are_whole_numbers(tmp_path: Path) -> None:
    scan, path = _pair(tmp_path, (numbers() % 4).astype(np.float32))
    np.testing.assert_array_equal(read_labels(path, scan), numbers() % 4)
    with pytest.raises(UserError, match="not whole labels"):
        read_labels(save(tmp_path / "half.nii", numbers().astype(np.float32) / 2), scan)


def test_contrasts_must_share_one_grid(tmp_path: Path) -> None:
    one, two = save(tmp_path / "a.nii", numbers()), save(tmp_path / "b.nii", numbers(seed=1))
    assert list(read_contrasts({"FLAIR": one, "T1": two})) == ["FLAIR", "T1"]
    flat = [save(tmp_path / f"flat{k}.nii", np.zeros((5, 6, 7), np.int16)) for k in range(2)]
    with pytest.raises(UserError, match=r"flat0\.nii"):  # of several mistakes the first in order
        read_contrasts({"FLAIR": one, "T1": flat[0], "T2": flat[1]})
    moved = save(tmp_path / "c.nii", numbers(), affine_for("RAS") + np.diag([0, 0, 0.5, 0]))
    with pytest.raises(UserError, match="the T1 image lies up to 3 mm away from the FLAIR image"):
        read_contrasts({"FLAIR": one, "T1": moved})


def test_a_generated_volume_has_the_header_it_will_be_written_with() -> None:
    volume = make_volume(numbers(dtype="uint16"), affine_for("LPI"), slope=0.1, byte_order=">")
    assert volume.orientation == "LPI" and volume.header.endianness == ">"
    assert volume.slope == np.float32(0.1) and len(volume.sha256) == 64


@pytest.mark.skipif(not EDGE_CASES, reason="the folder of real files is absent")
@pytest.mark.parametrize("path", EDGE_CASES, ids=lambda p: p.name)
def test_real_edge_cases_agree_with_nibabel(path: Path) -> None:
    volume, image = read_volume(path), nib.load(path)
    np.testing.assert_allclose(volume.affine, image.affine)
    np.testing.assert_allclose(volume.values, image.get_fdata(), rtol=1e-6, atol=1e-4)
    assert volume.orientation == "".join(nib.aff2axcodes(image.affine))


@pytest.mark.skipif(not EDGE_CASES, reason="the folder of real files is absent")
def test_a_real_patient_and_its_mask_are_on_one_grid() -> None:
    brains = SHARED_DATA / "medical" / "ms_brains"
    scans = read_contrasts({name: brains / f"patient07_{name}.nii.gz" for name in ("FLAIR", "T1", "T2")})
    assert read_mask(brains / "patient07_lesions.nii.gz", scans["FLAIR"]).sum() == 1300
