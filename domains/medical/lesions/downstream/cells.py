"""The cells of the experiment, one JSON a (variant, seed, arm); what is there already is not run again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.medical.lesions.downstream import lesion_model, segmenter
from domains.medical.lesions.downstream.origin import made_by, model_name
from domains.medical.lesions.downstream.plan import ARMS, LONG_TAIL_ARMS, Plan
from domains.medical.lesions.downstream.scores import scores
from domains.medical.lesions.downstream.synthesis import Asked, copy_pasted, hand_crafted, lefusion, placed
from domains.medical.lung2d import KINDS, Patches, joined, lesion_free, with_nodules
from shared.measured import kept
from shared.noise import stream

Say = Callable[[str], None]
VARIANTS = {"main": ARMS, "long_tail": LONG_TAIL_ARMS}
WAYS = {  # arm -> what fills the synthetic lesions that it adds
    "hand_crafted": ("hand_crafted",),
    "copy_paste": ("copy_paste",),
    "lefusion": ("lefusion",),
    "both": ("copy_paste", "lefusion"),
    "synthetic_only": ("lefusion",),
}


def number(seed: int, name: str) -> int:
    """A seed of its own for every use of a data seed."""
    return stream(seed, 0, f"downstream {name}").initial_seed()


@dataclass(frozen=True, eq=False)
class World:
    """Data and synthetic patches of one data seed; made when asked for, the lesion model kept in `folder`."""

    plan: Plan
    variant: str
    seed: int
    folder: Path

    @property
    def model_folder(self) -> Path:
        return self.folder / model_name(f"{self.variant}-{self.seed}", self.plan.to_json())

    @cached_property
    def real(self) -> Patches:
        """Labelled training patches; in the long-tail variant exactly the rare share of them is solid."""
        name = f"{self.variant} real"
        if self.variant == "main":
            return with_nodules(self.plan.real, number(self.seed, name))
        rare = max(1, round(self.plan.rare_share * self.plan.real))
        common = with_nodules(self.plan.real - rare, number(self.seed, name), (1, 1, 0))
        return joined(common, with_nodules(rare, number(self.seed, f"{name} solid"), (0, 0, 1)))

    @cached_property
    def carriers(self) -> NDArray:
        return lesion_free(self.plan.carriers, number(self.seed, "carriers")).images

    @cached_property
    def test(self) -> Patches:
        """Patches with a nodule, all types alike, and normal ones."""
        return joined(
            with_nodules(self.plan.test_with, number(self.seed, "test")),
            lesion_free(self.plan.test_free, number(self.seed, "test normal")),
        )

    @cached_property
    def chances(self) -> NDArray | None:
        """In the long-tail variant the rare type is asked for, and pasted, in half of the cases."""
        if self.variant == "main":
            return None
        rare = self.real.kinds == KINDS.index("solid")
        return np.where(rare, 0.5 / rare.sum(), 0.5 / (~rare).sum())

    @cached_property
    def made(self) -> tuple[dict[str, NDArray], NDArray, Asked]:
        """Synthetic patches of every way, their masks (shared), and what the model was asked for and gave.

        Copy-paste takes its lesions where the placement does. In the long-tail variant the LeFusion masks come from
        all lesions: any shape may be asked for in the rare texture.
        """
        images, masks = self.real.images, self.real.masks
        rng = np.random.default_rng(number(self.seed, "placement"))
        placement = placed(images, masks, self.carriers, rng, chances=self.chances)
        plan = self.plan
        network = lesion_model.train(
            images,
            masks,
            steps=plan.model_steps,
            rows=plan.model_rows,
            lr=plan.model_lr,
            seed=self.seed,
            out=self.model_folder,
        )
        ways = {"copy_paste": copy_pasted(placement), "hand_crafted": hand_crafted(placement, rng)}
        ways["lefusion"], asked = lefusion(network, placement, images, masks, rng, chances=self.chances)
        return ways, placement.masks, asked

    def training_set(self, arm: str) -> tuple[NDArray, NDArray]:
        """Images and masks that the segmenter of an arm learns from."""
        parts = [] if arm == "synthetic_only" else [(self.real.images, self.real.masks)]
        if arm == "lesion_free":
            parts.append((self.carriers, np.zeros(self.carriers.shape, bool)))
        for way in WAYS.get(arm, ()):
            made, masks, _ = self.made
            parts.append((made[way], masks))
        return np.concatenate([images for images, _ in parts]), np.concatenate([masks for _, masks in parts])


def run_cell(world: World, arm: str) -> dict[str, Any]:
    """Train the segmenters of one arm, test them, and return what the tables need."""
    start = time.process_time()
    images, masks = world.training_set(arm)
    test, plan, made = world.test, world.plan, []
    for run in range(plan.runs):
        network = segmenter.train(
            images,
            masks,
            steps=plan.segmenter_steps,
            rows=plan.segmenter_rows,
            lr=plan.segmenter_lr,
            seed=number(world.seed, f"segmenter {run}"),
        )
        made.append(scores(segmenter.segmented(network, test.images), test.masks))
    with_lesion = test.kinds >= 0
    cell: dict[str, Any] = {
        "dice": np.mean([s.dice[with_lesion] for s in made], 0).round(4).tolist(),
        "found": np.mean([s.found[with_lesion] for s in made], 0).round(3).tolist(),
        "alarms": np.mean([s.alarms for s in made], 0).round(3).tolist(),
        "kinds": test.kinds[with_lesion].tolist(),
        "radii": test.radii[with_lesion].round(3).tolist(),
        "patches": len(images),
        "cpu_seconds": round(time.process_time() - start, 1),
    }
    if arm == "lefusion":
        asked = world.made[2]
        cell |= {
            "correlation": round(asked.correlation, 4),
            "distance": round(asked.distance, 4),
            "distance_shuffled": round(asked.shuffled, 4),
        }
    return cell


def run_all(
    plan: Plan, folder: Path, *, variant: str = "main", seeds: Sequence[int] | None = None, say: Say = print
) -> dict[tuple[int, str], Any]:
    """Every cell of a variant, by (seed, arm); cells that `folder` holds are read. Seeds one after the other.

    seeds   some of the plan's, so that several processes can share the work; all by default
    Raises UserError when the folder holds cells of another plan or source.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = made_by(plan.to_json())
    cells: dict[tuple[int, str], Any] = {}

    def made(world: World, arm: str) -> dict[str, Any]:
        cell = run_cell(world, arm)
        say(f"{variant} seed {world.seed} {arm}: Dice {np.mean(cell['dice']):.3f}, {cell['cpu_seconds']} s")
        return cell

    for seed in plan.seeds if seeds is None else seeds:
        world = World(plan, variant, seed, folder)
        for arm in VARIANTS[variant]:
            cells[seed, arm] = kept(folder / f"{variant}-{seed}-{arm}.json", known, partial(made, world, arm))
    return cells
