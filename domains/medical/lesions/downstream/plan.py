"""What is run and what counts as success: sizes, seeds, arms, rule. Written before the first measured number.

Claim (LeFusion, Zhang et al. 2025): a segmenter trained on real and synthetic lesions beats one trained on real lesions
alone, and lesions from the lesion-focused diffusion model serve it no worse than hand-crafted ones. Copy-paste of real
lesions is reported beside them and no superiority over it is claimed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

ARMS = {
    "real": "real only",
    "lesion_free": "+ lesion-free",
    "hand_crafted": "+ hand-crafted",
    "copy_paste": "+ copy-paste",
    "lefusion": "+ LeFusion",
    "both": "+ copy-paste + LeFusion",
    "synthetic_only": "LeFusion only, no real",
}
LONG_TAIL_ARMS = {
    "real": "real only",
    "copy_paste": "+ copy-paste of the rare type",
    "lefusion": "+ LeFusion, rare texture",
}
PATIENT_ARMS = {"real": "real only", "copy_paste": "+ copy-paste", "lefusion": "+ LeFusion"}

BASELINES = ("real", "hand_crafted")
RULE = (
    "held: over 5 data seeds the lower end of the paired 95 % bootstrap interval of the difference in mean Dice on "
    "patches with a nodule is above 0 for LeFusion minus real only and at least 0 for LeFusion minus hand-crafted; "
    "partly held: one of the two; not held: neither. Copy-paste is reported, without a rule. "
    "Hypothesis without a rule: with 10 % solid nodules in training, LeFusion asked for the rare texture gives a "
    "higher Dice on solid nodules than copy-paste of the rare ones."
)


@dataclass(frozen=True)
class Plan:
    """Sizes of the experiment; results of one plan are never mixed with those of another.

    seeds            data seeds: training patches, carriers, test patches and lesion model all change with them
    runs             segmenters trained in each (seed, arm), whose scores are averaged
    real, carriers   labelled patches with a nodule; lesion-free patches, which also carry the synthetic nodules
    test_with, test_free   test patches with and without a nodule
    model_steps, model_rows, model_lr    training of the lesion model
    segmenter_steps, segmenter_rows, segmenter_lr    training of every segmenter, the same in all arms
    rare_share       share of solid nodules in training in the long-tail variant
    """

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    runs: int = 2
    real: int = 24
    carriers: int = 96
    test_with: int = 200
    test_free: int = 100
    model_steps: int = 1000
    model_rows: int = 16
    model_lr: float = 1e-3
    segmenter_steps: int = 500
    segmenter_rows: int = 16
    segmenter_lr: float = 3e-3
    rare_share: float = 0.1

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, as they come back from a file."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


SMALL = Plan(seeds=(900,), runs=1, test_with=60, test_free=30, model_steps=300, segmenter_steps=120)
"""One seed that the experiment does not use, a minute: for tests and for a first look."""
