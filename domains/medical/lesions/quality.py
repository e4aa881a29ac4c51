"""Quality report of one made lesion: seam, texture and memorisation, each against real lesions.

All values are in network units (conditioning.Scale), those of the lesion as it was pasted into the scan (written.py).
Size, seam and histogram are measured on the grid of the scan, memorisation on the 1 mm grid of the training patches.

- seam           mean |x(p) - x(q)| over the faces of the lesion, p and q half a millimetre inside and outside: the
                 voxels on either side, on a scan of 1 mm. For the scan before and after, the ratio, and the rank of the
                 latter among real lesions
- histogram      1-Wasserstein distance of asked and made histogram (the area between the cumulative histograms, in
                 network units) and L1 distance (the sum of the absolute differences of the bins, 0 to 2)
- memorisation   highest NCC with a training patch under shifts and flips (memorisation.py), against real to real. The
                 patch holds the scan around the lesion too, so a lesion of a few voxels says little here (`share`), and
                 a training scan resembles itself before anything is made: only a patch that the lesion nears counts

A measure passes inside the range that real lesions span; the ranges come from the data (reference.py), not from here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as tensors_of
from safetensors.numpy import save as bytes_of
from torch import Tensor

from domains.medical.geometry import SAME_SPACING
from domains.medical.lesions.conditioning import BINS, SPACING_MM, histogram
from domains.medical.lesions.memorisation import EDGE, centres_of, highest_ncc, window
from shared.errors import UserError
from shared.front.atomic import write_atomic

SHIPPED = Path(__file__).parent / "checkpoints" / "reference.safetensors"
MOST_CENTRES = 8  # patches of one lesion that are compared, spread over it; 0.03 s each and contrast


def seam(values: NDArray, mask: NDArray, spacing: Sequence[float] = (SPACING_MM,) * 3) -> float:
    """Mean |step over the millimetre across a face| of the faces between inside and outside the mask; 0 without any.

    values (D, H, W) network units, mask (D, H, W) bool, spacing mm; a face counts by its area

    A step as sharp as the grid allows is the same number on every grid of up to 1 mm; a coarser one shows its slope.
    """
    total, surface = 0.0, 0.0
    for axis in range(3):
        area = float(np.prod(spacing)) / spacing[axis]
        crossed = np.diff(mask.astype(np.int8), axis=axis) != 0
        steps = _steps(np.asarray(values, np.float64), axis, spacing[axis])
        total += area * float(np.abs(steps)[crossed].sum())
        surface += area * int(crossed.sum())
    return total / surface if surface else 0.0


def _steps(values: NDArray, axis: int, spacing: float) -> NDArray:
    """x(face + 1/2 mm) - x(face - 1/2 mm) of the faces across an axis, linear between voxels, the ends repeated."""
    reach = 0.5 / spacing - 0.5  # from the voxel beside a face to the point, in voxels
    if abs(reach) < SAME_SPACING:
        return np.asarray(np.diff(values, axis=axis))
    if reach < 0:
        return np.asarray(np.diff(values, axis=axis) / spacing)
    line = np.moveaxis(values, axis, 0)
    places = np.arange(len(line) - 1)

    def at(voxel: NDArray) -> NDArray:
        return np.asarray(line[np.clip(voxel, 0, len(line) - 1)])

    whole = int(reach)
    share = reach - whole
    above = (1 - share) * at(places + 1 + whole) + share * at(places + 2 + whole)
    below = (1 - share) * at(places - whole) + share * at(places - 1 - whole)
    return np.moveaxis(above - below, 0, axis)


def histogram_distance(asked: NDArray, made: NDArray) -> tuple[float, float]:
    """(1-Wasserstein in network units, L1) of two histograms (16,) over [-1, 1] that sum to 1."""
    gap = np.asarray(made, np.float64) - np.asarray(asked, np.float64)
    return float(np.abs(np.cumsum(gap)).sum() * 2 / BINS), float(np.abs(gap).sum())


def rank(value: float, among: NDArray) -> float:
    """Share of `among` below the value, ties counted half."""
    return float(((among < value).sum() + (among == value).sum() / 2) / max(len(among), 1))


@dataclass(frozen=True, eq=False)
class Reference:
    """What real lesions look like; contrast -> ...

    projection      (8, 512, 128) of memorisation.py;  fingerprints  (N, 8, 128) of the training patches
    seams           (M,) of the real lesions;  distances  (M,) 1-Wasserstein of real lesion and its own preset
    real_to_real    (N,) highest NCC of each training patch with those that share no voxel with it
    seam_range, distance_limit, ncc_limit    what passes
    card            attribution, rule, counts and errors: everything a reader of the numbers needs
    """

    projection: Tensor
    fingerprints: Mapping[str, Tensor]
    seams: Mapping[str, NDArray]
    distances: Mapping[str, NDArray]
    real_to_real: Mapping[str, NDArray]
    seam_range: Mapping[str, tuple[float, float]]
    distance_limit: Mapping[str, float]
    ncc_limit: Mapping[str, float]
    card: Mapping[str, Any]

    @property
    def contrasts(self) -> tuple[str, ...]:
        return tuple(self.fingerprints)

    def save(self, path: Path) -> None:
        """Write `path` (.safetensors) and the card beside it (.json), each whole or not at all."""
        tensors = {"projection": self.projection.numpy()}
        for name in self.contrasts:
            tensors[f"{name}/fingerprints"] = self.fingerprints[name].half().numpy()
            tensors[f"{name}/seams"] = np.asarray(self.seams[name], np.float32)
            tensors[f"{name}/distances"] = np.asarray(self.distances[name], np.float32)
            tensors[f"{name}/real_to_real"] = np.asarray(self.real_to_real[name], np.float32)
        data = bytes_of({name: np.ascontiguousarray(value) for name, value in tensors.items()})
        limits = {
            name: {"seam": self.seam_range[name], "histogram": self.distance_limit[name], "ncc": self.ncc_limit[name]}
            for name in self.contrasts
        }
        card = {**self.card, "limits": limits, "sha256": hashlib.sha256(data).hexdigest()}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)
        write_atomic(path.with_suffix(".json"), json.dumps(card, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path | str = SHIPPED) -> Reference:
        """Read what `save` wrote; UserError when a file is absent, damaged or does not fit its card."""
        path = Path(path)
        remedy = "restore both files, or make them: suite train medical/lesion-reference"
        try:
            data = path.read_bytes()
            card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            if hashlib.sha256(data).hexdigest() != card["sha256"]:
                raise UserError("the hash in the card is that of another file", where=path.name, remedy=remedy)
            tensors = tensors_of(data)
            limits = card["limits"]
            parts = {
                key: {name: tensors[f"{name}/{key}"] for name in limits}
                for key in ("fingerprints", "seams", "distances", "real_to_real")
            }
            return cls(
                torch.from_numpy(tensors["projection"]),
                {name: torch.from_numpy(value) for name, value in parts["fingerprints"].items()},
                parts["seams"],
                parts["distances"],
                parts["real_to_real"],
                {name: (float(own["seam"][0]), float(own["seam"][1])) for name, own in limits.items()},
                {name: float(own["histogram"]) for name, own in limits.items()},
                {name: float(own["ncc"]) for name, own in limits.items()},
                card,
            )
        except OSError as error:
            raise UserError(f"cannot be read ({error.strerror})", where=str(path), remedy=remedy) from error
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"is damaged ({type(error).__name__})", where=str(path), remedy=remedy) from error


@dataclass(frozen=True)
class Seam:
    """Seam before and after, their ratio (0 where before is 0), rank of after among real lesions, what passes."""

    before: float
    after: float
    ratio: float
    rank: float
    passes: tuple[float, float]


@dataclass(frozen=True)
class Texture:
    """Distance of asked and made histogram, its rank among real lesions and their presets, what passes."""

    wasserstein: float
    l1: float
    rank: float
    passes: float


@dataclass(frozen=True)
class Copy:
    """Highest NCC with a training patch, its rank among real to real, what passes; and the NCC of the scan before with
    the same training patch, measured only above the limit, where a patch that the lesion came closer to goes first."""

    ncc: float
    rank: float
    passes: float
    before: float | None

    @property
    def copied(self) -> bool:
        """Above the limit, and closer to that training patch than the scan was before."""
        return self.ncc > self.passes and self.before is not None and self.ncc > self.before


@dataclass(frozen=True, eq=False)
class InScan:
    """A lesion on the grid of its scan, with some voxels around it.

    before, after   contrast -> (I, J, K) network units without and with it;  mask  (I, J, K) bool;  spacing  mm
    """

    before: Mapping[str, NDArray]
    after: Mapping[str, NDArray]
    mask: NDArray
    spacing: tuple[float, float, float] = (SPACING_MM, SPACING_MM, SPACING_MM)


@dataclass(frozen=True)
class LesionReport:
    """One lesion: its size in the scan, three measures a contrast, and why it failed if it did.

    voxels   of the scan;  volume_ml  of them together;  share  of the compared patches that is lesion
    failed   which measures failed, as ("FLAIR", "seam");  reasons  the sentence of each
    redraws  how often it was drawn again, together with the lesions of its site
    """

    voxels: int
    volume_ml: float
    share: float
    seam: Mapping[str, Seam]
    histogram: Mapping[str, Texture]
    memorisation: Mapping[str, Copy]
    reasons: tuple[str, ...]
    failed: tuple[tuple[str, str], ...] = ()
    redraws: int = 0

    @property
    def passed(self) -> bool:
        return not self.reasons

    def to_json(self) -> dict[str, object]:
        """Plain numbers, five significant digits."""
        measures = {
            key: {name: _plain(vars(one)) for name, one in getattr(self, key).items()}
            for key in ("seam", "histogram", "memorisation")
        }
        head = {"passed": self.passed, "reasons": list(self.reasons), "drawn_again": self.redraws}
        size = {"voxels": self.voxels, "volume_ml": _plain(self.volume_ml), "share_of_patch": _plain(self.share)}
        return {**head, **size, **measures}


def report(
    before: Mapping[str, NDArray],
    after: Mapping[str, NDArray],
    mask: NDArray,
    asked: Mapping[str, NDArray],
    reference: Reference,
    scan: InScan | None = None,
) -> LesionReport:
    """Judge one lesion.

    before, after   contrast -> (D, H, W) float32, the 1 mm RAS patch in network units without and with the lesion
    mask            (D, H, W) bool, the lesion; ValueError when it is empty
    asked           contrast -> (16,) histogram that was asked for
    scan            the same lesion on the grid of the scan; None: that is the patch
    """
    if not mask.any():
        raise ValueError("the mask of the lesion is empty")
    seams, textures, copies, reasons, failed = {}, {}, {}, [], []
    centres = _spread(centres_of(mask))
    scan = scan or InScan(before, after, mask)
    for name in after:
        seams[name] = _seam(scan, name, reference)
        textures[name] = _texture(asked[name], scan, name, reference)
        copies[name] = _copy(before[name], after[name], centres, name, reference)
        low, high = seams[name].passes
        if not low <= seams[name].after <= high:
            failed.append((name, "seam"))
            side = "stronger" if seams[name].after > high else "weaker"
            reasons.append(
                f"{name}: the seam of {seams[name].after:.3f} per mm is {side} than that of real lesions "
                f"({low:.3f} to {high:.3f})"
            )
        if textures[name].wasserstein > textures[name].passes:
            failed.append((name, "histogram"))
            reasons.append(
                f"{name}: the histogram lies {textures[name].wasserstein:.3f} from the one asked for, "
                f"real lesions at most {textures[name].passes:.3f} from theirs"
            )
        if copies[name].copied:
            failed.append((name, "memorisation"))
            reasons.append(
                f"{name}: correlates {copies[name].ncc:.3f} with a training patch, real lesions at most "
                f"{copies[name].passes:.3f} with one another"
            )
    share = float(np.mean([_share(mask, centre) for centre in centres]))
    voxels = int(scan.mask.sum())
    volume_ml = voxels * float(np.prod(scan.spacing)) / 1000
    return LesionReport(voxels, volume_ml, share, seams, textures, copies, tuple(reasons), tuple(failed))


def _seam(scan: InScan, contrast: str, reference: Reference) -> Seam:
    was, now = (seam(values[contrast], scan.mask, scan.spacing) for values in (scan.before, scan.after))
    ranked = rank(now, reference.seams[contrast])
    return Seam(was, now, now / was if was else 0.0, ranked, reference.seam_range[contrast])


def _texture(asked: NDArray, scan: InScan, contrast: str, reference: Reference) -> Texture:
    wasserstein, l1 = histogram_distance(asked, histogram(scan.after[contrast], scan.mask))
    ranked = rank(wasserstein, reference.distances[contrast])
    return Texture(wasserstein, l1, ranked, reference.distance_limit[contrast])


def _copy(before: NDArray, after: NDArray, centres: NDArray, contrast: str, reference: Reference) -> Copy:
    limit, ranked = reference.ncc_limit[contrast], reference.real_to_real[contrast]
    now = _ncc(after, centres, contrast, reference)  # (N,)
    if now.max() <= limit:
        return Copy(float(now.max()), rank(float(now.max()), ranked), limit, None)
    was = _ncc(before, centres, contrast, reference)
    closer = np.where((now > limit) & (now > was), now, -1)
    worst = int(closer.argmax() if closer.max() > 0 else now.argmax())
    return Copy(float(now[worst]), rank(float(now[worst]), ranked), limit, float(was[worst]))


def _ncc(values: NDArray, centres: NDArray, contrast: str, reference: Reference) -> NDArray:
    """(N,) highest NCC with each training patch over the centres."""
    known = reference.fingerprints[contrast]
    blocks = [window(values, centre) for centre in centres]
    return np.max([highest_ncc(block, known, reference.projection).numpy() for block in blocks], axis=0)


def _spread(centres: NDArray) -> NDArray:
    """At most MOST_CENTRES of them, the fullest cell and others at equal steps of the order."""
    steps = np.linspace(0, len(centres) - 1, min(len(centres), MOST_CENTRES))
    return centres[np.unique(np.rint(steps).astype(int))]


def _share(mask: NDArray, centre: NDArray) -> float:
    block = tuple(slice(max(int(c) - EDGE // 2, 0), int(c) + EDGE // 2) for c in centre)
    return float(mask[block].sum()) / EDGE**3


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
