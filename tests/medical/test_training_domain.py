"""What the training-domain check must say of scans that are, and are not, like the training scans."""

from __future__ import annotations

import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from domains.medical.data import Volume, make_volume, read_volume
from domains.medical.lesions.conditioning import CONTRASTS
from domains.medical.lesions.scan_measures import Measured, measure
from domains.medical.lesions.training_domain import TrainingDomain, TrainingScan, compare, judge, make_training_domain
from tests.medical.nifti_files import SHARED_DATA

BRAINS = SHARED_DATA / "medical" / "ms_brains"
EDGES = SHARED_DATA / "medical" / "nifti_edge_cases"
real = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the folder ../shared/data is absent")


@cache
def brain(patient: str, contrast: str) -> Volume:
    return read_volume(BRAINS / f"patient{patient}_{contrast}.nii.gz")


@cache
def measured(patient: str, contrast: str) -> Measured:
    return measure(brain(patient, contrast))


def template(tissue: str) -> Volume:
    """The MNI template that comes with nilearn, read without importing it."""
    spec = find_spec("nilearn")
    if spec is None or spec.origin is None:
        pytest.skip("nilearn is not installed")
    folder = Path(spec.origin).parent / "datasets" / "data"
    return read_volume(folder / f"mni_icbm152_{tissue}_tal_nlin_sym_09a_converted.nii.gz")


def like(volume: Volume, values: NDArray) -> Volume:
    return make_volume(values.astype(np.float32), volume.affine)


def verdicts(volume: Volume, contrast: str) -> dict[str, str]:
    return {row.criterion: row.verdict for row in compare({contrast: volume}).rows}


@real
@pytest.mark.parametrize("patient", ["07", "19"])
def test_a_training_scan_is_inside_by_every_criterion(patient: str) -> None:
    verdict = compare({contrast: brain(patient, contrast) for contrast in CONTRASTS})
    assert [row for row in verdict.rows if row.verdict != "inside"] == []
    assert verdict.overall == "inside" and verdict.of("T1") == "inside" and len(verdict.rows) == 18


@real
@pytest.mark.parametrize("name", CONTRASTS)
@pytest.mark.parametrize("contrast", CONTRASTS)
@pytest.mark.parametrize("patient", ["07", "19"])
def test_a_renamed_contrast_is_outside_by_its_tissue_order(patient: str, contrast: str, name: str) -> None:
    rows = {row.criterion: row.verdict for row in judge(name, measured(patient, contrast), TrainingDomain.load())}
    assert rows["tissue order"] == ("inside" if name == contrast else "outside")


@real
@pytest.mark.parametrize(("known", "unseen"), [("07", "19"), ("19", "07")])
def test_the_tissue_order_of_one_patient_judges_the_other(known: str, unseen: str) -> None:
    domain = TrainingDomain(tuple(TrainingScan(known, c, measured(known, c)) for c in CONTRASTS), "")
    for contrast in CONTRASTS:
        for name in CONTRASTS:
            rows = judge(name, measured(unseen, contrast), domain)
            (order,) = [row.verdict for row in rows if row.criterion == "tissue order"]
            assert (order == "outside") == (name != contrast), (contrast, name, order)


@real
@pytest.mark.parametrize("contrast", CONTRASTS)
@pytest.mark.parametrize("name", ["CT_AVM.nii.gz", "CT_pitch.nii.gz", "anatomical.nii", "reoriented_anat_moved.nii"])
def test_ct_and_partial_and_coarse_scans_are_outside(name: str, contrast: str) -> None:
    assert compare({contrast: read_volume(EDGES / name)}).overall == "outside"


@real
def test_a_contrast_enhanced_t1_is_not_inside_and_not_a_flair_or_t2() -> None:
    scan = read_volume(EDGES / "MR_Gd.nii.gz")
    seen = verdicts(scan, "T1")
    assert seen["tissue order"] == "inside" and seen["skull-stripped"] == "inside"
    assert seen["intensity law"] == "cannot tell"
    assert compare({"FLAIR": scan}).overall == compare({"T2": scan}).overall == "outside"


