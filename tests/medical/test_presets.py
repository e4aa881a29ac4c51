"""Presets: textures of real lesions against what stands around them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from domains.medical.data import Volume
from domains.medical.lesions import add as adding
from domains.medical.lesions.conditioning import CONTRASTS, mean_of
from domains.medical.lesions.model import Fill, LesionModel, pulls
from domains.medical.lesions.operations import PRESETS
from domains.medical.lesions.patches import ms_patients
from domains.medical.lesions.presets import Preset, asked_at, eroded, load_presets, surroundings
from domains.medical.lesions.quality import LesionReport, Reference
from domains.medical.lesions.real_lesions import groups_of, kmeans, lesions_of_subjects
from shared.errors import UserError
from tests.medical.lesion_world import ball, small_brain
from tests.medical.nifti_files import SHARED_DATA

torch.set_num_threads(1)
BRAINS = SHARED_DATA / "medical" / "ms_brains"
SHAPE = (24, 24, 24)


def scene(level: float, halo: float = 0.0) -> tuple[NDArray, NDArray, NDArray]:
    """Tissue at `level` with a ball in it, whose core is 0.4 and whose edge 0.2 above, and a halo that touches it."""
    mask = ball(SHAPE, (12, 12, 12), 5)
    core = eroded(mask)
    touching = ball(SHAPE, (12, 12, 12), 6.2) & ~mask
    values = np.full(SHAPE, level)
    values[touching] += halo
    values[mask & ~core], values[core] = level + halo + 0.2, level + 0.4
    return np.stack([values] * len(CONTRASTS)).astype(np.float32), mask, ~mask


def test_a_preset_asks_for_the_same_step_in_another_scan() -> None:
    preset = Preset.of(*scene(0.0))
    for level in (-0.3, 0.25):
        unit, mask, tissue = scene(level)
        unit[:, mask] = 0.9  # what is in the mask before is of no account
        asked = asked_at(preset, unit, mask, tissue)
        (edge_mask, edge), (core_mask, core) = asked.layers
        assert (edge_mask | core_mask == mask).all() and not (edge_mask & core_mask).any()
        assert mean_of(edge["T1"]) == pytest.approx(level + 0.2, abs=0.07)  # a bin is 0.125 wide
        assert mean_of(core["T1"]) == pytest.approx(level + 0.4, abs=0.07)
        share = core_mask.sum() / mask.sum()
        np.testing.assert_allclose(asked.whole["T2"], (1 - share) * edge["T2"] + share * core["T2"], atol=1e-6)


def test_the_halo_of_the_lesion_it_was_learned_from_adds_nothing_to_the_step() -> None:
    plain, haloed = Preset.of(*scene(0.0)), Preset.of(*scene(0.0, halo=0.15))
    assert haloed.edge["FLAIR"].mean() == pytest.approx(plain.edge["FLAIR"].mean(), abs=1e-6)


def test_a_small_lesion_is_mostly_edge_and_so_fainter_than_a_large_one() -> None:
    preset = Preset.of(*scene(0.0))
    unit = np.zeros((len(CONTRASTS), *SHAPE), np.float32)
    means = []
    for radius in (1.5, 5):
        mask = ball(SHAPE, (12, 12, 12), radius)
        means.append(mean_of(asked_at(preset, unit, mask, ~mask).whole["FLAIR"]))
    assert means[0] < means[1] - 0.03


def test_tissue_that_is_no_surrounding_is_not_looked_at() -> None:
    unit, mask, tissue = scene(0.1)
    clean = surroundings(unit, mask, tissue)
    unit[:, 14:, :, :][:, ~mask[14:]] = -1.0
    tissue[14:] = False
    again = surroundings(unit, mask, tissue)
    assert np.array_equal(clean.touching, again.touching) and np.array_equal(clean.around, again.around)
    assert clean.edge == again.edge


def test_given_histograms_are_asked_for_as_they_are_unless_jittered() -> None:
    unit, mask, tissue = scene(0.0)
    bins = np.full(16, 1 / 16, np.float32)
    asked = asked_at({"FLAIR": bins}, unit, mask, tissue, ("FLAIR",))
    assert np.array_equal(asked.whole["FLAIR"], bins) and len(asked.layers) == 1
    moved = asked_at({"FLAIR": bins}, unit, mask, tissue, ("FLAIR",), np.random.default_rng(0)).whole["FLAIR"]
    assert 0 < np.abs(moved / bins - 1).max() < 0.25


def test_each_layer_is_pulled_towards_its_own_histogram() -> None:
    unit, mask, tissue = scene(0.0)
    asked = asked_at(Preset.of(unit, mask, tissue), unit, mask, tissue)
    fill = Fill(unit, mask, asked.whole, 0, asked.layers)
    edge, core = pulls([fill], CONTRASTS, {})
    assert int(edge.where.sum()) + int(core.where.sum()) == mask.sum()  # type: ignore[attr-defined]
    means = [mean_of(one.histogram[0, 0].numpy()) for one in (edge, core)]  # type: ignore[attr-defined]
    assert means[0] < means[1] - 0.1


def test_the_shipped_presets_are_named_in_the_order_of_their_brightness() -> None:
    presets = load_presets()
    assert tuple(presets) == PRESETS
    contrasts = [one.contrast for one in presets.values()]
    assert contrasts == sorted(contrasts) and contrasts[-1] - contrasts[0] > 0.1


@pytest.mark.parametrize("content", ["", "{}", '{"presets": {"faint": {"edge": {}}}}', '{"presets": {"faint": 3}}'])
def test_a_damaged_file_of_presets_is_refused_with_its_remedy(tmp_path: Path, content: str) -> None:
    path = tmp_path / "presets.json"
    path.write_text(content)
    with pytest.raises(UserError, match="lesion-reference"):
        load_presets(path)


def test_clusters_are_numbered_by_brightness() -> None:
    rows = np.repeat([[0.9, 1.0], [0.1, 0.2], [0.5, 0.6]], 4, axis=0)
    assert kmeans(rows, 3).tolist() == [2] * 4 + [0] * 4 + [1] * 4


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the folder ../shared/data is absent")
def test_real_lesions_of_a_brighter_group_are_brighter() -> None:
    lesions = lesions_of_subjects(ms_patients(BRAINS))
    groups = groups_of(lesions)
    means = [
        np.mean([one.against[0].mean() for one, g in zip(lesions, groups, strict=True) if g == n]) for n in PRESETS
    ]
    assert means == sorted(means) and means[2] > means[0] + 0.15


# -- drawing again -----------------------------------------------------------------------------------------------------


class Scripted:
    """A model whose draws are numbered, so that a report can be scripted for each."""

    def __init__(self) -> None:
        self.draws = 0

    def calls(self, *_: Any) -> int:
        return 1

    def fill(self, fills: list[Fill], *_: Any, **__: Any) -> list[NDArray]:
        self.draws += 1
        return [np.full_like(fill.unit, self.draws / 100) for fill in fills]


def vary_with(monkeypatch: pytest.MonkeyPatch, failures: list[list[tuple[str, str]]]) -> tuple[adding.Variation, int]:
    """A variation whose k-th draw fails as scripted."""
    volumes: Mapping[str, Volume]
    volumes, mask = small_brain()
    model = Scripted()

    def scripted(*_: Any) -> tuple[LesionReport, ...]:
        failed = tuple(failures[model.draws - 1])
        return (LesionReport(1, 0.001, 1.0, {}, {}, {}, tuple(f"{a} {b}" for a, b in failed), failed),)

    monkeypatch.setattr(adding, "_reports", scripted)
    made = adding.vary(
        adding.prepare(volumes, mask),
        model,
        load_presets()["typical"],
        seed=0,
        reference=Reference.load(),
    )
    return made, model.draws


def test_what_failed_twice_for_the_same_reason_is_not_drawn_a_third_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made, draws = vary_with(monkeypatch, [[("T1", "seam")]] * 4)
    assert draws == 2 and made.redraws == 1 and not made.reports[0].passed


def test_a_draw_that_fails_for_another_reason_is_followed_by_another_and_the_best_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    two, one, other = [("T1", "seam"), ("T2", "seam")], [("FLAIR", "histogram")], [("T2", "seam"), ("T1", "histogram")]
    made, draws = vary_with(monkeypatch, [two, one, other, two])
    assert draws == 4 and made.redraws == 3
    assert made.reports[0].failed == tuple(one)


def test_a_passing_draw_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made, draws = vary_with(monkeypatch, [[("T1", "seam")], []])
    assert draws == 2 and made.redraws == 1 and made.reports[0].passed


def test_the_model_that_ships_is_asked_for_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Fill] = []

    def fill(self: LesionModel, fills: list[Fill], *_: Any, **__: Any) -> list[NDArray]:
        seen.extend(fills)
        return [one.unit for one in fills]

    monkeypatch.setattr(LesionModel, "fill", fill)
    volumes, mask = small_brain()
    prepared = adding.prepare(volumes, mask)
    adding.vary(prepared, LesionModel.from_pretrained(), load_presets()["bright"], seed=0)
    (edge, _), (core, _) = seen[0].layers
    assert (edge | core == prepared.patch_masks[0]).all()
    assert not (prepared.patch_tissue[0] & prepared.patch_masks[0]).any()
