"""What real lesions look like, measured: the numbers that the quality report compares with.

Every lesion of the training patients of at least 20 voxels gives its seam and the distance of its histogram to what
its preset asks for there (the nearest by FLAIR); every 7 mm cell of it gives a training patch, its fingerprint, and the
highest NCC with the patches that share no voxel with it, shifts and flips included.

The rule for what passes. A real lesion is as extreme as the farthest of its numbers from the median of real lesions, in
robust standard deviations (IQR / 1.349; for the distance only upwards). The 5 % most extreme lesions are left out; the
ranges of seam and distance are those that the others span, so 95 % of real lesions pass everything. NCC: up to the
highest real to real. Nothing is typed by hand, but two patients are few: the ranges come from the lesions they judge.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from domains.medical.data import read_contrasts
from domains.medical.lesions.conditioning import CONTRASTS, histogram
from domains.medical.lesions.memorisation import (
    SHIFT,
    WINDOW,
    cells_of,
    central,
    exact_ncc,
    fingerprints,
    gaussian_projection,
    highest_ncc,
    window,
)
from domains.medical.lesions.patches import LESJAK, Subject, ms_patients
from domains.medical.lesions.presets import SHIPPED as PRESETS
from domains.medical.lesions.presets import Preset, asked_at
from domains.medical.lesions.quality import SHIPPED, Reference, histogram_distance, seam
from domains.medical.lesions.real_lesions import ceiling, groups_of, lesions_of_subjects, presets_of
from domains.medical.lesions.training_domain import SHIPPED as DOMAIN
from domains.medical.lesions.training_domain import TrainingDomain, make_training_domain
from shared.front.atomic import write_atomic

SMALLEST = 20  # voxels: below, a histogram of 16 bins and a seam are noise
PASSING = 0.95  # share of the real lesions that must pass all ranges
PATIENTS = ("07", "19")
PHANTOMS = range(1000, 1008)  # seeds of training phantoms; others are for tests and examples


def make_reference(data: Path, out: Path) -> Path:
    """Measure the MS patients; write reference.safetensors, its card, presets.json and training_domain.json.

    data   folder with patient07_FLAIR.nii.gz and the rest;  out  folder;  returns the path of the .safetensors
    """
    subjects = ms_patients(data, PATIENTS)
    source = {"licence": "CC-BY", "attribution": LESJAK}
    lesions = lesions_of_subjects(subjects)
    groups = groups_of(lesions)
    presets = presets_of(lesions, groups)
    made = build_reference(subjects, presets, source)
    path = out / SHIPPED.name
    made.save(path)
    best = round(ceiling(lesions, groups, presets), 4)
    card = {**source, "ceiling": best, "presets": {name: preset.to_json() for name, preset in presets.items()}}
    write_atomic(out / PRESETS.name, json.dumps(card) + "\n")
    measure_domain(data).save(out / DOMAIN.name)
    return path


def measure_domain(data: Path) -> TrainingDomain:
    """The training domain: the patients and some of the phantoms that the model is trained on."""
    from domains.medical.synthesis import brain_phantom

    scans = {f"patient{n}": read_contrasts({c: data / f"patient{n}_{c}.nii.gz" for c in CONTRASTS}) for n in PATIENTS}
    scans |= {f"phantom{seed}": brain_phantom(seed).volumes() for seed in PHANTOMS}
    return make_training_domain(scans, LESJAK)


def build_reference(subjects: Sequence[Subject], presets: Mapping[str, Preset], source: Mapping[str, str]) -> Reference:
    """Measure real lesions.

    subjects   in network units, every one with all contrasts;  presets  by name
    source     licence and attribution of the scans, for the card
    """
    lesions = [
        (one, _mask(one, part)) for one in subjects for part in one.components if len(part) >= SMALLEST
    ]  # components come largest first
    seams = {c: np.zeros(len(lesions)) for c in CONTRASTS}
    distances = {c: np.zeros(len(lesions)) for c in CONTRASTS}
    for row, lesion in enumerate(lesions_of_subjects(subjects, SMALLEST)):
        values = dict(zip(CONTRASTS, lesion.unit, strict=True))
        made = {c: histogram(values[c], lesion.mask) for c in CONTRASTS}
        asked = [asked_at(one, lesion.unit, lesion.mask, lesion.tissue).whole for one in presets.values()]
        own = min(asked, key=lambda one: histogram_distance(one["FLAIR"], made["FLAIR"])[0])
        for c in CONTRASTS:
            seams[c][row] = seam(values[c], lesion.mask)
            distances[c][row] = histogram_distance(own[c], made[c])[0]
    seam_range, distance_limit = pass_ranges(seams, distances)
    projection = gaussian_projection()
    centres = [(one, centre) for one, mask in lesions for centre in cells_of(mask)[0]]
    prints, highest, leave_out, errors = {}, {}, {}, {}
    for i, c in enumerate(CONTRASTS):
        blocks = torch.stack([window(one.unit[i].astype(np.float32), centre) for one, centre in centres])
        kept = torch.cat([fingerprints(central(block)[None], projection) for block in blocks]).half()
        prints[c] = kept
        highest[c], leave_out[c] = real_to_real(blocks, kept, projection, centres)
        errors[c] = standard_error(blocks, kept, projection)
    card = {
        "name": "medical/lesion-reference",
        "recipe": "medical/lesion-reference",
        **source,
        "patients": [one.name for one in subjects],
        "lesions": len(lesions),
        "patches": len(centres),
        "share of real lesions that pass": _passing(seams, distances, seam_range, distance_limit),
        "standard error of the estimated NCC": errors,
        "real to real, patches without a common voxel": {c: _summary(highest[c]) for c in CONTRASTS},
        "real to real, other patients only": {c: _summary(leave_out[c]) for c in CONTRASTS},
        "seam of real lesions": {c: _summary(seams[c]) for c in CONTRASTS},
        "histogram distance of real lesions to their preset": {c: _summary(distances[c]) for c in CONTRASTS},
    }
    ncc_limit = {c: float(highest[c].max()) for c in CONTRASTS}
    return Reference(projection, prints, seams, distances, highest, seam_range, distance_limit, ncc_limit, card)


def pass_ranges(
    seams: Mapping[str, NDArray], distances: Mapping[str, NDArray]
) -> tuple[dict[str, tuple[float, float]], dict[str, float]]:
    """(seam ranges, distance limits): what the 95 % least extreme of the real lesions span. Inputs (M,) a contrast."""
    extreme = np.zeros(len(next(iter(seams.values()))))
    for c in seams:
        extreme = np.maximum(extreme, np.maximum(np.abs(_robust(seams[c])), _robust(distances[c])))
    kept = np.argsort(extreme, kind="stable")[: int(np.ceil(PASSING * len(extreme)))]
    ranges = {c: (float(seams[c][kept].min()), float(seams[c][kept].max())) for c in seams}
    return ranges, {c: float(distances[c][kept].max()) for c in seams}


def _robust(values: NDArray) -> NDArray:
    """Robust z-values: (v - median) / (IQR / 1.349)."""
    q1, median, q3 = np.quantile(values, (0.25, 0.5, 0.75))
    return (values - median) / max((q3 - q1) / 1.349, 1e-9)


def _passing(
    seams: Mapping[str, NDArray],
    distances: Mapping[str, NDArray],
    ranges: Mapping[str, tuple[float, float]],
    limits: Mapping[str, float],
) -> float:
    """Share of the lesions that pass all ranges."""
    passed = np.ones(len(next(iter(seams.values()))), bool)
    for c, (low, high) in ranges.items():
        passed &= (seams[c] >= low) & (seams[c] <= high) & (distances[c] <= limits[c])
    return float(passed.mean())


def real_to_real(
    blocks: torch.Tensor, known: torch.Tensor, projection: torch.Tensor, centres: Sequence[tuple[Subject, NDArray]]
) -> tuple[NDArray, NDArray]:
    """(N,) highest NCC of each training patch with patches that share no voxel with it under any shift, and with those
    of other patients; -1 where there is none. blocks (N, 22, 22, 22), known (N, 8, 128)."""
    names = np.array([one.name for one, _ in centres])
    places = np.array([centre for _, centre in centres])
    apart, others = np.zeros(len(blocks)), np.zeros(len(blocks))
    for k, block in enumerate(blocks):
        ncc = highest_ncc(block, known, projection).numpy()
        other = names != names[k]
        far = other | (np.abs(places - places[k]).max(1) >= WINDOW - SHIFT)
        apart[k] = ncc[far].max(initial=-1)
        others[k] = ncc[other].max(initial=-1)
    return apart, others


def standard_error(blocks: torch.Tensor, known: torch.Tensor, projection: torch.Tensor, pairs: int = 40) -> float:
    """Root mean square of estimated less exact highest NCC over random pairs of patches."""
    rng = np.random.default_rng(0)
    wrong = []
    for a, b in rng.integers(len(blocks), size=(pairs, 2)):
        if a != b:
            estimate = float(highest_ncc(blocks[a], known[b : b + 1], projection)[0])
            wrong.append(estimate - exact_ncc(blocks[a], central(blocks[b])))
    return float(np.sqrt(np.mean(np.square(wrong))))


def _mask(one: Subject, part: NDArray) -> NDArray:
    mask = np.zeros(one.lesions.shape, bool)
    mask[tuple(part.T)] = True
    return mask


def _summary(values: NDArray) -> dict[str, float]:
    names = ("least", "5 %", "median", "95 %", "most")
    return {
        name: round(float(v), 5) for name, v in zip(names, np.quantile(values, (0, 0.05, 0.5, 0.95, 1)), strict=True)
    }
