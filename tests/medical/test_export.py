"""Writing NIfTI: what stays to the byte, what is recorded, and what never happens to a folder."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domains.medical.data import STORED_TYPES, make_volume, read_labels, read_volume
from domains.medical.export import to_stored, write_label, write_volume
from shared.errors import UserError
from tests.medical.nifti_files import ORIENTATIONS, SHARED_DATA, affine_for, numbers, save

REPLACED = {"descrip", "aux_file", "db_name", "intent_name", "vox_offset"}
EDGE_CASES = sorted((SHARED_DATA / "medical" / "nifti_edge_cases").glob("*.nii*"))


def _header_differences(one: nib.Nifti1Header, two: nib.Nifti1Header) -> set[str]:
    return {name for name in one.structarr.dtype.names if one[name].tobytes() != two[name].tobytes()}


@settings(max_examples=50, deadline=None)
@given(
    dtype=st.sampled_from(STORED_TYPES),
    orientation=st.sampled_from(ORIENTATIONS),
    order=st.sampled_from("<>"),
    version=st.sampled_from([1, 2]),
    scaling=st.sampled_from([(1.0, 0.0), (0.25, -3.0), (-2.0, 10.0), (0.0, 0.0), (np.nan, np.nan)]),
    tail=st.sampled_from([(), (1,), (1, 1)]),
    ending=st.sampled_from([".nii", ".nii.gz"]),
)
def test_a_scan_written_unchanged_keeps_every_byte_but_the_names(
    tmp_path_factory, dtype, orientation, order, version, scaling, tail, ending
) -> None:
    folder = tmp_path_factory.mktemp("out")
    raw = numbers((3, 4, 5, *tail), dtype)
    source = save(
        folder / "a.nii",
        raw,
        affine_for(orientation, (0.5, 1.5, 2.5)),
        slope=scaling[0],
        inter=scaling[1],
        order=order,
        version=version,
    )
    volume = read_volume(source)
    written = write_volume(volume, volume.values, folder / f"b{ending}", synthetic=False)
    again = read_volume(written.path)
    assert (written.changed, written.clipped) == (0, 0)
    assert _header_differences(volume.header, again.header) <= REPLACED
    data = written.path.read_bytes()
    data = gzip.decompress(data) if ending == ".nii.gz" else data
    assert data[int(again.header["vox_offset"]) :] == source.read_bytes()[int(volume.header["vox_offset"]) :]


def test_only_changed_voxels_change_and_are_rounded_and_clipped(tmp_path: Path) -> None:
    raw = numbers((6, 6, 6), "int16")
    volume = read_volume(save(tmp_path / "a.nii", raw, slope=0.5, inter=10.0, order=">"))
    values = np.array(volume.values)
    values[1, 2, 3], values[0, 0, 0], values[5, 5, 5] = 10.0 + 0.5 * 321.6, 1e9, -1e9
    written = write_volume(volume, values, tmp_path / "b.nii", synthetic=True, provenance={"seed": 7})
    got = read_volume(written.path)
    assert (got.raw[1, 2, 3], got.raw[0, 0, 0], got.raw[5, 5, 5]) == (322, 32767, -32768)
    same = np.ones(raw.shape, bool)
    same[1, 2, 3] = same[0, 0, 0] = same[5, 5, 5] = False
    np.testing.assert_array_equal(got.raw[same], raw[same])
    record = json.loads(written.sidecar.read_text())
    assert (record["image"]["changed_voxels"], record["image"]["clipped_voxels"], record["seed"]) == (3, 2, 7)
    assert "rounded" in record["image"]["rounding"] and record["image"]["source_sha256"] == volume.sha256


@pytest.mark.parametrize("dtype", STORED_TYPES)
def test_huge_values_end_at_the_limit_of_every_type(dtype: str) -> None:
    volume = make_volume(numbers((3, 3, 3), dtype), np.eye(4))
    values = np.array(volume.values, np.float64)
    values[0], values[1] = 1e308, -1e308
    stored, clipped = to_stored(volume, values)
    limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo(dtype)
    assert stored.dtype == np.dtype(dtype)
    if dtype != "float64":
        assert clipped == 18
        assert float(stored[0].max()) == pytest.approx(float(limits.max)) and stored[0].min() > 0
        assert float(stored[1].min()) == float(limits.min)


def test_a_result_that_is_not_finite_is_never_written(tmp_path: Path) -> None:
    volume = read_volume(save(tmp_path / "a.nii", numbers()))
    values = np.array(volume.values)
    values[0, 0, 0] = np.nan
    with pytest.raises(UserError, match="NaN"):
        write_volume(volume, values, tmp_path / "b.nii", synthetic=True)
    assert os.listdir(tmp_path) == ["a.nii"]


def test_synthetic_data_say_so_in_name_header_extension_and_sidecar(tmp_path: Path) -> None:
    extension = nib.nifti1.Nifti1Extension(6, b"patient John Doe")
    with (tmp_path / "ext").open("wb") as file:
        file.write(b"\1\0\0\0")
        extension.write_to(file, False)
    change = {"aux_file": b"/home/doe/scan", "db_name": b"Doe", "intent_name": b"John"}
    source = save(tmp_path / "a.nii", numbers(), change=change, extension=(tmp_path / "ext").read_bytes())
    volume = read_volume(source)
    written = write_volume(volume, volume.values + 1, tmp_path / "b.nii.gz", synthetic=True, provenance={"model": "m"})
    assert written.path.name == "syn_b.nii.gz" and written.sidecar.name == "syn_b.json"
    image = nib.load(written.path)
    assert bytes(image.header["descrip"]).startswith(b"SYNTHETIC")
    (comment,) = image.header.extensions
    assert comment.get_code() == 6
    assert json.loads(comment.text.rstrip("\0")) == json.loads(written.sidecar.read_text())
    assert json.loads(written.sidecar.read_text())["synthetic"] is True
    content = gzip.decompress(written.path.read_bytes()) + written.sidecar.read_bytes()
    assert b"Doe" not in content and b"doe" not in content and b"John" not in content
    np.testing.assert_allclose(image.get_fdata(), volume.values + 1)


def test_equal_data_give_equal_bytes_and_the_prefix_is_not_doubled(tmp_path: Path) -> None:
    volume = read_volume(save(tmp_path / "a.nii", numbers()))
    one = write_volume(volume, volume.values, tmp_path / "one" / "syn_x.nii.gz", synthetic=True).path
    two = write_volume(volume, volume.values, tmp_path / "two" / "x.nii.gz", synthetic=True).path
    assert one.name == two.name and one.read_bytes() == two.read_bytes()


def test_a_source_is_never_replaced_by_any_name_of_it(tmp_path: Path) -> None:
    source, mask = save(tmp_path / "syn_a.nii", numbers()), save(tmp_path / "syn_m.nii", numbers())
    volume, before = read_volume(source), source.read_bytes()
    os.link(source, tmp_path / "syn_hard.nii")
    os.symlink(source, tmp_path / "syn_soft.nii")
    for name in ("syn_a.nii", "a.nii", "hard.nii", "soft.nii", "m.nii", "../" + tmp_path.name + "/a.nii"):
        with pytest.raises(UserError, match="replace its own input"):
            write_volume(volume, volume.values, tmp_path / name, synthetic=True, protect=[mask], force=True)
    assert source.read_bytes() == before


def test_an_output_is_replaced_only_by_force(tmp_path: Path) -> None:
    volume = read_volume(save(tmp_path / "a.nii", numbers()))
    first = write_volume(volume, volume.values, tmp_path / "b.nii", synthetic=False)
    with pytest.raises(UserError, match="exists already"):
        write_volume(volume, volume.values + 1, tmp_path / "b.nii", synthetic=False)
    first.path.unlink()
    with pytest.raises(UserError, match="exists already"):  # the sidecar alone is not replaced either
        write_volume(volume, volume.values + 1, tmp_path / "b.nii", synthetic=False)
    assert write_volume(volume, volume.values + 1, tmp_path / "b.nii", synthetic=False, force=True).changed == 210


@pytest.mark.parametrize("name", ["b.txt", "b", ".nii", ".nii.gz", "b.nii.bz2"])
def test_other_endings_are_refused(tmp_path: Path, name: str) -> None:
    volume = read_volume(save(tmp_path / "a.nii", numbers()))
    with pytest.raises(UserError, match="does not end in"):
        write_volume(volume, volume.values, tmp_path / name, synthetic=False)


_DISK_FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from domains.medical.data import read_volume
from domains.medical.export import write_volume
from shared.errors import UserError
volume = read_volume(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    write_volume(volume, volume.values + 1, sys.argv[2], synthetic=True)
except UserError as error:
    print(error)
    sys.exit(2)
"""


