"""A lesion put into a scan: what must stay, what must change, what the files say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from domains.medical.data import Volume, make_volume, read_volume
from domains.medical.export import write_label, write_volume
from domains.medical.lesions import add as adding
from domains.medical.lesions.model import LesionModel
from domains.medical.lesions.operations import ADD, AddLesions
from domains.medical.lesions.presets import load_presets
from domains.medical.lesions.quality import Reference
from shared.errors import Cancelled, UserError
from shared.front.command import command, invoke
from shared.front.provenance import portable
from tests.medical.lesion_world import ball, brain_at, small_brain, untrained, written

FAST = {"steps": 10, "outside_training": True}


@pytest.fixture(scope="module")
def brain() -> tuple[Mapping[str, Volume], NDArray]:
    return small_brain()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(tmp_path_factory.mktemp("weights") / "lesions.safetensors")


def silent(done: int, total: int, note: str = "", preview: object = None) -> None:
    """A report that nobody reads."""


def test_voxels_outside_the_mask_keep_their_stored_bits_in_every_type(
    brain: tuple[Mapping[str, Volume], NDArray], checkpoint: Path, tmp_path: Path
) -> None:
    volumes, mask = brain
    values = volumes["FLAIR"].values
    kinds: list[tuple[str, float, float]] = [("int16", 0.031, -4.0), ("uint8", 1.0, 0.0)]
    for dtype, slope, inter in kinds:
        stored = (values - inter) / slope if dtype != "uint8" else np.clip(values, 0, 255)
        raw = np.rint(stored).astype(dtype)
        volume = make_volume(raw, volumes["FLAIR"].affine, slope=slope, inter=inter)
        folder = tmp_path / dtype
        source = write_volume(volume, raw, folder / "in.nii.gz", synthetic=False, stored=True).path
        target = write_label(volume, mask, folder / "mask.nii.gz", synthetic=False).path
        settings = AddLesions(
            image={"": str(source)}, mask=str(target), out=str(folder / "out"), checkpoint=str(checkpoint), **FAST
        )
        ADD.run(settings, silent)
        before, after = nib.load(source), nib.load(folder / "out" / "syn_FLAIR.nii.gz")
        old, new = before.dataobj.get_unscaled(), after.dataobj.get_unscaled()
        assert new.dtype == old.dtype
        assert np.array_equal(new[~mask], old[~mask])
        assert (new[mask] != old[mask]).mean() > 0.5
        assert np.array_equal(before.affine, after.affine)
        assert (after.dataobj.slope, after.dataobj.inter) == (before.dataobj.slope, before.dataobj.inter)


def test_every_voxel_inside_the_mask_is_made_even_between_grids(
    brain: tuple[Mapping[str, Volume], NDArray], checkpoint: Path
) -> None:
    volumes, mask = brain
    prepared = adding.prepare(volumes, mask)
    made = adding.vary(prepared, LesionModel.from_pretrained(checkpoint), _texture(), seed=1, steps=10)
    for name, volume in volumes.items():
        assert np.array_equal(made.values[name][~mask], volume.values[~mask])
        assert (made.values[name][mask] != volume.values[mask]).all()


def _texture() -> dict[str, NDArray]:
    return {name: np.eye(16, dtype=np.float32)[10] for name in ("FLAIR", "T1", "T2")}


def test_an_empty_mask_returns_the_scan(
    brain: tuple[Mapping[str, Volume], NDArray], checkpoint: Path, tmp_path: Path
) -> None:
    volumes, mask = brain
    files = written(tmp_path, volumes, np.zeros_like(mask))
    settings = AddLesions(
        image={"": str(files["FLAIR"])}, mask=str(files["mask"]), out=str(tmp_path / "out"),
        checkpoint=str(checkpoint), **FAST,
    )  # fmt: skip
    outcome = ADD.run(settings, silent)
    assert outcome.report["calls"] == 0
    assert outcome.sentence == "the mask is empty: no lesion was made, and the scan is returned unchanged"
    out = nib.load(tmp_path / "out" / "syn_FLAIR.nii.gz")
    assert np.array_equal(out.dataobj.get_unscaled(), volumes["FLAIR"].raw)


def test_seeds_reproduce_to_the_bit_and_differ_from_each_other(
    brain: tuple[Mapping[str, Volume], NDArray], checkpoint: Path
) -> None:
    prepared = adding.prepare(*brain)
    model = LesionModel.from_pretrained(checkpoint)
    one, again, other = (adding.vary(prepared, model, _texture(), seed=s, steps=10) for s in (3, 3, 4))
    assert np.array_equal(one.values["T2"], again.values["T2"])
    assert not np.array_equal(one.values["T2"], other.values["T2"])


def test_texture_guidance_is_recorded_costs_no_call_and_at_zero_leaves_the_plain_method(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adding, "REDRAWS", 0)  # an untrained network fails the quality check: one draw is enough here
    brain = brain_at(1.0, (0.0,), 5.0)  # between grids the values are smoothed after they were pulled
    files = written(tmp_path, *brain)
    made = {}
    for strength in (0.0, 1.0):
        out = tmp_path / f"{strength:g}"
        settings = AddLesions(
            image={"": str(files["FLAIR"])}, mask=str(files["mask"]), out=str(out), texture_guidance=strength,
            checkpoint=str(checkpoint), anywhere=True, **FAST,
        )  # fmt: skip
        outcome = ADD.run(settings, silent)
        sidecar = json.loads((out / "syn_FLAIR.json").read_text())
        assert sidecar["settings"]["texture_guidance"] == strength
        made[strength] = outcome.view["variations"][0], outcome.report
    model = LesionModel.from_pretrained(checkpoint)
    prepared = adding.prepare(*brain, anywhere=True)
    typical = load_presets()["typical"]
    plain = adding.vary(prepared, model, typical, seed=0, steps=10, reference=Reference.load())
    assert np.array_equal(made[0.0][0].values["FLAIR"], plain.values["FLAIR"])
    far, near = (made[s][0].reports[0].histogram["FLAIR"].wasserstein for s in (0.0, 1.0))
    assert near < 0.02 < far
    assert made[0.0][1]["calls"] == made[1.0][1]["calls"] == model.calls(10) * len(prepared.sites)


def test_contrasts_are_made_jointly_with_one_label_and_the_old_lesions_kept(
    brain: tuple[Mapping[str, Volume], NDArray], checkpoint: Path, tmp_path: Path
) -> None:
    volumes, mask = brain
    files = written(tmp_path, volumes, mask)
    old = np.zeros_like(mask)
    old[10:12, 40:42, 40:42] = True
    existing = write_label(volumes["FLAIR"], old, tmp_path / "old.nii.gz", synthetic=False).path
    settings = AddLesions(
        image={"T1": str(files["T1"]), "": str(files["FLAIR"])}, mask=str(files["mask"]), label=str(existing),
        out=str(tmp_path / "out"), checkpoint=str(checkpoint), count=2, seed=9, **FAST,
    )  # fmt: skip
    outcome = ADD.run(settings, silent)
    names = {path.name for path in outcome.files}
    assert {"syn_01_FLAIR.nii.gz", "syn_01_T1.nii.gz", "syn_01_label.nii.gz", "syn_02_lesions.nii.gz"} <= names
    assert names == {path.name for path in (tmp_path / "out").iterdir()}  # sidecars too, nothing is left unnamed
    label = read_volume(tmp_path / "out" / "syn_01_label.nii.gz")
    alone = read_volume(tmp_path / "out" / "syn_01_lesions.nii.gz")
    assert np.array_equal(label.raw > 0, mask | old)
    assert np.array_equal(alone.raw > 0, mask)
    assert np.array_equal(label.affine, volumes["FLAIR"].affine)


def test_the_label_of_the_result_keeps_the_values_of_the_old_label_and_says_where_new_lesions_lie_in_old_ones(
    brain: tuple[Mapping[str, Volume], NDArray], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adding, "REDRAWS", 0)
    volumes, mask = brain
    files = written(tmp_path, volumes, mask)
    old = np.zeros(mask.shape, np.uint16)
    old[10:12, 40:42, 40:42] = 300
    inside = np.argwhere(mask)[:5]
    old[tuple(inside.T)] = 4
    existing = write_label(volumes["FLAIR"], old, tmp_path / "old.nii.gz", synthetic=False).path
    settings = AddLesions(
        image={"": str(files["FLAIR"])}, mask=str(files["mask"]), label=str(existing), out=str(tmp_path / "out"),
        checkpoint=str(checkpoint), **FAST,
    )  # fmt: skip
    outcome = ADD.run(settings, silent)
    label = read_volume(tmp_path / "out" / "syn_label.nii.gz").raw
    assert np.array_equal(label, np.where(old > 0, old, mask))
    assert "the new lesions overlap the label of the scan in 5 voxels (0.04 mL)" in outcome.sentence
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["overlap"] == {"voxels": 5, "volume_ml": 0.04}


def test_outputs_say_that_they_are_synthetic_and_how_they_were_made(
    brain: tuple[Mapping[str, Volume], NDArray], checkpoint: Path, tmp_path: Path
) -> None:
    files = written(tmp_path, *brain)
    before = files["FLAIR"].read_bytes()
    settings = AddLesions(
        image={"": str(files["FLAIR"])}, mask=str(files["mask"]), out=str(tmp_path / "out"),
        checkpoint=str(checkpoint), seed=4, **FAST,
    )  # fmt: skip
    ADD.run(settings, silent)
    assert files["FLAIR"].read_bytes() == before
    image = nib.load(tmp_path / "out" / "syn_FLAIR.nii.gz")
    assert bytes(image.header["descrip"]).startswith(b"SYNTHETIC")
    (extension,) = image.header.extensions
    inside = json.loads(extension.get_content() if isinstance(extension.get_content(), str) else extension.text)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert inside["synthetic"] is True
    assert inside["settings"] == report["provenance"]["settings"] == portable(settings)
    assert inside["seed"] == 4
    assert len(report["provenance"]["checkpoint"]["sha256"]) == 64
    assert "Research use only" in report["notice"]
    assert str(tmp_path) not in json.dumps(inside)


def test_replay_of_the_sidecar_gives_the_same_files(
    brain: tuple[Mapping[str, Volume], NDArray], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = written(tmp_path, *brain)
    settings = AddLesions(
        image={"": str(files["FLAIR"])}, mask=str(files["mask"]), out=str(tmp_path / "one"),
        checkpoint=str(checkpoint), seed=4, **FAST,
    )  # fmt: skip
    ADD.run(settings, silent)
    monkeypatch.chdir(tmp_path)  # a sidecar names its inputs without their folders: run it where they are
    arguments = ["--settings", "one/syn_FLAIR.json", "--checkpoint", str(checkpoint), "--out", "two"]
    assert invoke(command(ADD), arguments, program="add") == 0
    one, two = (nib.load(tmp_path / d / "syn_FLAIR.nii.gz").get_fdata() for d in ("one", "two"))
    assert np.array_equal(one, two)


def test_a_lesion_outside_the_brain_is_refused_unless_anywhere(brain: tuple[Mapping[str, Volume], NDArray]) -> None:
    volumes, mask = brain
    corner = ball(mask.shape, (3, 3, 3), 2)
    with pytest.raises(UserError, match=r"lie outside the brain; .*--anywhere"):
        adding.prepare(volumes, corner)
    assert adding.prepare(volumes, corner, anywhere=True).sites


def test_an_unknown_contrast_is_refused_with_the_known_ones(brain: tuple[Mapping[str, Volume], NDArray]) -> None:
    volumes, mask = brain
    with pytest.raises(UserError, match=r"PD.*FLAIR, T1, T2"):
        adding.prepare({"PD": volumes["T1"]}, mask)


def test_stop_leaves_no_file(brain: tuple[Mapping[str, Volume], NDArray], checkpoint: Path, tmp_path: Path) -> None:
    files = written(tmp_path, *brain)
    settings = AddLesions(
        image={"": str(files["FLAIR"])}, mask=str(files["mask"]), out=str(tmp_path / "out"),
        checkpoint=str(checkpoint), **FAST,
    )  # fmt: skip
    before = sorted(path.name for path in tmp_path.iterdir())

    def stop(done: int, total: int, note: str = "", preview: object = None) -> None:
        if done == 5:
            raise Cancelled

    with pytest.raises(Cancelled):
        ADD.run(settings, stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_an_existing_result_is_never_replaced(
    brain: tuple[Mapping[str, Volume], NDArray], checkpoint: Path, tmp_path: Path
) -> None:
    files = written(tmp_path, *brain)
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    settings = AddLesions(
        image={"": str(files["FLAIR"])}, mask=str(files["mask"]), out=str(out), checkpoint=str(checkpoint), **FAST
    )
    with pytest.raises(UserError, match="not an empty folder"):
        ADD.run(settings, silent)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
