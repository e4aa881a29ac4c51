"""Is this scan like the scans the lesion model was trained on? One row a criterion, and a verdict over all rows.

Every volume is measured once (`measure`), on a sub-sampled grid of about 2 mm, and its numbers are compared with those
of the training scans, which are stored beside the weights (`training_domain.json`, made by `make_training_domain`):

- skull-stripped   the air is one exact number on nearly every face voxel, what remains is one piece, and its
                   intensity by depth has no bright rim followed by a dark ring (scalp and skull)
- intensity law    a magnitude image: no label map, no probability map, no CT numbers; and the quantile function of
                   x = (v - median) / (5 IQR / 1.349), clipped to [-1, 1], lies near that of a training scan of the
                   contrast (1-Wasserstein distance, d = mean over levels of |q - q_train|)
- tissue order     is fluid darker or brighter than tissue (the shell of 2 mm below the surface against the inside; the
                   longer tail of x), and is what lies deep, white matter, brighter or darker than what lies shallow
                   (rank correlation of intensity with depth, fluid left out): T1 dark and rising, FLAIR dark and not
                   rising, T2 bright and not rising
- spacing, resolution, brain size   against the 1 mm grid, the detail and the millimetres of the training scans

Where the verdict needs a border between two groups of training scans, the middle third of the gap between them means
"cannot tell". Two patients and their phantoms are few: the borders separate those and the public scans of the tests,
and say nothing about how often they fail elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from domains.medical.data import Volume
from domains.medical.lesions.conditioning import CONTRASTS
from domains.medical.lesions.scan_measures import Measured, measure
from domains.medical.parallel import each
from shared.front.atomic import write_atomic

Verdict = Literal["inside", "outside", "cannot tell"]
SHIPPED = Path(__file__).parent / "checkpoints" / "training_domain.json"
FEWEST_LEVELS = 32  # different values of a label map
AIR_HU, TISSUE_HU = -500.0, (-50.0, 120.0)  # CT numbers: air is -1000, a brain lies between 0 and 80
RIM_DIP = 0.15  # normalised; the deepest dip of the six training scans is 0.01, that of a head 0.3 or more


@dataclass(frozen=True)
class TrainingScan:
    """A training scan: where it comes from, its contrast, and what it shows."""

    name: str
    contrast: str
    measured: Measured


@dataclass(frozen=True)
class TrainingDomain:
    """The training scans, as numbers. `source` is the attribution that goes with them."""

    scans: tuple[TrainingScan, ...]
    source: str

    def of(self, contrast: str) -> list[Measured]:
        """The scans of one contrast."""
        return [scan.measured for scan in self.scans if scan.contrast == contrast]

    def save(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        scans = [{"name": s.name, "contrast": s.contrast, "measured": _rounded(asdict(s.measured))} for s in self.scans]
        rows = ",\n".join(json.dumps(scan) for scan in scans)  # a scan a line
        write_atomic(path, f'{{"source": {json.dumps(self.source)}, "scans": [\n{rows}\n]}}\n')

    @classmethod
    def load(cls, path: Path = SHIPPED) -> TrainingDomain:
        """Read what `save` wrote."""
        content = json.loads(path.read_text(encoding="utf-8"))
        scans = []
        for scan in content["scans"]:
            tuples: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in scan["measured"].items()}
            scans.append(TrainingScan(scan["name"], scan["contrast"], Measured(**tuples)))
        return cls(tuple(scans), content["source"])


@dataclass(frozen=True)
class Row:
    """One criterion on one contrast: the verdict, the numbers behind it, a sentence, and what a user can do."""

    criterion: str
    contrast: str
    verdict: Verdict
    measured: Mapping[str, object]
    sentence: str
    remedy: str


@dataclass(frozen=True)
class DomainVerdict:
    """All rows; `overall` is outside if any row is, else "cannot tell" if any row is, else inside."""

    rows: tuple[Row, ...]

    @property
    def overall(self) -> Verdict:
        return _worst(row.verdict for row in self.rows)

    def of(self, contrast: str) -> Verdict:
        """The verdict over the rows of one contrast."""
        return _worst(row.verdict for row in self.rows if row.contrast == contrast)

    def sentences(self, verdict: Verdict) -> list[str]:
        """One sentence for each row with that verdict."""
        return [f"{row.contrast}, {row.criterion}: {row.sentence}" for row in self.rows if row.verdict == verdict]

    def to_json(self) -> dict[str, object]:
        """For the sidecar: the overall verdict and every row."""
        return {"overall": self.overall, "rows": [_rounded(asdict(row)) for row in self.rows]}


def compare(volumes: Mapping[str, Volume], domain: TrainingDomain | None = None) -> DomainVerdict:
    """Compare a scan with the training domain.

    volumes   by contrast name (FLAIR, T1, T2); a name the model was not trained on is outside
    domain    the shipped one when None
    """
    known = _shipped() if domain is None else domain
    seen = zip(volumes, each(measure, volumes.values()), strict=True)
    return DomainVerdict(tuple(row for name, one in seen for row in judge(name, one, known)))


def judge(contrast: str, seen: Measured, domain: TrainingDomain) -> list[Row]:
    """The six rows of one contrast from what its volume shows."""
    criteria = (_stripped, _law, _order, _spacing, _resolution, _size)
    return [criterion(contrast, seen, domain) for criterion in criteria]


def make_training_domain(subjects: Mapping[str, Mapping[str, Volume]], source: str) -> TrainingDomain:
    """Measure the training scans: subject name to contrast name to volume."""
    scans = [
        TrainingScan(name, contrast, measure(volume))
        for name, volumes in subjects.items()
        for contrast, volume in volumes.items()
    ]
    return TrainingDomain(tuple(scans), source)


# -- judging ---------------------------------------------------------------------------------------


def _stripped(contrast: str, seen: Measured, domain: TrainingDomain) -> Row:
    numbers = {"faces": seen.faces, "background": seen.share, "largest_piece": seen.piece, "rim": seen.rim}
    if seen.faces < 0.95 or seen.share < 0.2:
        verdict: Verdict = "outside"
        sentence = f"only {seen.faces:.0%} of the border and {seen.share:.0%} of the volume is exact background"
    elif seen.piece < 0.9:
        verdict, sentence = "outside", f"the foreground falls apart: its largest piece holds {seen.piece:.0%}"
    elif seen.rim > RIM_DIP:
        verdict = "outside"
        sentence = f"a bright rim is followed by a dark ring of depth {seen.rim:.2f}: scalp and skull"
    elif seen.piece < 0.98 or seen.rim > RIM_DIP / 2:
        verdict, sentence = "cannot tell", f"largest piece {seen.piece:.0%}, ring of depth {seen.rim:.2f}"
    else:
        verdict, sentence = "inside", f"one piece in exact background ({seen.share:.0%} of the volume), no skull ring"
    remedy = "remove the skull and set everything outside the brain to one number (HD-BET, SynthStrip or BET do this)"
    return _row("skull-stripped", contrast, verdict, numbers, sentence, remedy)


def _law(contrast: str, seen: Measured, domain: TrainingDomain) -> Row:
    distance, spread = _law_distance(contrast, seen, domain)
    brightest = max((scan.bright for scan in domain.of(contrast)), default=0.0)
    numbers = {
        "distance": distance,
        "training_spread": spread,
        "levels": seen.levels,
        "share_at_maximum": seen.top,
        "bright": seen.bright,
    }
    remedy = "give the magnitude image as reconstructed: no CT, label map, probability map or window"
    verdict: Verdict = "outside"
    if seen.levels <= FEWEST_LEVELS:
        sentence = f"{seen.levels} different values: a mask or a label map"
    elif seen.top > 0.03:
        sentence = f"{seen.top:.0%} of the foreground sits at its maximum: a probability map or a clipped image"
    elif seen.background <= AIR_HU:
        sentence = f"the background is {seen.background:g}: CT numbers (air is -1000)"
    elif not domain.of(contrast):
        sentence = f"the model knows {', '.join(CONTRASTS)}, not {contrast}"
        remedy = f"name the image {', '.join(CONTRASTS[:-1])} or {CONTRASTS[-1]}"
    elif distance > 2 * spread:
        sentence = f"{distance:.3f} from the nearest training {contrast}, which differ by {spread:.3f} at most"
    elif seen.whole and TISSUE_HU[0] < seen.low and seen.high < TISSUE_HU[1]:
        verdict = "cannot tell"
        sentence = f"whole numbers from {seen.low:g} to {seen.high:g} may be CT numbers of a brain"
    elif seen.bright > 2 * max(brightest, 0.0):
        verdict = "cannot tell"
        sentence = f"the brightest voxels reach {seen.bright:.2f}, those of the training {contrast} {brightest:.2f}"
        remedy = "use the scan from before the contrast agent, without vessels or remains of the scalp"
    elif distance > 1.5 * spread:
        verdict = "cannot tell"
        sentence = f"{distance:.3f} from the nearest training {contrast}, which differ by {spread:.3f} at most"
    else:
        verdict = "inside"
        sentence = f"{distance:.3f} from the nearest training {contrast}, which differ by {spread:.3f} at most"
    return _row("intensity law", contrast, verdict, numbers, sentence, remedy)


def _law_distance(contrast: str, seen: Measured, domain: TrainingDomain) -> tuple[float, float]:
    """Distance to the nearest training scan, and the largest such distance among the training scans themselves."""
    known = [np.asarray(scan.quantiles) for scan in domain.of(contrast)]
    if not known:
        return 1.0, 0.0
    distance = min(float(np.abs(q - seen.quantiles).mean()) for q in known)
    spread = [min(float(np.abs(a - b).mean()) for b in known if b is not a) for a in known] if len(known) > 1 else [0.0]
    return distance, max(spread)


def _order(contrast: str, seen: Measured, domain: TrainingDomain) -> Row:
    by_shell = _side(seen.shell, domain, ("FLAIR", "T1"), ("T2",), lambda m: m.shell)
    by_tail = _side(seen.tail, domain, ("FLAIR", "T1"), ("T2",), lambda m: m.tail)
    fluid = by_shell if by_shell == by_tail else ""
    deep = _side(seen.order, domain, ("FLAIR", "T2"), ("T1",), lambda m: m.order)
    numbers = {"shell": seen.shell, "tail": seen.tail, "order": seen.order}
    wanted = {"FLAIR": ("low", "low"), "T1": ("low", "high"), "T2": ("high", "low")}
    fluid_words = {"low": "fluid is dark", "high": "fluid is bright", "": "fluid is neither clearly dark nor bright"}
    deep_words = {
        "low": "deep tissue is not brighter than shallow",
        "high": "deep tissue is brighter than shallow",
        "": "deep tissue is about as bright as shallow",
    }
    sentence = f"{fluid_words[fluid]}, {deep_words[deep]}"
    like = [name for name, pair in wanted.items() if pair == (fluid, deep)]
    sentence += f": the order of a {like[0]} scan" if like else ""
    if contrast not in wanted:
        verdict: Verdict = "outside"
    elif any(found not in (want, "") for found, want in zip((fluid, deep), wanted[contrast], strict=True)):
        verdict = "outside"
    else:
        verdict = "inside" if like == [contrast] else "cannot tell"
    remedy = f"check that this is a {contrast} scan" if contrast in wanted else f"use one of {', '.join(CONTRASTS)}"
    return _row("tissue order", contrast, verdict, numbers, sentence, remedy)


def _side(
    value: float, domain: TrainingDomain, low: tuple[str, ...], high: tuple[str, ...], of: Callable[[Measured], float]
) -> str:
    """Which group of contrasts a value belongs to: "low", "high", or "" in the middle third of the gap."""
    below = max(of(scan) for contrast in low for scan in domain.of(contrast))
    above = min(of(scan) for contrast in high for scan in domain.of(contrast))
    if below >= above:
        return ""
    third = (above - below) / 3
    return "low" if value <= below + third else "high" if value >= above - third else ""


def _spacing(contrast: str, seen: Measured, domain: TrainingDomain) -> Row:
    longest, shortest = max(seen.spacing_mm), min(seen.spacing_mm)
    verdict: Verdict = "inside" if 0.4 <= shortest and longest <= 1.3 else "cannot tell"
    if longest > 2 or shortest < 0.2:
        verdict = "outside"
    shown = " x ".join(f"{s:.3g}" for s in seen.spacing_mm)
    sentence = f"voxels of {shown} mm; the model works at 1 mm (inside 0.4 to 1.3, outside below 0.2 or above 2)"
    remedy = "use a 3-d acquisition with voxels of about 1 mm; resampling a thick-slice scan does not bring detail back"
    return _row("spacing", contrast, verdict, {"spacing_mm": list(seen.spacing_mm)}, sentence, remedy)


def _resolution(contrast: str, seen: Measured, domain: TrainingDomain) -> Row:
    known = [d for scan in domain.of(contrast) for d in scan.detail if d >= 0]
    remedy = "use the original scan, neither smoothed nor interpolated from thick slices, and free of heavy noise"
    numbers = {"detail": list(seen.detail)}
    if not known or min(seen.detail) < 0:
        return _row("resolution", contrast, "cannot tell", numbers, "the detail at 1 mm cannot be measured", remedy)
    blurred, noisy = min(known), max(known)
    least, most = min(seen.detail), max(seen.detail)
    # Of the way from the training scans to a straight line (1/4) or to white noise (1): a third in, two thirds out.
    gone = max((blurred - least) / max(blurred - 0.25, 1e-6), (most - noisy) / (1 - noisy))
    verdict: Verdict = "inside" if gone <= 1 / 3 else "cannot tell" if gone <= 2 / 3 else "outside"
    sentence = (
        f"change within 1 mm over change within 2 mm: {least:.2f} to {most:.2f}, training {blurred:.2f} to {noisy:.2f}"
    )
    return _row("resolution", contrast, verdict, numbers, sentence, remedy)


def _size(contrast: str, seen: Measured, domain: TrainingDomain) -> Row:
    """Extents along R, A and S and the diameter of a ball of the same volume: inside to 25 %, outside from 40 %."""
    known = np.asarray([_lengths(scan.measured) for scan in domain.scans])
    lengths = _lengths(seen)
    off = float(np.maximum(lengths / known.max(0) - 1, known.min(0) / lengths - 1).max())
    verdict: Verdict = "inside" if off <= 0.25 else "cannot tell" if off <= 0.4 else "outside"
    shown = " x ".join(f"{e:.0f}" for e in seen.extent_mm)
    sentence = f"the foreground spans {shown} mm and {seen.litres:.2f} L, {max(off, 0):.0%} off the training brains"
    numbers = {"extent_mm": list(seen.extent_mm), "litres": seen.litres, "off": off}
    remedy = "give the whole brain of an adult, and check the voxel size in the header"
    return _row("brain size", contrast, verdict, numbers, sentence, remedy)


def _lengths(seen: Measured) -> NDArray:
    return np.asarray([*seen.extent_mm, 100 * (6 * seen.litres / np.pi) ** (1 / 3)])


# -- verdicts and numbers --------------------------------------------------------------------------


def _row(
    criterion: str,
    contrast: str,
    verdict: Verdict,
    numbers: Mapping[str, object],
    sentence: str,
    remedy: str,
) -> Row:
    return Row(criterion, contrast, verdict, numbers, sentence, "" if verdict == "inside" else remedy)


def _worst(verdicts: Iterable[Verdict]) -> Verdict:
    found = set(verdicts)
    return "outside" if "outside" in found else "cannot tell" if "cannot tell" in found or not found else "inside"


def _rounded(value: object) -> object:
    """Five significant digits are more than the measurement holds."""
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


@cache
def _shipped() -> TrainingDomain:
    return TrainingDomain.load()
