"""The same question on real scans: learn from one patient with multiple sclerosis, segment the other, and the reverse.

FLAIR, axial patches of 48 mm. The lesion model learns from the labelled patches of the training patient alone. Every
arm also sees the lesion-free patches that carry the synthetic lesions, since the test is a whole brain. Two patients
are two observations: the table has ranges over training runs, no interval and no pass rule.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.medical.lesions.conditioning import brain_mask
from domains.medical.lesions.downstream import lesion_model, segmenter
from domains.medical.lesions.downstream.origin import made_by, model_name
from domains.medical.lesions.downstream.plan import PATIENT_ARMS
from domains.medical.lesions.downstream.scores import FOUND, dice_of
from domains.medical.lesions.downstream.synthesis import copy_pasted, lefusion, placed
from domains.medical.lesions.patches import Subject, ms_patients
from domains.medical.lung2d import EDGE
from shared.errors import UserError
from shared.measured import kept
from shared.noise import stream

SMALLEST_SOURCE, LONGEST_SOURCE = 12, 28  # pixels: area and box of a lesion's cut that is used for synthesis
SMALLEST_LESION = 20  # voxels, 1 mm3 each: lesions and false alarms that are counted


@dataclass(frozen=True)
class PatientPlan:
    """Sizes; pairs are (train, test). real: labelled patches; carriers: lesion-free ones; runs: segmenters an arm."""

    pairs: tuple[tuple[str, str], ...] = (("07", "19"), ("19", "07"))
    runs: int = 3
    real: int = 48
    carriers: int = 96
    model_steps: int = 1000
    model_rows: int = 16
    model_lr: float = 1e-3
    segmenter_steps: int = 500
    segmenter_rows: int = 16
    segmenter_lr: float = 3e-3

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, as they come back from a file."""
        return asdict(self) | {"pairs": [list(pair) for pair in self.pairs]}


@dataclass(frozen=True, eq=False)
class Patient:
    """flair (i, j, k) float32 in network units, lesions and brain (i, j, k) bool; axial slices are [..., k]."""

    flair: NDArray
    lesions: NDArray
    brain: NDArray