@real
@pytest.mark.parametrize("name", ["brain1", "brain2"])
def test_a_head_with_thick_slices_and_air_noise_is_outside(name: str) -> None:
    import gzip

    head, body = (SHARED_DATA / "medical" / "brain_tumour" / f"{name}_image.nrrd").read_bytes().split(b"\n\n", 1)
    fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
    sizes = [int(n) for n in fields["sizes"].split()]
    raw = np.frombuffer(gzip.decompress(body), "<i2").reshape(sizes, order="F")
    for contrast in CONTRASTS:
        rows = verdicts(make_volume(raw, np.diag([-0.78, 0.78, 6.5, 1])), contrast)
        assert rows["skull-stripped"] == rows["spacing"] == "outside"


def test_the_mni_template_is_a_t1_and_its_tissue_maps_are_outside() -> None:
    t1 = template("t1")
    assert compare({"T1": t1}).overall in ("inside", "cannot tell")
    seen = {"t1": measure(t1), "gm": measure(template("gm")), "wm": measure(template("wm"))}
    for tissue, contrast in [("t1", "FLAIR"), ("t1", "T2"), *((t, c) for t in ("gm", "wm") for c in CONTRASTS)]:
        assert "outside" in [row.verdict for row in judge(contrast, seen[tissue], TrainingDomain.load())]


def test_a_phantom_that_no_border_was_drawn_from_is_not_outside() -> None:
    from domains.medical.synthesis import brain_phantom

    volumes = brain_phantom(1).volumes()
    assert compare(volumes).sentences("outside") == []
    swapped = {"FLAIR": volumes["T1"], "T1": volumes["T2"], "T2": volumes["FLAIR"]}
    verdict = compare(swapped)
    assert [verdict.of(contrast) for contrast in CONTRASTS] == ["outside"] * 3


def ball(radius: float = 60.0, size: int = 150) -> NDArray:
    """(size, size, size) distance from the surface of a ball, positive inside."""
    places = np.arange(size, dtype=np.float32) - (size - 1) / 2
    return radius - np.sqrt(places[:, None, None] ** 2 + places[:, None] ** 2 + places**2)


def test_noise_is_outside_with_and_without_a_background() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(100, 20, (150, 150, 150)).astype(np.float32)
    for raw in (noise, noise * (ball() > 0)):
        for contrast in CONTRASTS:
            assert compare({contrast: make_volume(raw, np.eye(4))}).overall == "outside"


def test_masks_label_maps_and_ct_numbers_are_outside_by_their_intensity_law() -> None:
    depth = ball()
    rng = np.random.default_rng(0)
    labels = np.digitize(depth, [0, 3, 20, 45]).astype(np.uint8)
    ct = np.where(depth > 0, rng.normal(35, 8, depth.shape), -1024).astype(np.int16)
    chance = np.clip(depth / 20, 0, 1).astype(np.float32)
    cases = [((depth > 0).astype(np.uint8), "a mask"), (labels, "label map"), (ct, "CT"), (chance, "probability map")]
    for raw, why in cases:
        rows = compare({"FLAIR": make_volume(raw, np.eye(4))}).rows
        (law,) = [row for row in rows if row.criterion == "intensity law"]
        assert law.verdict == "outside" and why in law.sentence


@real
def test_a_stripped_brain_in_ct_numbers_is_never_inside() -> None:
    scan = brain("07", "FLAIR")
    in_ct_range = make_volume(np.rint(scan.values * 0.4).astype(np.int16), scan.affine)  # 5 to 46, as a brain in CT
    assert verdicts(in_ct_range, "FLAIR")["intensity law"] == "cannot tell"