@pytest.mark.parametrize(("ending", "limit"), [(".nii", 20_000), (".nii.gz", 20_000), (".nii", 100)])
def test_a_full_disk_leaves_the_folder_as_it_was(tmp_path: Path, ending: str, limit: int) -> None:
    source = save(tmp_path / "a.nii", numbers((40, 40, 40)))
    command = [sys.executable, "-c", _DISK_FULL, str(source), str(tmp_path / f"b{ending}"), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 2, done.stderr
    assert "could not be written" in done.stdout and "free disk space" in done.stdout
    assert os.listdir(tmp_path) == ["a.nii"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    volume = read_volume(save(tmp_path / "a.nii", numbers()))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be written"):
        write_volume(volume, volume.values, tmp_path / "file" / "b.nii", synthetic=False)


@pytest.mark.parametrize(("highest", "dtype"), [(1, np.uint8), (300, np.uint16)])
def test_labels_are_written_unscaled_on_the_grid_of_the_scan(tmp_path: Path, highest: int, dtype: type) -> None:
    volume = read_volume(save(tmp_path / "a.nii", numbers(), affine_for("PIL"), slope=3.0, inter=5.0, order=">"))
    labels = np.random.default_rng(0).integers(0, highest + 1, volume.shape)
    labels[0, 0, 0] = highest
    written = write_label(volume, labels, tmp_path / "l.nii.gz", synthetic=True, provenance={"of": "lesions"})
    again = read_volume(written.path)
    assert written.path.name == "syn_l.nii.gz" and again.raw.dtype == dtype
    np.testing.assert_array_equal(again.affine, volume.affine)
    np.testing.assert_array_equal(read_labels(written.path, volume), labels)
    assert json.loads(written.sidecar.read_text())["label"]["labelled_voxels"] == np.count_nonzero(labels)
    assert write_label(volume, labels > 0, tmp_path / "bool.nii", synthetic=False).changed == np.count_nonzero(labels)


@pytest.mark.skipif(not EDGE_CASES, reason="the folder of real files is absent")
@pytest.mark.parametrize("path", EDGE_CASES, ids=lambda p: p.name)
def test_real_edge_cases_round_trip_to_the_byte(tmp_path: Path, path: Path) -> None:
    volume = read_volume(path)
    values = np.array(volume.values)
    values[:3, :3, :3] += volume.slope * 2
    written = write_volume(volume, values, tmp_path / path.name, synthetic=True)
    again, theirs = read_volume(written.path), nib.load(path)
    assert _header_differences(volume.header, again.header) <= REPLACED
    changed = again.raw != volume.raw
    assert 0 < changed.sum() <= 27 and not changed[3:].any() and not changed[:, 3:].any() and not changed[..., 3:].any()
    np.testing.assert_array_equal(nib.load(written.path).affine, theirs.affine)
    assert nib.load(written.path).get_data_dtype() == theirs.get_data_dtype()