def patient(one: Subject) -> Patient:
    """The FLAIR of a subject, cut to its brain and padded so that the segmenter can take whole slices."""
    flair = one.unit[0].astype(np.float32)
    brain = brain_mask(flair)
    places = [np.flatnonzero(brain.any(tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    block = tuple(slice(int(p[0]), int(p[-1]) + 1) for p in places)
    short = [(0, (EDGE if s.stop - s.start < EDGE else -(s.stop - s.start) % 8)) for s in block[:2]]
    pad = (*short, (0, 0))
    outside = float(flair[~brain].min()) if not brain.all() else -1.0
    return Patient(
        np.pad(flair[block], pad, constant_values=outside), np.pad(one.lesions[block], pad), np.pad(brain[block], pad)
    )


def patches_with(one: Patient, count: int, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    """Images and masks (count, 48, 48) of axial patches around random lesion voxels."""
    places = np.argwhere(one.lesions)
    chosen = places[rng.choice(len(places), count, replace=len(places) < count)]
    corners = [_corner(one, place + np.array((*rng.integers(-10, 11, 2), 0))) for place in chosen]
    blocks = [(slice(y, y + EDGE), slice(x, x + EDGE), k) for y, x, k in corners]
    return np.stack([one.flair[b] for b in blocks]), np.stack([one.lesions[b] for b in blocks])


def patches_without(one: Patient, count: int, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    """Images (count, 48, 48) of lesion-free axial patches, nine tenths brain, and where the brain is in them."""
    inside = np.argwhere(one.brain)
    images, brains = [], []
    for _ in range(200 * count):
        y, x, k = _corner(one, inside[rng.integers(len(inside))])
        block = (slice(y, y + EDGE), slice(x, x + EDGE), k)
        if not one.lesions[block].any() and one.brain[block].mean() > 0.9:
            images.append(one.flair[block])
            brains.append(one.brain[block])
            if len(images) == count:
                return np.stack(images), np.stack(brains)
    raise UserError(
        f"only {len(images)} of {count} lesion-free patches were found", where="the patient", remedy="ask for fewer"
    )


def _corner(one: Patient, centre: NDArray) -> tuple[int, int, int]:
    y, x = (int(np.clip(c - EDGE // 2, 0, n - EDGE)) for c, n in zip(centre[:2], one.flair.shape[:2], strict=True))
    return y, x, int(centre[2])


def cuts(images: NDArray, masks: NDArray) -> tuple[NDArray, NDArray]:
    """Every connected piece of lesion in the patches that is neither too small nor too long: its patch, itself."""
    from scipy import ndimage

    rows, pieces = [], []
    for row, mask in enumerate(masks):
        labels, _ = ndimage.label(mask, np.ones((3, 3)))
        for index, box in enumerate(ndimage.find_objects(labels), 1):
            piece = labels == index
            if piece.sum() >= SMALLEST_SOURCE and max(s.stop - s.start for s in box) <= LONGEST_SOURCE:
                rows.append(row)
                pieces.append(piece)
    if not rows:
        raise UserError("no lesion has a size that can be pasted", where="the patient", remedy="choose another")
    return images[rows], np.stack(pieces)


@dataclass(frozen=True, eq=False)
class Pair:
    """Training material from one patient, and the other to test on."""

    plan: PatientPlan
    train: Patient
    test: Patient
    seed: int
    folder: Path

    @cached_property
    def sets(self) -> dict[str, tuple[NDArray, NDArray]]:
        """Arm -> images, masks."""
        plan, rng = self.plan, np.random.default_rng(self.seed)
        images, masks = patches_with(self.train, plan.real, rng)
        carriers, brains = patches_without(self.train, plan.carriers, rng)
        sources, pieces = cuts(images, masks)
        placement = placed(sources, pieces, carriers, rng, allowed=brains)
        network = lesion_model.train(
            sources,
            pieces,
            steps=plan.model_steps,
            rows=plan.model_rows,
            lr=plan.model_lr,
            seed=self.seed,
            out=self.folder,
        )
        ways = {"copy_paste": copy_pasted(placement)}
        ways["lefusion"], _ = lefusion(network, placement, sources, pieces, rng)
        base = (np.concatenate([images, carriers]), np.concatenate([masks, np.zeros(carriers.shape, bool)]))
        return {"real": base} | {
            way: (np.concatenate([base[0], made]), np.concatenate([base[1], placement.masks]))
            for way, made in ways.items()
        }


def volume_scores(said: NDArray, truth: NDArray) -> dict[str, float]:
    """Dice of the volume, share of the lesions found, false alarms; masks (i, j, k) bool, lesions of >= 20 voxels."""
    from scipy import ndimage

    around = np.ones((3, 3, 3))
    lesions, count = ndimage.label(truth, around)
    sizes, hit = np.bincount(lesions.ravel(), minlength=count + 1), np.bincount(lesions[said], minlength=count + 1)
    large = sizes[1:] >= SMALLEST_LESION
    pieces, made = ndimage.label(said, around)
    alarms = (np.bincount(pieces.ravel(), minlength=made + 1)[1:] >= SMALLEST_LESION) & (
        np.bincount(pieces[truth], minlength=made + 1)[1:] == 0
    )
    found = (hit[1:] >= FOUND * sizes[1:])[large]
    return {"dice": dice_of(said, truth), "found": float(found.mean()), "alarms": int(alarms.sum())}


def run_pair(pair: Pair, arm: str) -> dict[str, Any]:
    """Scores of each run of one arm on the test patient."""
    plan, runs, start = pair.plan, [], time.process_time()
    images, masks = pair.sets[arm]
    slices = np.ascontiguousarray(np.moveaxis(pair.test.flair, 2, 0))
    for run in range(plan.runs):
        network = segmenter.train(
            images,
            masks,
            steps=plan.segmenter_steps,
            rows=plan.segmenter_rows,
            lr=plan.segmenter_lr,
            seed=stream(pair.seed, run, "patients segmenter").initial_seed(),
        )
        said = np.moveaxis(segmenter.segmented(network, slices, batch=8), 0, 2) & pair.test.brain
        runs.append(volume_scores(said, pair.test.lesions))
    return {"runs": runs, "patches": len(images), "cpu_seconds": round(time.process_time() - start, 1)}


def run_patients(
    plan: PatientPlan, data: Path, folder: Path, *, say: Callable[[str], None] = print
) -> dict[tuple[str, str, str], Any]:
    """Every cell by (train, test, arm); what `folder` holds is read. data: the folder of the open MS brains.

    Raises UserError when the folder holds cells of another plan or source.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = plan.to_json()
    known, pairs = made_by(numbers), dict[tuple[str, str], Pair]()

    def made(a: str, b: str, arm: str) -> dict[str, Any]:
        if (a, b) not in pairs:  # the material of one pair at a time
            pairs.clear()
            train, test = (patient(one) for one in ms_patients(data, [a, b]))
            pairs[a, b] = Pair(plan, train, test, int(a), folder / model_name(f"patients-{a}-{b}", numbers))
        cell = run_pair(pairs[a, b], arm)
        dice = np.mean([run["dice"] for run in cell["runs"]])
        say(f"patients {a} -> {b} {arm}: Dice {dice:.3f}, {cell['cpu_seconds']} s")
        return cell

    return {
        (a, b, arm): kept(folder / f"patients-{a}-{b}-{arm}.json", known, partial(made, a, b, arm))
        for a, b in plan.pairs
        for arm in PATIENT_ARMS
    }
