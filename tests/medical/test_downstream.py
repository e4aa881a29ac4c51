"""The downstream experiment: fair arms, honest scores, intervals that mean what they say, runs that go on."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from domains.medical.lesions.conditioning import histogram
from domains.medical.lesions.downstream import lesion_model, origin, patients, segmenter, tables
from domains.medical.lesions.downstream.cells import World, run_all
from domains.medical.lesions.downstream.patients import (
    Patient,
    PatientPlan,
    cuts,
    patches_with,
    patches_without,
    patient,
    run_patients,
    volume_scores,
)
from domains.medical.lesions.downstream.plan import ARMS, SMALL, Plan
from domains.medical.lesions.downstream.scores import alarms, dice_of, scores
from domains.medical.lesions.downstream.statistics import Interval, bootstrap, verdict
from domains.medical.lesions.downstream.synthesis import copy_pasted, hand_crafted, placed
from domains.medical.lesions.patches import ms_patients
from domains.medical.lung2d import lesion_free, with_nodules
from shared.errors import UserError
from shared.networks.unet import UNet

TINY = Plan(
    seeds=(900,), runs=1, real=8, carriers=6, test_with=6, test_free=4, model_steps=2, model_rows=2, segmenter_steps=2
)


CELL = {"dice": [0.5], "cpu_seconds": 1.0}


@pytest.fixture(scope="module")
def placement():
    real = with_nodules(10, 1)
    return real, placed(real.images, real.masks, lesion_free(30, 2).images, np.random.default_rng(3))


# --------------------------------------------------------------------------------------------------------- synthesis


def test_a_placed_lesion_is_its_source_turned_and_moved(placement):
    real, made = placement
    for mask, pasted, source in zip(made.masks, made.pasted, made.sources, strict=True):
        assert np.array_equal(np.sort(pasted[mask]), np.sort(real.images[source][real.masks[source]]))


def test_every_way_of_filling_changes_the_lesion_and_nothing_else(placement):
    _, made = placement
    for filled in (copy_pasted(made), hand_crafted(made, np.random.default_rng(0))):
        assert np.array_equal(filled[~made.masks], made.carriers[~made.masks])
        assert (filled[made.masks] != made.carriers[made.masks]).mean() > 0.9


def test_a_hand_crafted_lesion_has_the_level_of_its_source_and_no_structure(placement):
    _, made = placement
    filled = hand_crafted(made, np.random.default_rng(0), grain=0.01)
    for image, mask, pasted in zip(filled, made.masks, made.pasted, strict=True):
        assert abs(image[mask].mean() - pasted[mask].mean()) < 0.01
        assert image[mask].std() < 0.02


def test_lesions_stay_where_they_are_allowed():
    real = with_nodules(6, 1)
    allowed = np.zeros((40, 48, 48), bool)
    allowed[:, 12:44, 12:44] = True
    made = placed(
        real.images, real.masks, np.zeros((40, 48, 48), np.float32), np.random.default_rng(0), allowed=allowed
    )
    assert (made.masks & allowed).sum() / made.masks.sum() > 0.98


def test_chances_choose_the_sources():
    real = with_nodules(4, 1)
    made = placed(
        real.images, real.masks, lesion_free(20, 2).images, np.random.default_rng(0), chances=np.array([0, 0, 1.0, 0])
    )
    assert set(made.sources) == {2}


def test_a_window_holds_the_whole_lesion():
    patches, rng = with_nodules(60, 4), np.random.default_rng(0)
    for mask in patches.masks:
        y, x = lesion_model.window_start(mask, rng)
        inside = mask[y : y + lesion_model.WINDOW, x : x + lesion_model.WINDOW]
        assert inside.shape == (lesion_model.WINDOW,) * 2 and inside.sum() == mask.sum()


def test_training_windows_are_a_pure_function_of_the_step_and_carry_their_own_histogram():
    patches = with_nodules(5, 4)
    windows = lesion_model.Windows(patches.images, patches.masks, rows=3, seed=1)
    first, again = windows(7), windows(7)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["x0"], windows(8)["x0"])
    wanted = histogram(first["x0"][0, 0].numpy(), first["mask"][0, 0].numpy())
    assert np.array_equal(first["histogram"][0].numpy(), wanted)


def test_the_lesion_loss_looks_inside_the_lesion_alone():
    patches = with_nodules(4, 4)
    batch = lesion_model.Windows(patches.images, patches.masks, rows=4, seed=1)(0)
    network = UNet(lesion_model.NETWORK)

    def loss(x0):
        return lesion_model.lesion_loss(network, batch | {"x0": x0}, torch.Generator().manual_seed(0))

    outside = torch.where(batch["mask"], batch["x0"], 0.5)
    assert torch.equal(loss(batch["x0"]), loss(outside))  # a fresh network says 0 whatever it sees
    assert not torch.equal(loss(batch["x0"]), loss(torch.where(batch["mask"], 0.5, batch["x0"])))


def test_a_filled_patch_equals_its_carrier_outside_the_mask_bit_for_bit(placement):
    _, made = placement
    torch.manual_seed(0)
    network = UNet(lesion_model.NETWORK).eval()
    wanted = np.full((2, 16), 1 / 16, np.float32)
    filled = lesion_model.fill(network, made.carriers[:2], made.masks[:2], wanted, [1, 2])
    outside = ~made.masks[:2]
    assert np.array_equal(filled[outside], made.carriers[:2][outside])
    assert (filled[~outside] != made.carriers[:2][~outside]).all() and np.abs(filled).max() <= 1
    alone = lesion_model.fill(network, made.carriers[1:2], made.masks[1:2], wanted[1:], [2])
    assert np.allclose(alone[0], filled[1], atol=2e-2)  # its own seed decides, not its batch


# --------------------------------------------------------------------------------------------------------- segmenter


def test_half_of_a_batch_has_a_lesion_where_the_set_has_empty_patches():
    patches, free = with_nodules(3, 0), lesion_free(50, 0)
    images, masks = np.concatenate([patches.images, free.images]), np.concatenate([patches.masks, free.masks])
    mixed = segmenter.Batches(images, masks, rows=16, seed=0)(5)
    assert mixed["mask"].flatten(1).any(1).sum() == 8
    full = segmenter.Batches(patches.images, patches.masks, rows=16, seed=0)(5)
    assert full["mask"].flatten(1).any(1).all()


def test_image_and_mask_turn_together():
    patches = with_nodules(3, 0)
    batch = segmenter.Batches(np.where(patches.masks, 1, -1).astype(np.float32), patches.masks, rows=24, seed=0)(0)
    assert torch.equal(batch["image"] > 0, batch["mask"])


def test_the_loss_is_least_for_the_right_answer_and_an_empty_answer_costs_a_whole_dice():
    masks = torch.from_numpy(with_nodules(4, 0).masks)[:, None]
    right, empty = torch.where(masks, 9.0, -9.0), torch.full(masks.shape, -9.0)
    assert segmenter.segmentation_loss(right, masks).max() < 0.01
    assert segmenter.segmentation_loss(empty, masks).min() > 0.9
    assert segmenter.segmentation_loss(right, masks).shape == (4,)


def test_a_segmenter_learns_what_is_bright():
    patches = with_nodules(12, 0, (0, 0, 1))
    images = np.where(patches.masks, 0.8, -0.8).astype(np.float32)
    network = segmenter.train(images, patches.masks, steps=60, rows=8, lr=1e-2, seed=0)
    said = segmenter.segmented(network, images)
    assert dice_of(said, patches.masks) > 0.9


# ------------------------------------------------------------------------------------------------ scores, statistics


def test_scores_tell_found_from_missed_and_count_false_alarms():
    truth = np.zeros((3, 20, 20), bool)
    truth[:2, 2:8, 2:8] = True
    said = np.zeros_like(truth)
    said[0, 2:8, 2:5] = True  # half of the lesion
    said[1, 12:16, 12:16] = True  # beside it
    said[2, 0:3, 0:3] = said[2, 10:13, 10:13] = True
    said[2, 18, 18] = True  # too small to count
    found = scores(said, truth)
    assert found.dice[0] == pytest.approx(2 / 3) and found.dice[1] == 0 and np.isnan(found.dice[2])
    assert found.found[0] == 1 and found.found[1] == 0 and np.isnan(found.found[2])
    assert list(found.alarms) == [0, 1, 2]
    assert alarms(truth[2], truth[2]) == 0 and dice_of(truth[2], truth[2]) == 1


def test_the_interval_covers_the_mean_about_as_often_as_it_says():
    rng, covered = np.random.default_rng(0), 0
    for trial in range(120):
        values = rng.normal(0, 1, (12, 1)) + rng.normal(0, 0.5, (12, 30))
        interval = bootstrap(values, draws=400, seed=trial)
        covered += interval.low <= 0 <= interval.high
    assert 0.85 <= covered / 120 <= 1.0


def test_the_interval_knows_that_seeds_differ():
    """Few seeds that differ make a wide interval, however many patches each holds."""
    values = np.array([0.0, 0.1, 0.2, 0.3, 0.4])[:, None] + np.zeros((5, 1000))
    interval = bootstrap(values)
    assert interval.value == pytest.approx(0.2) and interval.high - interval.low > 0.15


def test_patches_that_do_not_count_are_left_out():
    values = np.array([[1.0, np.nan, 1.0], [1.0, 1.0, np.nan]])
    assert bootstrap(values) == Interval(1.0, 1.0, 1.0)
    assert np.isnan(bootstrap(np.full((2, 2), np.nan)).value)


@pytest.mark.parametrize(
    ("real", "hand", "said"), [(0.01, 0.0, "held"), (0.01, -0.01, "partly held"), (0.0, -0.01, "not held")]
)
def test_the_verdict_follows_the_lower_ends(real, hand, said):
    assert verdict(Interval(0.1, real, 0.2), Interval(0.1, hand, 0.2)) == said


# ------------------------------------------------------------------------------------------------------------- cells


def test_a_run_goes_on_where_it_was_and_refuses_another_plan(tmp_path):
    said: list[str] = []
    cells = run_all(TINY, tmp_path, say=said.append)
    assert len(said) == len(ARMS) and {arm for _, arm in cells} == set(ARMS)
    kept = (tmp_path / "main-900-real.json").read_bytes()
    (tmp_path / "main-900-copy_paste.json").unlink()
    said.clear()
    again = run_all(TINY, tmp_path, say=said.append)
    assert len(said) == 1 and "copy_paste" in said[0]
    assert again[900, "copy_paste"]["dice"] == cells[900, "copy_paste"]["dice"]
    assert (tmp_path / "main-900-real.json").read_bytes() == kept
    with pytest.raises(UserError, match=r"main-900-real\.json: was made with another plan; choose another"):
        run_all(replace(TINY, runs=2), tmp_path, say=said.append)


def test_cells_and_half_trained_models_of_other_code_are_not_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr("domains.medical.lesions.downstream.cells.run_cell", lambda world, arm: CELL)
    run_all(TINY, tmp_path, say=lambda line: None)
    before = World(TINY, "main", 900, tmp_path).model_folder
    changed = tmp_path / "synthesis.py"
    changed.write_text("other = True\n")
    monkeypatch.setattr(origin, "SOURCE", (*origin.SOURCE, changed))
    assert World(TINY, "main", 900, tmp_path).model_folder != before
    with pytest.raises(UserError, match="was made with another source; "):
        run_all(TINY, tmp_path, say=lambda line: None)


def test_cells_of_patients_know_their_plan_and_their_code(tmp_path, monkeypatch):
    asked: list[str] = []

    def scored(pair, arm):
        asked.append(arm)
        return {**CELL, "runs": [{"dice": 0.5}]}

    monkeypatch.setattr(patients, "ms_patients", lambda data, names: names)
    monkeypatch.setattr(patients, "patient", lambda one: one)
    monkeypatch.setattr(patients, "run_pair", scored)
    plan = PatientPlan()
    first = run_patients(plan, tmp_path, tmp_path, say=lambda line: None)
    assert len(asked) == len(first) == 6
    assert run_patients(plan, tmp_path, tmp_path) == first and len(asked) == 6
    with pytest.raises(UserError, match="was made with another plan; "):
        run_patients(replace(plan, runs=1), tmp_path, tmp_path)
    monkeypatch.setattr(origin, "SOURCE", origin.SOURCE[1:])
    with pytest.raises(UserError, match="was made with another source; "):
        run_patients(plan, tmp_path, tmp_path)
    assert len(asked) == 6


def test_what_makes_a_cell_is_part_of_its_source_and_what_reports_it_is_not():
    names = {file.name for file in origin.SOURCE}
    assert {"cells.py", "synthesis.py", "segmenter.py", "patients.py", "lung2d.py"} <= names
    assert not names & {"tables.py", "statistics.py", "__main__.py"}


def test_the_cost_is_that_of_every_variant_and_of_the_patients():
    lung, rare, two = ({k: {"cpu_seconds": seconds} for k in range(3)} for seconds in (60.0, 20.0, 10.0))
    assert tables.cost_entries(lung, rare, two)["cpu_minutes_all"]["value"] == pytest.approx(4.5)


def test_arms_differ_only_in_what_they_add(tmp_path, monkeypatch):
    world = World(TINY, "main", 900, tmp_path)
    real, free = world.training_set("real"), world.training_set("lesion_free")
    assert len(real[0]) == TINY.real and len(free[0]) == TINY.real + TINY.carriers
    assert np.array_equal(free[0][: TINY.real], real[0]) and not free[1][TINY.real :].any()
    hand, copied, made = (world.training_set(arm) for arm in ("hand_crafted", "copy_paste", "lefusion"))
    assert np.array_equal(hand[1], copied[1]) and np.array_equal(hand[1], made[1])  # the same masks
    outside = ~hand[1][TINY.real :]
    for arm in (hand, copied, made):
        assert np.array_equal(arm[0][TINY.real :][outside], world.carriers[outside])  # on the same carriers
    assert len(world.training_set("both")[0]) == TINY.real + 2 * TINY.carriers
    assert np.array_equal(world.training_set("synthetic_only")[0], made[0][TINY.real :])


def test_test_patches_are_never_training_patches_and_hold_normal_ones(tmp_path):
    world = World(Plan(), "main", 900, tmp_path)
    test = {image.tobytes() for image in world.test.images}
    assert not test & {image.tobytes() for image in (*world.real.images, *world.carriers)}
    assert (world.test.kinds < 0).sum() == Plan().test_free


def test_the_rare_type_is_rare_in_training_and_asked_for_half_of_the_time(tmp_path):
    world = World(Plan(), "long_tail", 900, tmp_path)
    solid = world.real.kinds == 2
    assert solid.sum() == 2 and len(world.real) == 24
    assert world.chances is not None and world.chances[solid].sum() == pytest.approx(0.5)
    assert (world.test.kinds == 2).mean() > 0.15


# ------------------------------------------------------------------------------------------------------------ tables


def invented(levels: dict[str, float], seeds: int = 5) -> dict:
    """Cells of a made-up outcome: Dice around a level an arm."""
    rng, cells = np.random.default_rng(0), {}
    kinds, radii = rng.integers(0, 3, 40).tolist(), rng.uniform(3, 7.5, 40).tolist()
    for seed in range(seeds):
        easy = rng.normal(0, 0.1, 40)
        for arm, level in levels.items():
            cells[seed, arm] = {
                "dice": (level + easy + rng.normal(0, 0.01, 40)).tolist(),
                "found": [1.0] * 40,
                "alarms": [0.1] * 40 + [0.3] * 20,
                "kinds": kinds,
                "radii": radii,
                "cpu_seconds": 1.0,
                "correlation": 0.9,
                "distance": 0.5,
                "distance_shuffled": 0.9,
            }
    return cells


def test_the_tables_show_every_arm_and_the_verdict_of_the_rule():
    levels = dict.fromkeys(ARMS, 0.7) | {"lefusion": 0.75, "lesion_free": 0.6}
    entries = tables.lung_entries(invented(levels))
    assert [row[0] for row in entries["arms"]["rows"]] == list(ARMS.values())  # the losing ones too
    assert entries["verdict"]["value"] == "held" and entries["over_real"]["low"] > 0.03
    assert entries["arms"]["rows"][1][2].startswith("-0.1")
    assert entries["arms"]["rows"][0][4:] == ["0.100", "0.300"]
    worse = tables.lung_entries(invented(levels | {"lefusion": 0.65}))
    assert worse["verdict"]["value"] == "not held" and worse["over_real"]["high"] < 0
    json.dumps(entries, allow_nan=False)


def test_the_hypothesis_is_judged_on_the_rare_type():
    levels = {"real": 0.5, "copy_paste": 0.7, "lefusion": 0.6}
    assert tables.long_tail_entries(invented(levels))["long_tail_verdict"]["value"] == "contradicted"
    levels["copy_paste"] = 0.5
    assert tables.long_tail_entries(invented(levels))["long_tail_verdict"]["value"] == "supported"


# ---------------------------------------------------------------------------------------------------------- patients


def a_patient() -> Patient:
    rng = np.random.default_rng(0)
    lesions = np.zeros((96, 104, 12), bool)
    lesions[20:26, 30:37, 4:9] = lesions[60:70, 60:66, 5:8] = lesions[40, 40, 3] = True
    brain = np.zeros_like(lesions)
    brain[4:92, 4:100] = True
    return Patient(rng.normal(0, 0.1, lesions.shape).astype(np.float32), lesions, brain)


def test_patches_of_a_patient_hold_lesions_or_none():
    one, rng = a_patient(), np.random.default_rng(1)
    images, masks = patches_with(one, 20, rng)
    assert images.shape == masks.shape == (20, 48, 48) and masks.any((1, 2)).all()
    free, brains = patches_without(one, 10, rng)
    assert free.shape == brains.shape and brains.mean() > 0.9
    with pytest.raises(UserError, match="lesion-free"):
        patches_without(replace(one, lesions=np.ones_like(one.lesions)), 2, rng)


def test_only_lesions_of_a_useful_size_are_pasted():
    masks = np.zeros((2, 48, 48), bool)
    masks[0, 5:10, 5:10] = masks[0, 30, 30] = True
    masks[1, 2:40, 20:24] = True  # too long for a window
    images, pieces = cuts(np.zeros(masks.shape, np.float32), masks)
    assert len(pieces) == len(images) == 1 and pieces[0].sum() == 25


def test_scores_of_a_volume_count_lesions_and_alarms_of_twenty_voxels():
    truth = a_patient().lesions
    said = np.zeros_like(truth)
    said[20:26, 30:37, 4:9] = said[80:84, 80:84, 2:6] = said[10, 10, 1] = True
    found = volume_scores(said, truth)
    assert found["found"] == 0.5 and found["alarms"] == 1
    assert found["dice"] == pytest.approx(2 * 210 / (int(said.sum()) + int(truth.sum())))


def test_a_real_patient_gives_whole_slices_and_brighter_lesions(shared_data):
    (one,) = map(patient, ms_patients(shared_data / "medical" / "ms_brains", ["07"]))
    assert all(n % 8 == 0 for n in one.flair.shape[:2]) and one.flair.dtype == np.float32
    assert one.flair[one.lesions].mean() > one.flair[one.brain & ~one.lesions].mean() + 0.2
    assert (one.lesions & one.brain).sum() > 0.99 * one.lesions.sum()


# ------------------------------------------------------------------------------------------------------------- slow


@pytest.mark.prove
def test_a_small_run_follows_textures_and_does_not_hurt(tmp_path):
    cells = run_all(SMALL, tmp_path)
    real, made = (float(np.mean(cells[900, arm]["dice"])) for arm in ("real", "lefusion"))
    assert cells[900, "lefusion"]["correlation"] > 0.7
    assert made >= real - 0.01
