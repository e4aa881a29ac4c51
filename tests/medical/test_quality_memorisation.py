"""Fingerprints: inner products that estimate correlations of patches, with flips by signs and shifts by windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from domains.medical.lesions.memorisation import (
    EDGE,
    SHIFT,
    WINDOW,
    cells_of,
    central,
    centres_of,
    exact_ncc,
    fingerprints,
    gaussian_projection,
    highest_ncc,
    parities,
    shifted,
    unit_norm,
    window,
)

torch.set_num_threads(1)


def volumes(count: int, edge: int = WINDOW, seed: int = 0) -> torch.Tensor:
    """Smooth random blocks (count, edge, edge, edge)."""
    from scipy import ndimage

    rough = np.random.default_rng(seed).standard_normal((count, edge, edge, edge))
    return torch.from_numpy(ndimage.gaussian_filter(rough, (0, 1.5, 1.5, 1.5)).astype(np.float32))


def test_parities_are_an_orthonormal_change_of_basis() -> None:
    x = torch.randn(5, EDGE, EDGE, EDGE)
    split = parities(x)
    assert split.shape == (5, 8, EDGE**3 // 8)
    torch.testing.assert_close(
        split.flatten(1) @ split.flatten(1).T, x.flatten(1) @ x.flatten(1).T, rtol=1e-4, atol=0.05
    )


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirror_changes_the_sign_of_the_odd_parities_of_its_axis_only(axis: int) -> None:
    x = torch.randn(1, EDGE, EDGE, EDGE)
    odd = torch.tensor([(k >> (2 - axis)) & 1 for k in range(8)])
    signs = (1 - 2 * odd)[None, :, None]
    torch.testing.assert_close(parities(x.flip(axis + 1)), signs * parities(x))


def test_a_copy_has_correlation_one_mirrored_shifted_or_rescaled() -> None:
    projection, edge = gaussian_projection(), WINDOW + 2 * SHIFT
    whole = volumes(1, edge)[0]
    block = whole[SHIFT:-SHIFT, SHIFT:-SHIFT, SHIFT:-SHIFT]
    known = fingerprints(central(block)[None], projection)
    moved = whole[2 * SHIFT :, : -2 * SHIFT, SHIFT:-SHIFT]
    for query in (block, 7 - block.flip(0) * -3, block.flip(0, 1, 2), moved):
        assert float(highest_ncc(query, known, projection)) == pytest.approx(1, abs=1e-3)


def test_noise_lowers_the_estimate_as_it_lowers_the_correlation() -> None:
    projection, block = gaussian_projection(), volumes(1)[0]
    known = fingerprints(central(block)[None], projection)
    for level in (0.2, 0.5, 1.0):
        noisy = block + level * block.std() * torch.randn(block.shape)
        exact = exact_ncc(noisy, central(block))
        assert exact < 1 - 0.3 * level**2
        assert float(highest_ncc(noisy, known, projection)) == pytest.approx(exact, abs=0.06)


def test_the_estimate_of_a_pair_errs_by_a_thirtieth_and_has_no_bias() -> None:
    blocks, projection = volumes(40), gaussian_projection()
    flat = unit_norm(torch.stack([central(b) for b in blocks]))
    prints = fingerprints(flat, projection).flatten(1)
    wrong = (prints @ prints.T - flat.flatten(1) @ flat.flatten(1).T)[np.triu_indices(40, 1)]
    assert float(wrong.std()) < 0.04 and abs(float(wrong.mean())) < 0.01


def test_the_highest_estimate_is_near_the_highest_correlation() -> None:
    blocks, projection = volumes(6), gaussian_projection()
    known = fingerprints(torch.stack([central(b) for b in blocks[1:]]), projection)
    found = highest_ncc(blocks[0], known, projection)
    exact = [exact_ncc(blocks[0], central(b)) for b in blocks[1:]]
    np.testing.assert_allclose(found.numpy(), exact, atol=0.12)
    assert max(exact) < 0.6


def test_a_constant_patch_correlates_with_nothing() -> None:
    projection = gaussian_projection()
    known = fingerprints(volumes(2, EDGE), projection)
    assert float(highest_ncc(torch.full((WINDOW,) * 3, 0.3), known, projection).abs().max()) < 1e-3


def test_shifts_are_all_positions_of_the_patch_in_its_window() -> None:
    block = torch.arange(WINDOW**3).float().reshape((WINDOW,) * 3)
    every = shifted(block)
    assert every.shape == ((2 * SHIFT + 1) ** 3, EDGE, EDGE, EDGE)
    assert len(every[:, 0, 0, 0].unique()) == len(every)
    torch.testing.assert_close(every[len(every) // 2], central(block))


def test_a_window_at_the_border_repeats_the_nearest_voxel() -> None:
    values = np.random.default_rng(0).random((30, 30, 30))
    inside = window(values, np.array([15, 15, 15]))
    np.testing.assert_allclose(inside.numpy(), values[4:26, 4:26, 4:26], rtol=1e-6)
    corner = window(values, np.array([0, 29, 15])).numpy()
    assert corner.shape == (WINDOW,) * 3 and (corner[:11] == corner[11]).all()


def cube(edge: int, size: int = 40) -> NDArray:
    mask = np.zeros((size,) * 3, bool)
    mask[5 : 5 + edge, 5 : 5 + edge, 5 : 5 + edge] = True
    return mask


def test_a_small_lesion_has_one_centre_and_a_large_one_a_centre_a_cell() -> None:
    assert centres_of(cube(5)).tolist() == [[7, 7, 7]]
    assert centres_of(cube(1)).tolist() == [[5, 5, 5]]
    assert len(centres_of(cube(14))) == 8


def test_a_patch_around_any_voxel_of_a_lesion_is_within_reach_of_a_training_patch() -> None:
    lesion = np.random.default_rng(0).random((25, 19, 30)) < 0.03
    known, _ = cells_of(lesion)
    for turned in (lesion, lesion[::-1, :, ::-1]):
        centres = centres_of(turned)
        back = centres if turned is lesion else np.array([24, 0, 29]) - centres * [1, -1, 1]
        assert (np.abs(back[:, None] - known).max(2).min(1) <= SHIFT).all()
        assert all(turned[tuple(centre)] for centre in centres)
