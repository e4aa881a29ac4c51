"""Put lesions into a scan: crop at 1 mm, synthesise, resample back, paste. Outside the mask nothing changes.

The steps for each variation: one patch a site (placement), the scan's own intensity scale (conditioning), the model's
118 calls (model), the values back on the scan's grid inside the mask only, and a quality report a lesion on what is
written there (written); a lesion that fails is drawn again, three times at most and not for the same reasons twice; the
draw with the fewest failures is kept, and the report says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from domains.medical.data import Volume
from domains.medical.geometry import Patch, crop_at_spacing, paste_back, spacing_of
from domains.medical.lesions.conditioning import CONTRASTS, SPACING_MM, Scale, Texture, brain_mask
from domains.medical.lesions.model import Fill, LesionModel
from domains.medical.lesions.placement import Site, sites_of
from domains.medical.lesions.presets import Asked, Preset, asked_at
from domains.medical.lesions.quality import LesionReport, Reference, report
from domains.medical.lesions.written import in_scan, lesion_in, pasted
from domains.medical.parallel import each
from shared.errors import UserError

REDRAWS = 3
COVERED = 1e-3  # share of a lesion voxel in a patch voxel above which the patch voxel belongs to the lesion
WHOLLY = 0.999  # share of tissue in a patch voxel above which the patch voxel shows what stands around the lesion


@dataclass(frozen=True, eq=False)
class Variation:
    """One set of lesions in the scan.

    values   contrast -> (file shape) float32 values
    textures what was asked at each site, after the jitter: contrast -> (16,)
    reports  one a lesion, site by site, largest first;  redraws  how many sites were drawn again, each time counted
    """

    values: Mapping[str, NDArray]
    textures: tuple[Texture, ...]
    seed: int
    reports: tuple[LesionReport, ...] = ()
    redraws: int = 0


@dataclass(frozen=True, eq=False)
class Prepared:
    """A scan and a mask, checked and cut into patches; what all variations share."""

    volumes: Mapping[str, Volume]
    mask: NDArray
    ras: Mapping[str, NDArray]
    ras_mask: NDArray
    scales: Mapping[str, Scale]
    sites: tuple[Site, ...]
    patches: tuple[Mapping[str, Patch], ...] = ()
    patch_masks: tuple[NDArray, ...] = field(default=())
    patch_tissue: tuple[NDArray, ...] = field(default=())

    @property
    def contrasts(self) -> tuple[str, ...]:
        return tuple(self.volumes)

    def units(self, site: int) -> NDArray:
        """(3, D, H, W) network input of a site, zeros for an absent contrast."""
        parts = self.patches[site]
        empty = np.zeros(self.sites[site].size, np.float32)
        return np.stack([self.scales[c].to_unit(parts[c].values) if c in parts else empty for c in CONTRASTS])

    def asked(self, site: int, texture: Texture | Preset, rng: np.random.Generator) -> Asked:
        """What a texture asks for at a site."""
        return asked_at(texture, self.units(site), self.patch_masks[site], self.patch_tissue[site], self.contrasts, rng)


@dataclass(frozen=True, eq=False)
class Draw:
    """One patch that was made, with the report of each lesion in it."""

    patch: NDArray
    reports: tuple[LesionReport, ...]

    @property
    def failed(self) -> frozenset[tuple[int, str, str]]:
        """What failed: lesion, contrast, measure."""
        return frozenset((k, *measure) for k, one in enumerate(self.reports) for measure in one.failed)


def prepare(volumes: Mapping[str, Volume], mask: NDArray, *, anywhere: bool = False) -> Prepared:
    """Check that the lesion lies in the brain and cut the patches.

    volumes   contrast (FLAIR, T1, T2) -> scan, all on one grid;  mask  (file shape) bool on that grid
    anywhere  allow lesion voxels outside the brain
    """
    refuse_unknown(volumes)
    frame = next(iter(volumes.values())).frame
    ras = dict(zip(volumes, each(lambda volume: frame.to_ras(volume.values), volumes.values()), strict=True))
    brains = dict(zip(ras, each(brain_mask, ras.values()), strict=True))
    ras_mask = np.ascontiguousarray(frame.to_ras(mask))
    outside = int((ras_mask & ~next(iter(brains.values()))).sum())
    if outside and not anywhere:
        raise UserError(
            f"{outside} of {int(ras_mask.sum())} lesion voxels lie outside the brain",
            where="--mask",
            remedy="move the lesion into the brain, or add --anywhere",
        )
    scales = {name: Scale.of(ras[name], brains[name], where=f"--image {name}") for name in ras}
    sites = tuple(sites_of(ras_mask, frame.affine, where="--mask")) if ras_mask.any() else ()
    patches, masks, tissue = [], [], []
    brain = (np.logical_and.reduce(list(brains.values())) & ~ras_mask).astype(np.float32)
    for site in sites:
        cut = {
            name: crop_at_spacing(values, frame.affine, site.centre_mm, site.size, SPACING_MM, fill=_outside(values))
            for name, values in ras.items()
        }
        where = crop_at_spacing(site.mask, frame.affine, site.centre_mm, site.size, SPACING_MM)
        patches.append(cut)
        around = crop_at_spacing(brain, frame.affine, site.centre_mm, site.size, SPACING_MM)
        masks.append(where.values > COVERED)
        tissue.append(around.values > WHOLLY)
    return Prepared(volumes, mask, ras, ras_mask, scales, sites, tuple(patches), tuple(masks), tuple(tissue))


def refuse_unknown(contrasts: Iterable[str]) -> None:
    """UserError for a contrast that the model was not made for."""
    unknown = sorted(set(contrasts) - set(CONTRASTS))
    if unknown:
        raise UserError(
            f"the model does not know the contrast {', '.join(unknown)}",
            where="--image",
            remedy=f"name contrasts among {', '.join(CONTRASTS)}, as in --image T1=scan.nii.gz",
        )


def vary(
    prepared: Prepared,
    model: LesionModel,
    texture: Texture | Preset,
    *,
    seed: int,
    reference: Reference | None = None,
    steps: int = 60,
    jump: int = 2,
    repeats: int = 2,
    texture_guidance: float = 0.0,
    progress: Callable[[int, int, str], None] | None = None,
) -> Variation:
    """One variation. The same seed gives the same lesions; an empty mask gives the scan itself.

    texture    a preset, or contrast -> wanted histogram (16,); jittered by 10 % of each bin as in the paper
    reference  what the quality report compares with; without it no report is made and nothing drawn again
    texture_guidance   0 the plain method, to 1: how closely the histograms are followed (see `tolerances`)

    A lesion is drawn again only while chance may help: what failed in two draws running would fail again.
    """
    rng = np.random.default_rng(seed)
    asked = [prepared.asked(site, texture, rng) for site in range(len(prepared.sites))]
    best: dict[int, Draw] = {}
    last: dict[int, Draw] = {}
    todo = list(range(len(prepared.sites)))
    draws = [0] * len(todo)
    calls = model.calls(steps, jump, repeats)
    within = tolerances(prepared.contrasts, texture_guidance, reference)
    for attempt in range(REDRAWS + 1):
        again = []
        for done, site in enumerate(todo):
            note = f"lesion site {done + 1} of {len(todo)}" + (f", drawn again ({attempt})" if attempt else "")
            said = _progress(progress, done * calls, len(todo) * calls, note)
            fill = Fill(
                prepared.units(site),
                prepared.patch_masks[site],
                asked[site].whole,
                _site_seed(seed, site, attempt),
                asked[site].layers,
            )
            (patch,) = model.fill(
                [fill],
                prepared.contrasts,
                steps=steps,
                jump=jump,
                repeats=repeats,
                tolerance=within,
                progress=said,
            )
            reports = () if reference is None else _reports(prepared, site, patch, asked[site].whole, reference)
            draw = Draw(patch, reports)
            draws[site] += 1
            if site not in best or len(draw.failed) < len(best[site].failed):
                best[site] = draw
            if draw.failed and not (site in last and last[site].failed <= draw.failed):
                again.append(site)
            last[site] = draw
        todo = again
        if not todo:
            break
    made = {site: draw.patch for site, draw in best.items()}
    filled = each(lambda name: _pasted(prepared, name, made), prepared.contrasts)
    values = dict(zip(prepared.contrasts, filled, strict=True))
    every = tuple(replace(one, redraws=draws[site] - 1) for site in sorted(best) for one in best[site].reports)
    return Variation(values, tuple(one.whole for one in asked), seed, every, sum(draws) - len(draws))


def tolerances(
    contrasts: Sequence[str], texture_guidance: float, reference: Reference | None = None
) -> dict[str, float] | None:
    """How far the histogram of a lesion may lie from the one asked for before it is pulled, by contrast; None for 0.

    The scale is the farthest that real lesions lie from their own preset, which the quality report lets pass; lesions
    come within 1 - texture_guidance of it.
    """
    if texture_guidance == 0:
        return None
    limit = (reference or Reference.load()).distance_limit
    return {name: (1 - texture_guidance) * limit[name] for name in contrasts}


def _progress(
    progress: Callable[[int, int, str], None] | None, before: int, total: int, note: str
) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, _: progress(before + done, total, note)


def _site_seed(seed: int, site: int, attempt: int) -> int:
    return int(np.random.SeedSequence((seed, site, attempt)).generate_state(1, np.uint32)[0])


def _reports(
    prepared: Prepared, site: int, made: NDArray, asked: Texture, reference: Reference
) -> tuple[LesionReport, ...]:
    here, patches, affine = prepared.sites[site], prepared.patches[site], _affine(prepared)
    channels = {name: i for i, name in enumerate(CONTRASTS) if name in prepared.contrasts}
    before = prepared.units(site)
    after = {}
    for name, i in channels.items():
        values, scale = prepared.ras[name], prepared.scales[name]
        after[name] = pasted(values, affine, patches[name], made[i], here.voxels, scale, _outside(values))
    return tuple(
        report(
            {name: before[i] for name, i in channels.items()},
            {name: one.patch for name, one in after.items()},
            lesion_in(next(iter(patches.values())), affine, lesion),
            {name: asked[name] for name in channels},
            reference,
            in_scan(after, lesion, spacing_of(affine)),
        )
        for lesion in here.lesions
    )


def _affine(prepared: Prepared) -> NDArray:
    return next(iter(prepared.volumes.values())).frame.affine


def _outside(values: NDArray) -> float:
    """What a scan (RAS frame) is taken to hold beyond its grid."""
    return float(values[0, 0, 0])


def _pasted(prepared: Prepared, name: str, made: Mapping[int, NDArray]) -> NDArray:
    values = prepared.ras[name]
    channel = CONTRASTS.index(name)
    for i, site in enumerate(prepared.sites):
        patch = replace(prepared.patches[i][name], values=prepared.scales[name].from_unit(made[i][channel]))
        values = paste_back(patch, values, site.mask)
    return prepared.volumes[name].frame.from_ras(np.asarray(values, np.float32))


def union(mask: NDArray, existing: NDArray | None) -> NDArray:
    """The label of the result: what was there before keeps its values, new lesions are 1 where it was 0."""
    return mask if existing is None else np.where(existing > 0, existing, mask)


def ordered(names: Sequence[str]) -> list[str]:
    """Contrast names in the order of the model."""
    return [name for name in CONTRASTS if name in names]
