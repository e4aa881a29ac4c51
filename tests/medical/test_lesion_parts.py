"""The parts of the lesion app: intensity scale, histograms, placement, patches, the plan of calls."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from domains.medical.data import read_mask, read_volume
from domains.medical.lesions.add import tolerances
from domains.medical.lesions.conditioning import (
    BINS,
    Scale,
    brain_mask,
    condition,
    histogram,
    jittered,
    mean_of,
    read_texture,
)
from domains.medical.lesions.model import Fill, LesionModel, route
from domains.medical.lesions.patches import LesionPatches, Subject
from domains.medical.lesions.placement import LARGEST, LONGEST_MM, Site, count_lesions, lesions_of, sites_of
from domains.medical.lesions.quality import Reference, histogram_distance
from domains.medical.lesions.train import Size, WiderPatches, lesion_loss, new_network
from domains.medical.page.words import EXPLAIN
from shared.errors import UserError
from tests.medical.lesion_world import ball, untrained
from tests.medical.nifti_files import SHARED_DATA


def test_scale_does_not_depend_on_gain_and_offset_of_the_scanner() -> None:
    rng = np.random.default_rng(0)
    values = np.zeros((20, 20, 20), np.float32)
    values[4:16, 4:16, 4:16] = 100 + 20 * rng.standard_normal((12, 12, 12))
    brain = brain_mask(values)
    assert brain.sum() == 12**3
    unit = Scale.of(values, brain).to_unit(values)
    louder = np.where(brain, 3 * values + 7, 0).astype(np.float32)
    np.testing.assert_allclose(Scale.of(louder, brain).to_unit(louder)[brain], unit[brain], atol=1e-5)


def test_scale_goes_to_units_and_back() -> None:
    scale = Scale(80.0, 50.0)
    values = np.linspace(31, 129, 50, dtype=np.float32)
    np.testing.assert_allclose(scale.from_unit(scale.to_unit(values)), values, rtol=1e-6)


def test_histogram_is_shares_of_sixteen_bins_over_the_range() -> None:
    unit = np.linspace(-1, 1, 1600).reshape(1, 40, 40)
    shares = histogram(unit, np.ones_like(unit, bool))
    assert shares.shape == (BINS,)
    np.testing.assert_allclose(shares, 1 / BINS, atol=1e-3)
    assert histogram(unit, np.zeros_like(unit, bool)).sum() == 0
    assert mean_of(np.eye(BINS)[0]) == pytest.approx(-1 + 1 / BINS)


def test_jitter_stays_within_a_tenth_of_each_bin_and_sums_to_one() -> None:
    wanted = np.array([0.5, 0.3, 0.2] + [0] * 13)
    for seed in range(20):
        moved = jittered(wanted, np.random.default_rng(seed))
        assert moved.sum() == pytest.approx(1, abs=1e-6)
        assert (np.abs(moved - wanted) <= 0.21 * wanted).all()  # 10 % of the bin, then the sum is made 1 again
        assert (moved[3:] == 0).all()


def test_condition_is_zero_for_a_contrast_that_is_absent() -> None:
    histograms, presence = condition({"T1": np.ones(BINS) / BINS}, ["T1"])
    assert presence.tolist() == [0, 1, 0]
    assert histograms.reshape(3, BINS).sum(1) == pytest.approx([0, 1, 0])


@pytest.mark.parametrize(
    "content",
    ["not json", "[]", "{}", json.dumps({"FLAIR": [1] * 15}), json.dumps({"FLAIR": [-1] + [1] * 15}),
     json.dumps({"FLAIR": [0] * 16}), json.dumps({"FLAIR": ["a"] * 16}), json.dumps({"T1": [1] * 16}),
     json.dumps({"FLAIR": [1e308] * 16}), json.dumps({"FLAIR": [10**400] + [1] * 15})],
)  # fmt: skip
def test_a_broken_texture_file_is_one_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "texture.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"texture\.json.*; give"):
        read_texture(path, ["FLAIR"])


def test_counts_in_a_texture_file_become_shares(tmp_path: Path) -> None:
    path = tmp_path / "texture.json"
    path.write_text(json.dumps({"FLAIR": [2] * 16}))
    np.testing.assert_allclose(read_texture(path, ["FLAIR"])["FLAIR"], 1 / BINS)


def test_sites_cover_every_lesion_voxel_once_and_close_lesions_share_a_patch() -> None:
    shape = (120, 120, 120)
    mask = ball(shape, (30, 30, 30), 3) | ball(shape, (38, 30, 30), 2) | ball(shape, (90, 90, 90), 5)
    sites = sites_of(mask, np.eye(4))
    assert len(lesions_of(mask)) == 3
    assert len(sites) == 2
    total = np.zeros(shape, int)
    for site in sites:
        total += site.mask
        assert all(edge % 8 == 0 and edge >= 32 for edge in site.size)
    assert (total == mask).all()


def test_a_lesion_of_32_mm_fits_a_patch_of_40() -> None:
    (site,) = sites_of(ball((100, 100, 100), (50, 50, 50), 16), np.eye(4))
    assert site.size == (40, 40, 40)


def test_a_lesion_too_long_for_a_patch_is_refused_with_its_length() -> None:
    mask = np.zeros((200, 40, 40), bool)
    mask[10:130, 20, 20] = True
    with pytest.raises(UserError, match="120 mm"):
        sites_of(mask, np.eye(4))


def chain(count: int, gap: int = 9) -> NDArray:
    """Small lesions in a row whose boxes touch, so that all of them hang together."""
    mask = np.zeros((20 + gap * count, 40, 40), bool)
    for k in range(count):
        mask[10 + gap * k : 12 + gap * k, 19:21, 19:21] = True
    return mask


def covered_once(sites: list[Site], mask: NDArray) -> bool:
    return bool((np.sum([site.mask for site in sites], axis=0, dtype=int) == mask).all())


def test_a_chain_of_small_lesions_longer_than_a_patch_is_cut_between_lesions() -> None:
    mask = chain(18)
    sites = sites_of(mask, np.eye(4))
    assert covered_once(sites, mask) and max(max(site.size) for site in sites) <= LARGEST
    labels = [len(lesions_of(site.mask)) for site in sites]
    assert sum(labels) == 18, "no lesion is cut in two"
    assert 1 < len(sites) < 18, "near lesions still share a patch, as in one patch they cost less"
    alone = 18 * 32**3
    assert sum(int(np.prod(site.size)) for site in sites) < alone


def test_cutting_one_chain_leaves_other_lesions_together() -> None:
    mask = np.zeros((190, 100, 40), bool)
    mask[:182, :40] = chain(18)
    mask[20:22, 80:82, 20:22] = mask[60:62, 80:82, 20:22] = mask[24:26, 86:88, 20:22] = True
    sites = sites_of(mask, np.eye(4))
    assert covered_once(sites, mask)
    far = [len(lesions_of(site.mask)) for site in sites if site.mask[:, 70:].any()]
    assert far == [2, 1]


def test_a_lesion_too_long_in_a_chain_is_refused_with_its_own_length() -> None:
    mask = np.zeros((220, 40, 40), bool)
    mask[10:110, 20, 20] = mask[114:150, 20, 20] = True
    with pytest.raises(UserError, match="a lesion of 100 mm is longer than 89 mm"):
        sites_of(mask, np.eye(4))


def test_the_page_names_the_length_at_which_a_lesion_is_refused() -> None:
    assert f"up to {LONGEST_MM:.0f} mm" in EXPLAIN
    for longer in (0, 1):
        mask = np.zeros((120, 40, 40), bool)
        mask[10 : 10 + int(LONGEST_MM) + longer, 20, 20] = True
        if longer:
            with pytest.raises(UserError, match=f"longer than {LONGEST_MM:.0f} mm"):
                sites_of(mask, np.eye(4))
        else:
            assert sites_of(mask, np.eye(4))[0].size == (LARGEST, 32, 32)


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the folder ../shared/data is absent")
def test_the_many_lesions_of_a_real_patient_are_placed() -> None:
    path = SHARED_DATA / "medical" / "ms_brains" / "patient01_lesions.nii.gz"
    volume = read_volume(path)
    mask = np.ascontiguousarray(volume.frame.to_ras(read_mask(path, volume)))
    sites = sites_of(mask, volume.frame.affine)
    assert count_lesions(mask) == 251 and covered_once(sites, mask)
    assert max(max(site.size) for site in sites) <= LARGEST and len(sites) < 251


def _subject(rng: np.random.Generator) -> Subject:
    unit = rng.uniform(-1, 1, (3, 40, 40, 40)).astype(np.float16)
    return Subject("one", unit, np.ones(3, bool), ball((40, 40, 40), (20, 20, 20), 6))


def test_training_batches_are_a_function_of_the_step() -> None:
    batches = LesionPatches([_subject(np.random.default_rng(0))], [1.0], size=16, rows=4)
    one, again, other = batches(7), batches(7), batches(8)
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not torch.equal(one["x0"], other["x0"])
    for row in range(4):
        shown = one["presence"][row].bool()
        assert shown.any()
        assert (one["x0"][row][~shown] == 0).all()
        sums = one["histogram"][row].reshape(3, BINS).sum(1)
        assert sums[shown].tolist() == pytest.approx([1] * int(shown.sum()), abs=1e-5)
        assert (sums[~shown] == 0).all()
        assert one["mask"][row].any()


def test_every_fourth_step_shows_fewer_and_wider_patches() -> None:
    size = Size(phantoms=0, steps=8, rows=8, edge=16, wide_rows=1, wide_edge=32, lr=1e-3)
    batches = WiderPatches.of([_subject(np.random.default_rng(0))], size)
    shapes = [tuple(batches(step)["x0"].shape) for step in range(8)]
    assert shapes == 2 * [*3 * [(8, 3, 16, 16, 16)], (1, 3, 32, 32, 32)]


def test_without_context_the_loss_looks_at_the_lesion_alone() -> None:
    batch = LesionPatches([_subject(np.random.default_rng(0))], [1.0], size=16, rows=2)(0)
    network = torch.nn.Module()
    network.forward = lambda x, time, cond: torch.zeros_like(x)
    inside, nothing = batch["mask"].expand_as(batch["x0"]), torch.zeros(())

    def loss(x0: torch.Tensor, context: float) -> torch.Tensor:
        return lesion_loss(network, {**batch, "x0": x0}, torch.Generator().manual_seed(0), context=context)

    changed_around = torch.where(inside, batch["x0"], nothing)
    assert torch.equal(loss(batch["x0"], 0.0), loss(changed_around, 0.0))
    assert not torch.equal(loss(batch["x0"], 0.3), loss(changed_around, 0.3))
    assert not torch.equal(loss(batch["x0"], 0.0), loss(torch.where(inside, nothing, batch["x0"]), 0.0))


def test_a_fresh_network_starts_the_same_for_the_same_seed() -> None:
    one, two = new_network().state_dict(), new_network().state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_sixty_steps_with_jumps_of_two_ask_118_times(tmp_path: Path) -> None:
    model = LesionModel.from_pretrained(untrained(tmp_path / "lesions.safetensors"))
    assert model.calls() == route().steps == 118
    unit, mask = np.zeros((3, 16, 16, 16), np.float32), ball((16, 16, 16), (8, 8, 8), 3)
    seen: list[tuple[int, int]] = []
    texture = {"FLAIR": np.ones(BINS, np.float32) / BINS}
    model.fill([Fill(unit, mask, texture, 1)], ["FLAIR"], progress=lambda done, total: seen.append((done, total)))
    assert model.denoiser.spent.calls == 118
    assert seen[-1] == (118, 118)


def test_a_lesion_does_not_depend_on_the_batch_it_is_made_in(tmp_path: Path) -> None:
    model = LesionModel.from_pretrained(untrained(tmp_path / "lesions.safetensors"), precise=True)
    rng = np.random.default_rng(0)
    mask = ball((16, 16, 16), (8, 8, 8), 3)
    texture = {"FLAIR": np.ones(BINS, np.float32) / BINS}
    fills = [Fill(rng.uniform(-1, 1, (3, 16, 16, 16)).astype(np.float32), mask, texture, seed) for seed in (3, 4)]
    together = model.fill(fills, ["FLAIR"], steps=10)
    alone = model.fill(fills[1:], ["FLAIR"], steps=10)
    np.testing.assert_allclose(together[1], alone[0], atol=2e-4)
    outside = ~mask
    assert np.array_equal(together[0][0][outside], fills[0].unit[0][outside])


def test_the_guided_lesion_has_the_asked_histogram_to_the_tolerance_and_the_scan_around_its_bits(
    tmp_path: Path,
) -> None:
    model = LesionModel.from_pretrained(untrained(tmp_path / "lesions.safetensors"), precise=True)
    unit = np.random.default_rng(0).uniform(-1, 1, (3, 16, 16, 16)).astype(np.float32)
    mask = ball((16, 16, 16), (8, 8, 8), 4)
    texture = {name: np.eye(BINS, dtype=np.float32)[[4, 9]].mean(0) for name in ("FLAIR", "T1")}

    def made(tolerance: dict[str, float] | None) -> NDArray:
        fill = Fill(unit, mask, texture, 1)
        return model.fill([fill], ["FLAIR", "T1"], steps=20, tolerance=tolerance)[0]

    def distance(patch: NDArray, channel: int) -> float:
        return histogram_distance(texture["T1"], histogram(patch[channel], mask))[0]

    plain, loose, guided = made(None), made({"FLAIR": 2.0, "T1": 2.0}), made({"FLAIR": 0.0, "T1": 0.2})
    assert np.array_equal(plain, loose)  # a tolerance that nothing exceeds pulls nothing
    assert np.array_equal(guided[:, ~mask], unit[:, ~mask])
    assert np.array_equal(guided[2], unit[2])  # a contrast that is absent is neither made nor pulled
    assert distance(plain, 1) > 0.3
    assert distance(guided, 0) < 0.02
    assert distance(guided, 1) == pytest.approx(0.2, abs=0.03)


def test_the_guidance_gives_each_contrast_a_share_of_its_limit_and_is_off_at_zero() -> None:
    limits = _limits({"FLAIR": 0.1, "T1": 0.2})
    assert tolerances(["FLAIR", "T1"], 0.0, limits) is None
    assert tolerances(["FLAIR", "T1"], 0.8, limits) == pytest.approx({"FLAIR": 0.02, "T1": 0.04})
    assert tolerances(["T1"], 1.0, limits) == {"T1": 0.0}


def _limits(limit: dict[str, float]) -> Reference:
    return Reference(torch.empty(0), {}, {}, {}, {}, {}, limit, {}, {})
