"""How lesions of 3 to 32 mm turn out in fresh scans: what passes at the first draw, what it takes until it passes.

Eight diameters with each of the three presets: 24 lesions in 24 phantoms (FLAIR, T1, T2) of seeds that neither a
recipe nor the choice of the guidance's tolerances has seen; once as the network does by itself and once with the app's
guidance towards the histogram. The measures and their pass ranges are those of the app's quality report. A lesion of
the plausible shapes of white matter where one fits, else a ball within the brain. Writes
docs/measured/lesion_quality.json. A run that was stopped goes on where it was, and refuses the cases of other weights,
presets, reference, code or sizes.

    python benchmarks/proof/lesion_quality.py
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import torch
from numpy.typing import NDArray

from domains.medical.lesions.add import Variation, prepare, vary
from domains.medical.lesions.model import WEIGHTS, LesionModel
from domains.medical.lesions.operations import PRESETS, AddLesions
from domains.medical.lesions.presets import SHIPPED as PRESETS_FILE
from domains.medical.lesions.presets import load_presets
from domains.medical.lesions.quality import SHIPPED as REFERENCE
from domains.medical.lesions.quality import Reference
from domains.medical.synthesis import BrainPhantom, brain_phantom, lesion_mask
from shared.errors import UserError
from shared.measured import ROOT, digest, kept, record

DIAMETERS: Final = (3, 5, 8, 12, 16, 20, 26, 32)  # mm
EACH: Final = 3
FIRST_SEED: Final = 500  # of the phantoms; recipes begin at 1000, what was tuned on lies below 20
ARMS: Final = {"as the network does": 0.0, "guided (default)": AddLesions.texture_guidance}
LESIONS: Final = ROOT / "domains" / "medical" / "lesions"
CODE: Final = (*sorted(LESIONS.glob("*.py")), LESIONS.parent / "synthesis.py")  # what a case is made and judged with
BANDS: Final = {"3 to 8 mm": (0, 8), "12 to 20 mm": (9, 20), "26 to 32 mm": (21, 99)}


def case(index: int) -> tuple[BrainPhantom, NDArray, int, str]:
    """Scan, mask, diameter (mm) and preset of one lesion."""
    diameter = DIAMETERS[index % len(DIAMETERS)]
    subject = brain_phantom(FIRST_SEED + index)
    preset = PRESETS[(index + 2 * (index // len(DIAMETERS))) % len(PRESETS)]  # every size meets every preset
    try:
        mask = lesion_mask(index, subject, np.pi / 6 * diameter**3)
    except UserError:
        mask = ball(subject, diameter, np.random.default_rng(index))
    return subject, mask, diameter, preset


def ball(subject: BrainPhantom, diameter: int, rng: np.random.Generator) -> NDArray:
    """A ball around a random voxel of white matter with nine tenths in the brain; the rest is cut off."""
    white = np.argwhere(subject.tissue == 3)
    for centre in white[rng.permutation(len(white))]:
        far = np.linalg.norm(np.indices(subject.tissue.shape).T - centre, axis=-1).T
        round_one = far <= diameter / 2
        inside: NDArray = round_one & (subject.tissue > 0)
        if inside.sum() >= 0.9 * round_one.sum():
            return inside
    raise AssertionError("a brain has room for a ball of 32 mm")


def measured(index: int, guidance: float, model: LesionModel, reference: Reference) -> dict[str, Any]:
    """One lesion, drawn once and, if it fails, again as the app does: plain numbers."""
    subject, mask, diameter, preset = case(index)
    prepared = prepare(subject.volumes(healthy=True), mask)
    made: Variation = vary(
        prepared,
        model,
        load_presets()[preset],
        seed=index,
        reference=reference,
        texture_guidance=guidance,
    )
    lead = prepared.contrasts[0]
    draws = 1 + made.redraws
    return {
        "diameter": diameter,
        "preset": preset,
        "voxels": int(mask.sum()),
        "redraws": made.redraws,
        "calls": draws * model.calls(),
        "passed": all(one.passed for one in made.reports),
        "reasons": [reason for one in made.reports for reason in one.reasons],
        "distance": statistics.fmean(one.histogram[lead].wasserstein for one in made.reports),
        "seam rank": statistics.fmean(one.seam[lead].rank for one in made.reports),
        "ncc": max(one.memorisation[lead].ncc for one in made.reports),
        "copied": any(copy.copied for one in made.reports for copy in one.memorisation.values()),
    }


def made_by() -> dict[str, str]:
    """Digests of all that the numbers of a case depend on; the pass ranges stand in the card of the reference."""
    plan = json.dumps([DIAMETERS, EACH, FIRST_SEED, ARMS, PRESETS])
    return {
        "weights": digest([WEIGHTS]),
        "presets": digest([PRESETS_FILE]),
        "reference": digest([REFERENCE, REFERENCE.with_suffix(".json")]),
        "code": digest(CODE),
        "plan": hashlib.sha256(plan.encode()).hexdigest(),
    }


def all_cases(out: Path, say: Callable[[str], None]) -> dict[str, list[dict[str, Any]]]:
    """Every case of both arms, read from `out` where it was made before; UserError where something else made it."""
    out.mkdir(parents=True, exist_ok=True)
    model, reference, known = LesionModel.from_pretrained(), Reference.load(), made_by()
    found: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}

    def made(index: int, arm: str) -> dict[str, Any]:
        one = measured(index, ARMS[arm], model, reference)
        result = ", ".join(one["reasons"]) or "passed"
        say(f"{one['diameter']} mm {one['preset']}, {arm}: {one['redraws']} redraws, {result}")
        return one

    for index in range(EACH * len(DIAMETERS)):
        for number, arm in enumerate(ARMS):
            found[arm].append(kept(out / f"{index}-{number}.json", known, partial(made, index, arm)))
    return found


COLUMNS: Final = (
    "lesions",
    "pass at first",
    "pass in the end",
    "mean calls",
    "histogram distance",
    "seam rank",
    "highest NCC",
    "copies",
)


def entries(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Two tables of both arms: by size, with all sizes together, and by preset."""
    sizes: list[list[Any]] = []
    presets: list[list[Any]] = []
    for arm, cases in found.items():
        for band, (low, high) in {**BANDS, "all": (0, 99)}.items():
            sizes.append([arm, band, *numbers([one for one in cases if low <= one["diameter"] <= high])])
        for preset in PRESETS:
            presets.append([arm, preset, *numbers([one for one in cases if one["preset"] == preset])])
    return {
        "sizes": {"columns": ["arm", "size", *COLUMNS], "rows": sizes, "digits": 3},
        "presets": {"columns": ["arm", "preset", *COLUMNS], "rows": presets, "digits": 3},
    }


def numbers(cases: Sequence[Mapping[str, Any]]) -> list[float]:
    """What a row of a table says of these lesions, in the order of COLUMNS."""
    return [
        len(cases),
        sum(one["passed"] and not one["redraws"] for one in cases),
        sum(one["passed"] for one in cases),
        statistics.fmean(one["calls"] for one in cases),
        statistics.median(one["distance"] for one in cases),
        statistics.median(one["seam rank"] for one in cases),
        max(one["ncc"] for one in cases),
        sum(one["copied"] for one in cases),
    ]


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("results/lesion_quality"), help="Folder of cases.")
def main(out: Path) -> None:
    """Make and measure what has not been made yet, then write the table."""
    torch.set_num_threads(1)
    table = entries(all_cases(out, click.echo))
    record("lesion_quality", table, command="python benchmarks/proof/lesion_quality.py")
    for one in table.values():
        for row in (one["columns"], *one["rows"]):
            click.echo("  ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row))


if __name__ == "__main__":
    main()
