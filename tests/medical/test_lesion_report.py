"""The quality report speaks of what is written into the scan, whatever its grid, and of each lesion by itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from domains.medical.data import Volume
from domains.medical.geometry import crop_at_spacing, ras_frame, spacing_of
from domains.medical.lesions import add as adding
from domains.medical.lesions.add import Prepared
from domains.medical.lesions.conditioning import CONTRASTS, Scale, brain_mask, histogram
from domains.medical.lesions.model import Fill, LesionModel
from domains.medical.lesions.operations import ADD, AddLesions
from domains.medical.lesions.placement import lesions_of
from domains.medical.lesions.presets import load_presets
from domains.medical.lesions.quality import LesionReport, Reference, histogram_distance, report, seam
from domains.medical.page.results import Result, quality
from shared.front.operation import Outcome
from tests.medical.lesion_world import ball, brain_at, small_brain, untrained, written

QUICK = {"steps": 10, "jump": 1, "repeats": 1, "outside_training": True, "anywhere": True}


def silent(done: int, total: int, note: str = "", preview: object = None) -> None:
    """A report that nobody reads."""


def run(folder: Path, volumes: Mapping[str, Volume], mask: NDArray, **more: Any) -> Outcome:
    files = written(folder, volumes, mask)
    images = {name: str(files[name]) for name in volumes}
    weights = str(untrained(folder / "tiny.safetensors"))
    options = {**QUICK, "image": images, "mask": str(files["mask"]), "checkpoint": weights, "out": str(folder / "out")}
    return ADD.run(AddLesions(**{**options, **more}), silent)


@pytest.fixture(scope="module")
def fine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """Two balls 2 mm apart in a scan of 0.8 mm."""
    folder = tmp_path_factory.mktemp("fine")
    return folder, run(folder, *brain_at(0.8))


def step_over_a_mm(values: NDArray, mask: NDArray, spacing: float) -> float:
    """The mean absolute step between the points half a millimetre inside and outside of each face, a face at a time."""
    places = np.argwhere(mask)
    faces = [(voxel, side) for voxel in places for axis in range(3) for side in (np.eye(3)[axis], -np.eye(3)[axis])]
    faces = [(voxel, side) for voxel, side in faces if not mask[tuple((voxel + side).astype(int))]]
    middles, sides = (np.array([face[k] for face in faces]) for k in (0, 1))
    points = [middles + (0.5 + along / spacing) * sides for along in (0.5, -0.5)]
    outer, inner = (ndimage.map_coordinates(values.astype(np.float64), one.T, order=1) for one in points)
    return float(np.abs(outer - inner).mean())


def test_the_seam_and_histogram_of_the_report_are_those_of_the_written_file(fine: tuple[Path, Outcome]) -> None:
    folder, outcome = fine
    before, after = (nib.load(folder / name) for name in ("FLAIR.nii.gz", "out/syn_FLAIR.nii.gz"))
    frame = ras_frame(before.shape, before.affine)
    old, new = (np.asarray(frame.to_ras(one.get_fdata()), np.float32) for one in (before, after))
    scale = Scale.of(old, brain_mask(old))
    mask = frame.to_ras(nib.load(folder / "out" / "syn_lesions.nii.gz").get_fdata() > 0)
    told = outcome.report["variations"][0]["lesions"]
    asked = outcome.view["variations"][0].textures[0]["FLAIR"]
    for lesion, row in zip(lesions_of(mask), told, strict=True):
        for key, values in (("before", old), ("after", new)):
            assert row["seam"]["FLAIR"][key] == pytest.approx(
                step_over_a_mm(scale.to_unit(values), lesion, 0.8), rel=1e-3
            )
        distance, _ = histogram_distance(asked, histogram(scale.to_unit(new), lesion))
        assert row["histogram"]["FLAIR"]["wasserstein"] == pytest.approx(distance, abs=2e-3)


def test_the_report_has_one_entry_a_lesion_of_the_sentence_with_its_true_volume(fine: tuple[Path, Outcome]) -> None:
    folder, outcome = fine
    image = nib.load(folder / "out" / "syn_lesions.nii.gz")
    voxel_ml = float(np.prod(spacing_of(image.affine))) / 1000
    sizes = [int(one.sum()) for one in lesions_of(image.get_fdata() > 0)]
    rows = outcome.report["variations"][0]["lesions"]
    assert "of 2 lesions" in outcome.sentence and [row["voxels"] for row in rows] == sizes and len(sizes) == 2
    assert [row["volume_ml"] for row in rows] == pytest.approx([size * voxel_ml for size in sizes], rel=1e-4)
    shown = quality(Result.of(outcome))
    assert shown.count(f"<td>{sizes[0] * voxel_ml:.3f}</td>") == 2


def test_on_a_scan_of_1_mm_the_report_is_that_of_the_made_patch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(adding, "REDRAWS", 0)
    model, made, fill = LesionModel.from_pretrained(untrained(tmp_path / "w.safetensors")), [], LesionModel.fill

    def kept(self: LesionModel, *given: Any, **options: Any) -> list[NDArray]:
        made.extend(fill(self, *given, **options))
        return made[-1:]

    monkeypatch.setattr(LesionModel, "fill", kept)
    volumes, mask = brain_at(1.0)
    prepared, reference = adding.prepare(volumes, mask, anywhere=True), Reference.load()
    one = adding.vary(
        prepared, model, load_presets()["typical"], seed=1, reference=reference, steps=10, jump=1, repeats=1
    )
    before, asked = prepared.units(0), one.textures[0]
    expected = [
        report({"FLAIR": before[0]}, {"FLAIR": made[0][0]}, lesion, asked, reference).to_json()
        for lesion in lesions_of(prepared.patch_masks[0])
    ]
    assert len(expected) == 2 and [row.to_json() for row in one.reports] == expected


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 0.8, 0.8), (0.5, 0.5, 0.5), (0.5, 1.0, 0.7)])
def test_a_sharp_border_is_as_strong_on_a_fine_grid_as_at_1_mm(spacing: tuple[float, float, float]) -> None:
    mask = np.zeros((30, 30, 30), bool)
    mask[8:22, 9:21, 8:22] = True
    assert seam(np.where(mask, 0.7, 0.3), mask, spacing) == pytest.approx(0.4)
    assert seam(np.where(mask, 0.7, 0.3), mask, (2.0, 2.0, 2.0)) == pytest.approx(0.2), "a slope of 0.4 in 2 mm"


class Given:
    """A model whose draws are given: what each adds to the scan."""

    def __init__(self, draws: list[NDArray]) -> None:
        self.draws = draws

    def calls(self, *_: Any) -> int:
        return 1

    def fill(self, fills: list[Fill], *_: Any, **__: Any) -> list[NDArray]:
        added = self.draws.pop(0)
        return [np.clip(one.unit + added, -1, 1) for one in fills]


def test_a_step_at_the_border_of_what_is_written_is_drawn_again_though_the_made_patch_hides_it() -> None:
    """The patch is made wider than the lesion: loud in the lesion alone, its own border shows no step."""
    volumes, mask = brain_at(0.8)
    prepared, reference = adding.prepare(volumes, mask, anywhere=True), Reference.load()
    (site,), typical = prepared.sites, load_presets()["typical"]
    affine = volumes["FLAIR"].frame.affine
    share = crop_at_spacing(site.mask, affine, site.centre_mm, site.size, 1.0).values
    loud, gentle = -0.9 * (share >= 0.5), float(np.mean(reference.seam_range["FLAIR"])) * prepared.patch_masks[0]
    failing = adding.vary(prepared, Given([loud, loud]), typical, seed=0, reference=reference)
    assert failing.redraws == 1 and len(failing.reports) == 2
    assert all("stronger" in one.reasons[0] for one in failing.reports)
    made = adding.vary(prepared, Given([loud, gentle, gentle]), typical, seed=0, reference=reference)
    assert all(("FLAIR", "seam") not in one.failed for one in made.reports), "the draw with a fair step is kept"


def test_a_lesion_of_one_voxel_has_a_report_on_a_fine_grid() -> None:
    volumes, mask = brain_at(0.8)
    middle = tuple(np.argwhere(mask)[0])
    one = np.zeros_like(mask)
    one[middle] = True
    prepared = adding.prepare(volumes, one, anywhere=True)
    model = Given([np.zeros(1)] * 4)
    (row,) = adding.vary(prepared, model, load_presets()["typical"], seed=0, reference=Reference.load()).reports
    assert row.voxels == 1 and row.volume_ml == pytest.approx(0.8**3 / 1000)


def test_each_lesion_says_how_often_it_was_drawn_again_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three lesions in two patches: the patch of two fails twice for different reasons, the other passes at once."""
    volumes, _ = small_brain()
    frame = volumes["FLAIR"].frame
    middles = ((20, 44, 40), (20, 48, 44), (52, 44, 40))
    mask = np.any([ball(frame.ras_shape, middle, 1.5) for middle in middles], axis=0)
    judged, failing = adding._reports, [("T1", "seam"), ("T2", "seam")]

    def scripted(prepared: Prepared, site: int, *given: Any) -> tuple[LesionReport, ...]:
        failed = (failing.pop(0),) if site == 0 and failing else ()
        reasons = tuple(f"{name}: {what}" for name, what in failed)
        return tuple(replace(one, failed=failed, reasons=reasons) for one in judged(prepared, site, *given))

    monkeypatch.setattr(adding, "_reports", scripted)
    outcome = run(tmp_path, {"FLAIR": volumes["FLAIR"]}, np.ascontiguousarray(frame.from_ras(mask)))
    (variation,) = json.loads((tmp_path / "out" / "report.json").read_text())["variations"]
    assert variation["drawn_again"] == 2
    assert [row["drawn_again"] for row in variation["lesions"]] == [2, 2, 0]
    shown = quality(Result.of(outcome))
    assert "lesion 1 passed, drawn again 2 times:" in shown and "lesion 2 passed, drawn again 2 times:" in shown
    assert "lesion 3 passed:" in shown


def test_contrasts_share_the_region_of_a_lesion(tmp_path: Path) -> None:
    volumes, mask = small_brain()
    outcome = run(tmp_path, volumes, mask)
    (row,) = outcome.report["variations"][0]["lesions"]
    assert tuple(row["seam"]) == tuple(row["histogram"]) == CONTRASTS and row["voxels"] == int(mask.sum())
