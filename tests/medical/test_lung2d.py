"""Lung patches: what the downstream experiment relies on."""

from __future__ import annotations

import time

import numpy as np
import pytest

from domains.medical.lesions.downstream.scores import dice_of
from domains.medical.lung2d import EDGE, KINDS, RADIUS, joined, lesion_free, to_unit, with_nodules


def test_a_patch_depends_on_its_seed_and_place_alone():
    long, short = with_nodules(8, 3), with_nodules(3, 3)
    assert np.array_equal(long.images[:3], short.images)
    assert np.array_equal(long.masks[:3], short.masks)
    assert not np.array_equal(with_nodules(3, 4).images, short.images)


def test_two_hundred_patches_take_less_than_three_seconds_of_one_core():
    start = time.process_time()
    patches = with_nodules(200, 0)
    assert time.process_time() - start < 3
    assert patches.images.shape == patches.masks.shape == (200, EDGE, EDGE)
    assert patches.images.dtype == np.float32 and np.abs(patches.images).max() <= 1


def test_every_nodule_lies_inside_its_patch_and_has_the_area_of_its_radius():
    patches = with_nodules(150, 1)
    area = patches.masks.sum((1, 2))
    assert (patches.radii >= RADIUS[0]).all() and (patches.radii <= RADIUS[1]).all()
    assert np.abs(area / (np.pi * patches.radii**2) - 1).max() < 0.35
    border = np.ones((EDGE, EDGE), bool)
    border[1:-1, 1:-1] = False
    assert not (patches.masks & border).any()


def test_kinds_have_the_densities_of_their_names():
    patches = with_nodules(150, 2)
    level = [np.median(patches.images[patches.kinds == k][patches.masks[patches.kinds == k]]) for k in range(3)]
    glass, tissue = to_unit(np.array([-650.0, -450.0])), to_unit(np.array([0.0, 60.0]))
    assert glass[0] < level[KINDS.index("ground-glass")] < glass[1]
    assert tissue[0] - 0.05 < level[KINDS.index("solid")] < tissue[1] + 0.05
    part = patches.images[patches.kinds == 1][patches.masks[patches.kinds == 1]]
    assert 0.15 < (part > 0.2).mean() < 0.6  # a dense core in a faint rim


def test_shares_choose_the_kinds():
    assert set(with_nodules(30, 5, (0, 0, 1)).kinds) == {2}
    counts = np.bincount(with_nodules(300, 5, (1, 1, 2)).kinds, minlength=3) / 300
    assert np.abs(counts - (0.25, 0.25, 0.5)).max() < 0.1


def test_lesion_free_patches_hold_everything_but_a_nodule():
    free = lesion_free(100, 7)
    assert not free.masks.any() and set(free.kinds) == {-1} and not free.radii.any()
    assert (free.images > 0.2).mean() > 0.02  # vessels and their cross-sections are there


@pytest.mark.parametrize("kind", range(3))
def test_no_threshold_tells_a_nodule_from_its_look_alikes(kind):
    patches = with_nodules(60, 11, np.eye(3)[kind])
    lows = np.linspace(-0.9, 0.6, 31)
    bands = [(patches.images > a) & (patches.images < b) for a in lows for b in (*lows[lows > a], 2)]
    assert max(dice_of(band, patches.masks) for band in bands) < 0.65


def test_joined_patches_keep_rows_together():
    both = joined(with_nodules(2, 0), lesion_free(3, 0))
    assert len(both) == 5 and both.masks[:2].any((1, 2)).all() and not both.masks[2:].any()
    assert list(both.take([0, 4]).kinds) == [both.kinds[0], -1]
