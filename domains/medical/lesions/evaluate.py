"""How well the lesion model does what it is asked: texture control, exact background, calls and seconds.

Texture control is LeFusion's histogram claim: ask for each preset on the same scan and mask many times; the made
histogram should be nearest to the asked preset, and the made mean should follow the asked mean. The floor is the same
lesions compared with shuffled requests, the ceiling real lesions compared with the cluster that they belong to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from domains.medical.lesions.conditioning import CONTRASTS, histogram, mean_of
from domains.medical.lesions.model import Fill, LesionModel


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


def kmeans(rows: NDArray, count: int, seed: int = 0, rounds: int = 50) -> tuple[NDArray, NDArray]:
    """Centres (count, d) ordered by the first contrast's mean, and the cluster of each row (Lloyd, 8 restarts)."""
    from scipy.cluster.vq import kmeans2

    best: tuple[float, NDArray, NDArray] | None = None
    for restart in range(8):
        centres, labels = kmeans2(rows, count, iter=rounds, minit="++", rng=np.random.default_rng((seed, restart)))
        spread = float(((rows - centres[labels]) ** 2).sum())
        if len(np.unique(labels)) == count and (best is None or spread < best[0]):
            best = spread, centres, labels
    if best is None:
        raise ValueError(f"{len(rows)} lesions do not fall into {count} clusters")
    _, centres, labels = best
    order = np.argsort([mean_of(c[:16]) for c in centres])
    return centres[order], np.argsort(order)[labels]


def texture_control(
    model: LesionModel,
    scans: Sequence[tuple[NDArray, NDArray]],
    presets: Mapping[str, Mapping[str, NDArray]],
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
    scans   (unit (3, D, H, W), mask (D, H, W)) of one size each;  presets  name -> contrast -> (16,)
    """
    fills = [
        (name, Fill(unit, mask, texture, int(np.random.SeedSequence((seed, i, j, k)).generate_state(1)[0])))
        for i, (unit, mask) in enumerate(scans)
        for j, (name, texture) in enumerate(presets.items())
        for k in range(repeats)
    ]
    made: list[NDArray] = []
    first_contrast = contrasts[0]
    for first in range(0, len(fills), batch):
        some = fills[first : first + batch]
        patches = model.fill([fill for _, fill in some], contrasts, steps=steps, tolerance=tolerance)
        made += [
            histogram(patch[CONTRASTS.index(first_contrast)], fill.mask)
            for patch, (_, fill) in zip(patches, some, strict=True)
        ]
    asked = [name for name, _ in fills]
    shuffled = list(np.random.default_rng(seed).permutation(asked))
    return TextureControl(
        nearest=_nearest(asked, made, presets, first_contrast),
        correlation=_correlation(asked, made, presets, first_contrast),
        nearest_shuffled=_nearest(shuffled, made, presets, first_contrast),
        correlation_shuffled=_correlation(shuffled, made, presets, first_contrast),
        lesions=len(made),
    )


def ceiling(rows: NDArray, presets: Mapping[str, Mapping[str, NDArray]], lead: str = CONTRASTS[0]) -> float:
    """What the best model could reach: the share of real lesions nearest to the preset made from their own cluster.

    rows   (n, 3, 16) histograms of real lesions (patches.textures); the clusters are those of the presets
    """
    cumulative = np.cumsum(rows[:, CONTRASTS.index(lead)], axis=1)
    _, labels = kmeans(cumulative, len(presets))
    order = np.argsort([mean_of(rows[labels == k, CONTRASTS.index(lead)].mean(0)) for k in range(len(presets))])
    names = np.asarray(list(presets))[np.argsort(order)[labels]]
    return _nearest(list(names), list(rows[:, CONTRASTS.index(lead)]), presets, lead)


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


def _nearest(
    asked: Sequence[str], made: Sequence[NDArray], presets: Mapping[str, Mapping[str, NDArray]], lead: str
) -> float:
    names = list(presets)
    cdf = np.stack([np.cumsum(presets[name][lead]) for name in names])  # distance between cumulative histograms (W1)
    found = [names[int(np.abs(np.cumsum(h) - cdf).sum(1).argmin())] for h in made]
    return float(np.mean([a == b for a, b in zip(asked, found, strict=True)]))


def _correlation(
    asked: Sequence[str], made: Sequence[NDArray], presets: Mapping[str, Mapping[str, NDArray]], lead: str
) -> float:
    wanted = [mean_of(presets[name][lead]) for name in asked]
    return float(np.corrcoef(wanted, [mean_of(h) for h in made])[0, 1])