@real
@pytest.mark.parametrize(("contrast", "fat", "bone"), [("T1", 500, 40), ("FLAIR", 150, 15), ("T2", 250, 50)])
def test_scalp_and_skull_around_a_brain_are_seen(contrast: str, fat: float, bone: float) -> None:
    from scipy import ndimage

    scan = brain("07", contrast)
    values = scan.values.copy()
    gap = ndimage.distance_transform_edt(~ndimage.binary_closing(values != 0, iterations=2))
    values[(gap > 0) & (gap <= 8)] = bone
    values[(gap > 8) & (gap <= 14)] = fat
    rows = compare({contrast: like(scan, values)}).rows
    (stripped,) = [row for row in rows if row.criterion == "skull-stripped"]
    assert stripped.verdict == "outside" and "skull" in stripped.sentence and "remove the skull" in stripped.remedy


@real
def test_a_smoothed_scan_and_one_interpolated_from_thick_slices_are_not_inside() -> None:
    from scipy import ndimage

    scan = brain("07", "FLAIR")
    inside = scan.values != 0
    smooth = ndimage.gaussian_filter(scan.values, 1.5) * inside
    thick = ndimage.uniform_filter1d(scan.values, 5, axis=2)[:, :, ::5]
    thick = ndimage.zoom(thick, (1, 1, 182 / thick.shape[2]), order=1) * inside
    assert verdicts(like(scan, smooth), "FLAIR")["resolution"] == "outside"
    assert verdicts(like(scan, thick), "FLAIR")["resolution"] != "inside"


@real
def test_spacing_and_brain_size_follow_the_affine() -> None:
    scan = brain("07", "FLAIR")
    wide = make_volume(scan.raw, np.diag([-3.0, 1, 1, 1]))
    tiny = make_volume(scan.raw, np.diag([-0.5, 0.5, 0.5, 1]))
    assert verdicts(wide, "FLAIR")["spacing"] == "outside"
    assert verdicts(tiny, "FLAIR")["spacing"] == "inside" and verdicts(tiny, "FLAIR")["brain size"] == "outside"


@real
def test_the_verdict_does_not_depend_on_scale_orientation_or_offset() -> None:
    scan = brain("19", "FLAIR")
    turned = make_volume(np.ascontiguousarray(scan.raw.transpose(2, 0, 1)[::-1]), np.eye(4)[[1, 2, 0, 3]])
    scaled = like(scan, np.where(scan.raw == 0, -7.0, scan.raw * 0.01 + 3))
    plain = measure(scan)
    for other in (turned, scaled):
        assert compare({"FLAIR": other}).overall == "inside"
        assert measure(other).order == pytest.approx(plain.order, abs=0.02)
        assert measure(other).extent_mm == pytest.approx(plain.extent_mm, abs=2)  # along R, A and S whatever the file


@real
def test_an_unknown_contrast_is_outside_and_says_which_are_known() -> None:
    verdict = compare({"PD": brain("07", "T2")})
    assert verdict.overall == "outside"
    assert any("FLAIR, T1, T2" in sentence for sentence in verdict.sentences("outside"))


@real
def test_a_scan_of_7_million_voxels_takes_less_than_2_seconds() -> None:
    scan = brain("07", "T1")
    compare({"T1": scan})
    start = time.process_time()
    compare({"T1": scan})
    assert time.process_time() - start < 2


@real
def test_the_domain_survives_a_file_and_every_row_that_is_not_inside_names_a_remedy(tmp_path: Path) -> None:
    scan = brain("07", "FLAIR")
    made = make_training_domain({"patient07": {"FLAIR": scan, "T1": brain("07", "T1"), "T2": brain("07", "T2")}}, "x")
    made.save(tmp_path / "domain.json")
    again = TrainingDomain.load(tmp_path / "domain.json")
    assert again.source == "x" and [s.contrast for s in again.scans] == list(CONTRASTS)
    assert again.scans[0].measured.order == pytest.approx(made.scans[0].measured.order, rel=1e-4)
    for row in compare({"T2": scan}).rows:
        assert (row.verdict == "inside") == (row.remedy == "") and row.sentence
