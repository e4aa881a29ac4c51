"""How well the lesion model does what it is asked: texture control, exact background, calls and seconds.

Texture control is LeFusion's histogram claim: ask for each preset on the same scan and mask many times; the made
histogram should be nearest to the asked preset, and the made mean should follow the asked mean. The floor is the same
lesions compared with shuffled requests, the ceiling real lesions compared with the group that they belong to
(real_lesions.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domains.medical.lesions.conditioning import CONTRASTS, histogram, mean_of
from domains.medical.lesions.model import Fill, LesionModel
from domains.medical.lesions.presets import Preset, asked_at
from domains.medical.lesions.quality import histogram_distance


@dataclass(frozen=True)
class TextureControl:
    """nearest: share of lesions nearest to the asked preset (of the first contrast); correlation of asked and made
    mean; the same two with shuffled requests; lesions: how many."""

    nearest: float
    correlation: float
    nearest_shuffled: float
    correlation_shuffled: float
    lesions: int

    def to_json(self) -> dict[str, float | int]:
        return dict(vars(self))


def texture_control(
    model: LesionModel,
    scans: Sequence[tuple[NDArray, NDArray]],
    presets: Mapping[str, Preset],
    *,
    repeats: int = 20,
    seed: int = 0,
    steps: int = 60,
    contrasts: Sequence[str] = CONTRASTS,
    batch: int = 20,
    tolerance: Mapping[str, float] | None = None,
) -> TextureControl:
    """Ask for every preset on every scan `repeats` times.

    tolerance   of the guidance towards the histogram, by contrast; None is the plain method
    scans   (unit (3, D, H, W), mask (D, H, W)) of one size each;  presets  by name
    """
    at = [
        {name: asked_at(preset, unit, mask, ~mask, contrasts) for name, preset in presets.items()}
        for unit, mask in scans
    ]
    tasks = [(i, j, k) for i in range(len(scans)) for j in range(len(presets)) for k in range(repeats)]
    names, lead = list(presets), contrasts[0]
    wanted = [{name: asked.whole[lead] for name, asked in at[i].items()} for i, _, _ in tasks]
    made: list[NDArray] = []
    for first in range(0, len(tasks), batch):
        fills = []
        for i, j, k in tasks[first : first + batch]:
            asked, own = at[i][names[j]], int(np.random.SeedSequence((seed, i, j, k)).generate_state(1)[0])
            fills.append(Fill(*scans[i], asked.whole, own, asked.layers))
        patches = model.fill(fills, contrasts, steps=steps, tolerance=tolerance)
        made += [histogram(patch[CONTRASTS.index(lead)], fill.mask) for patch, fill in zip(patches, fills, strict=True)]
    said = [names[j] for _, j, _ in tasks]
    shuffled = [str(name) for name in np.random.default_rng(seed).permutation(said)]
    return TextureControl(
        nearest=nearest(said, made, wanted),
        correlation=_correlation(said, made, wanted),
        nearest_shuffled=nearest(shuffled, made, wanted),
        correlation_shuffled=_correlation(shuffled, made, wanted),
        lesions=len(made),
    )


def held_out_scans(count: int, edge: int = 16) -> list[tuple[NDArray, NDArray]]:
    """Patches (unit (3, D, H, W), mask (D, H, W)) around lesions of phantoms that no recipe trains on."""
    from domains.medical.lesions.patches import LesionPatches, phantoms

    out: list[tuple[NDArray, NDArray]] = []
    for k, one in enumerate(phantoms(count, seed=1)):
        batches = LesionPatches([one], [1.0], edge, rows=1, seed=k)
        step = 0
        while len(out) <= k:
            batch, step = batches(step), step + 1
            if batch["presence"].sum() == len(CONTRASTS) and batch["mask"].sum() >= 40:
                out.append((batch["x0"][0].numpy(), batch["mask"][0, 0].numpy()))
    return out


def nearest(said: Sequence[str], made: Sequence[NDArray], wanted: Sequence[Mapping[str, NDArray]]) -> float:
    """Share of lesions whose histogram (16,) lies nearest, by 1-Wasserstein, to what their preset wanted there.

    said   the preset of each lesion;  wanted   name -> (16,), what every preset wanted at the place of each
    """
    hits = [
        min(here, key=lambda one: histogram_distance(here[one], bins)[0]) == name
        for name, bins, here in zip(said, made, wanted, strict=True)
    ]
    return float(np.mean(hits))


def _correlation(said: Sequence[str], made: Sequence[NDArray], wanted: Sequence[Mapping[str, NDArray]]) -> float:
    asked = [mean_of(here[name]) for name, here in zip(said, wanted, strict=True)]
    return float(np.corrcoef(asked, [mean_of(bins) for bins in made])[0, 1])
