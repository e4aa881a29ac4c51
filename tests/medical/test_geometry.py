"""Reorientation to the bit, crops at a spacing, and the way back."""

from __future__ import annotations

import itertools
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domains.medical.geometry import (
    crop_at_spacing,
    grid_distance,
    paste_back,
    ras_frame,
    same_grid,
    spacing_of,
    to_mm,
    to_voxel,
)
from tests.medical.nifti_files import ORIENTATIONS, affine_for


def _oblique(seed: int, degrees: float) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    turn = np.eye(4)
    angles = np.random.default_rng(seed).uniform(-degrees, degrees, 3)
    turn[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    return turn


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_goes_to_ras_and_back_to_the_bit(orientation: str) -> None:
    shape, affine = (4, 5, 6), affine_for(orientation, (1.0, 2.0, 3.0))
    array = np.random.default_rng(0).integers(0, 2**15, shape).astype(np.int16)
    frame = ras_frame(shape, affine)
    turned = frame.to_ras(array)
    assert nib.aff2axcodes(frame.affine) == ("R", "A", "S") and turned.base is not None
    np.testing.assert_array_equal(frame.from_ras(turned), array)
    # Each voxel keeps its millimetres: an independent check of both the array and the affine.
    reference = nib.as_closest_canonical(nib.Nifti1Image(array, affine))
    np.testing.assert_array_equal(turned, np.asarray(reference.dataobj))
    np.testing.assert_allclose(frame.affine, reference.affine)


@settings(max_examples=40, deadline=None)
@given(orientation=st.sampled_from(ORIENTATIONS), seed=st.integers(0, 999))
def test_oblique_scans_are_relabelled_not_resampled(orientation: str, seed: int) -> None:
    shape, affine = (3, 4, 5), _oblique(seed, 25) @ affine_for(orientation, (0.7, 0.8, 3.0))
    where = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    frame = ras_frame(shape, affine)
    index = np.stack([frame.to_ras(where[..., axis]) for axis in range(3)], -1)
    ras = np.stack(np.meshgrid(*map(np.arange, frame.ras_shape), indexing="ij"), -1)
    np.testing.assert_allclose(to_mm(frame.affine, ras), to_mm(affine, index), atol=1e-9)
    assert (np.diag(frame.affine)[:3] > 0).all()


def test_millimetres_and_voxels_are_inverse() -> None:
    affine = _oblique(3, 180) @ affine_for("PSR", (0.5, 1.0, 4.0))
    points = np.random.default_rng(0).normal(0, 50, (20, 3))
    np.testing.assert_allclose(to_voxel(affine, to_mm(affine, points)), points, atol=1e-10)
    assert spacing_of(affine) == pytest.approx((0.5, 1.0, 4.0))


def test_grids_are_the_same_within_a_twentieth_of_a_voxel() -> None:
    affine, shape = affine_for("RAS", (1.0, 1.0, 2.0)), (100, 100, 50)
    near, far = affine.copy(), affine.copy()
    near[0, 3] += 0.04
    far[0, 0] *= 1.001
    assert same_grid(shape, affine, shape, near) and not same_grid(shape, affine, shape, far)
    assert not same_grid(shape, affine, (100, 100, 51), affine)
    assert grid_distance(shape, affine, far) == pytest.approx(0.099)


def _smooth(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """A linear ramp in mm: linear interpolation is exact on it."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-10.0, 5.0, 3.0)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return (to_mm(affine, grid) @ (1.0, 2.0, -0.5) + 100).astype(np.float32), affine


@pytest.mark.parametrize("size", [(8, 9, 10), (7, 7, 7)])
def test_a_patch_at_the_spacing_of_the_volume_holds_its_very_numbers(size: tuple[int, int, int]) -> None:
    values, affine = np.random.default_rng(0).normal(size=(20, 21, 22)).astype(np.float32), np.diag([1.0, 1, 1, 1])
    patch = crop_at_spacing(values, affine, (10.2, 9.9, 11.4), size, 1.0)
    low = [int(v) for v in patch.start]
    np.testing.assert_array_equal(patch.values, values[tuple(slice(a, a + n) for a, n in zip(low, size, strict=True))])
    centre = to_mm(patch.affine, (np.array(size) - 1) / 2)
    assert np.abs(centre - (10.2, 9.9, 11.4)).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("spacing", [0.8, 1.0, 1.7, (1.0, 2.0, 0.5)])
def test_a_patch_lies_where_its_affine_says(spacing: float | tuple[float, float, float]) -> None:
    values, affine = _smooth((30, 30, 20), (1.0, 1.2, 2.0))
    patch = crop_at_spacing(values, affine, (4.0, 22.0, 22.0), (8, 8, 8), spacing)
    grid = np.stack(np.meshgrid(*map(np.arange, (8, 8, 8)), indexing="ij"), -1)
    np.testing.assert_allclose(patch.values, to_mm(patch.affine, grid) @ (1.0, 2.0, -0.5) + 100, rtol=1e-4)


@pytest.mark.parametrize("spacing", [1.0, 0.6, 2.5])
def test_outside_the_volume_a_patch_is_filled(spacing: float) -> None:
    values = np.full((10, 10, 10), 5.0, np.float32)
    patch = crop_at_spacing(values, np.eye(4), (4.5, 4.5, 4.5), (25, 3, 3), spacing, fill=-7.0)
    np.testing.assert_allclose(patch.values[0], -7.0, rtol=1e-6)
    np.testing.assert_allclose(patch.values[12], 5.0, rtol=1e-6)
    far = crop_at_spacing(values, np.eye(4), (500.0, 4.5, 4.5), (4, 4, 4), spacing, fill=-7.0)
    np.testing.assert_allclose(far.values, -7.0)


def test_a_coarser_patch_averages_instead_of_picking() -> None:
    values = np.indices((32, 32, 32)).sum(0).astype(np.float32) % 2  # a checkerboard of mean 1/2
    patch = crop_at_spacing(values, np.eye(4), (15.5, 15.5, 15.5), (6, 6, 6), 4.0)
    assert np.abs(patch.values - 0.5).max() < 0.02


@settings(max_examples=30, deadline=None)
@given(spacing=st.sampled_from([0.75, 1.0, 1.5, 2.0]), seed=st.integers(0, 99))
def test_pasting_touches_the_mask_alone(spacing: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(24, 24, 24)).astype(np.float32)
    mask = np.zeros(values.shape, bool)
    mask[9:14, 10:13, 8:15] = draw.random((5, 3, 7)) > 0.3
    patch = crop_at_spacing(values, np.eye(4), (11, 11, 11), (16, 16, 16), spacing)
    out = paste_back(replace(patch, values=np.full_like(patch.values, 9.0)), values, mask)
    assert out[~mask].tobytes() == values[~mask].tobytes()
    np.testing.assert_allclose(out[mask], 9.0, rtol=1e-6)
    if spacing == 1.0:
        assert paste_back(patch, values, mask).tobytes() == values.tobytes()


def test_pasting_a_resampled_patch_is_exact_where_interpolation_is() -> None:
    values, affine = _smooth((30, 30, 20), (1.0, 1.2, 2.0))
    mask = np.zeros(values.shape, bool)
    mask[12:16, 13:16, 8:11] = True
    patch = crop_at_spacing(values, affine, to_mm(affine, (14, 14, 9)), (12, 12, 12), 1.5)
    np.testing.assert_allclose(paste_back(patch, values, mask), values, rtol=1e-4)


def test_an_empty_mask_returns_the_volume_and_a_mask_past_the_patch_is_an_error() -> None:
    values = np.random.default_rng(0).normal(size=(12, 12, 12)).astype(np.float32)
    patch = crop_at_spacing(values, np.eye(4), (6, 6, 6), (4, 4, 4), 1.0)
    assert paste_back(patch, values, np.zeros(values.shape, bool)).tobytes() == values.tobytes()
    with pytest.raises(ValueError, match="past the patch"):
        paste_back(patch, values, np.ones(values.shape, bool))


def test_there_are_forty_eight_orientations() -> None:
    assert len(set(ORIENTATIONS)) == 48 == len(list(itertools.permutations(range(3)))) * 8
