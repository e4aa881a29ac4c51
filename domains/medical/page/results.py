"""What one visitor has after a run: before and after for every variation, and the report in words and figures.

Only the voxels of the mask differ, so a variation is kept as the values of those voxels.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from domains.medical.export import SYNTHETIC
from domains.medical.geometry import spacing_of, to_mm
from domains.medical.page.viewer import TOOLS, Look, change_value, data_url, new_lesion, nothing, old_lesion, scan_value
from domains.medical.planes import View, render
from shared.front.operation import Outcome

MODES: Final = ("After", "Before", "Difference", "Blink")
WAITING: Final = "Press Run: the scan with the new lesion appears here."
CLOSE_MM, CLOSE_PX = 56.0, 168  # edge of a close-up
SIGNS: Final = {"inside": "✓ inside", "outside": "✕ outside", "cannot tell": "? cannot tell"}


@dataclass(eq=False)
class Result:
    """A finished run, in the RAS frame.

    before    contrast -> (RAS shape) float32;  affine  of that frame;  mask, existing  (RAS shape) bool
    where     (n, 3) voxels of the mask;  made  one mapping a variation: contrast -> (n,) values there
    report    plain JSON of the run;  sidecar  its provenance: settings, command, versions
    """

    before: Mapping[str, NDArray]
    affine: NDArray
    mask: NDArray
    existing: NDArray | None
    where: NDArray
    made: Sequence[Mapping[str, NDArray]]
    sentence: str
    report: Mapping[str, Any]
    sidecar: Mapping[str, Any]
    _last: tuple[tuple[int, str], NDArray] | None = field(default=None)

    @classmethod
    def of(cls, outcome: Outcome) -> Result:
        """From what the operation hands to its page; reads the written report for its provenance."""
        prepared, variations = outcome.view["prepared"], outcome.view["variations"]
        frame = next(iter(prepared.volumes.values())).frame
        where = np.argwhere(prepared.ras_mask)
        existing = outcome.view["existing"]
        written = next(path for path in outcome.files if path.name == "report.json")
        return cls(
            dict(prepared.ras),
            frame.affine,
            prepared.ras_mask,
            None if existing is None else frame.to_ras(existing > 0),
            where,
            [{name: _at(frame.to_ras(values), where) for name, values in one.values.items()} for one in variations],
            outcome.sentence,
            outcome.report,
            json.loads(written.read_text("utf-8"))["provenance"],
        )

    @property
    def contrasts(self) -> tuple[str, ...]:
        return tuple(self.before)

    def after(self, variation: int, contrast: str) -> NDArray:
        """(RAS shape) the scan with the lesions of a variation; the last one asked for is kept."""
        key = (variation, contrast)
        if self._last is None or self._last[0] != key:
            whole = np.array(self.before[contrast], order="K")
            whole[tuple(self.where.T)] = self.made[variation][contrast]
            self._last = (key, whole)
        return self._last[1]

    def close_up(self, variation: int | None, look: Look) -> NDArray:
        """A small picture of the main plane around the cross-hair; variation None is the scan before."""
        view = View(look.main, _three(self.mask.shape), spacing_of(self.affine))
        low, high = list(look.voxel), [v + 1 for v in look.voxel]
        for axis in view.axes[:2]:
            half = max(1, round(CLOSE_MM / 2 / view.spacing[axis]))
            low[axis], high[axis] = max(0, low[axis] - half), min(view.shape[axis], look.voxel[axis] + half + 1)
        block = np.array(self.before[look.contrast][tuple(slice(a, b) for a, b in zip(low, high, strict=True))])
        if variation is not None:
            inside = ((self.where >= low) & (self.where < high)).all(1)
            block[tuple((self.where[inside] - low).T)] = self.made[variation][look.contrast][inside]
        affine = self.affine.copy()
        affine[:3, 3] = to_mm(self.affine, low)
        return render(
            block,
            affine,
            [v - a for v, a in zip(look.voxel, low, strict=True)],
            plane=look.main,
            window=look.window.width,
            level=look.window.level,
            convention=look.convention,
            zoom=2 * CLOSE_PX / CLOSE_MM,
            crosshair=False,
            letters=False,
            mark="" if variation is None else SYNTHETIC,
            text=22,
        )

    def forget(self) -> None:
        """Let go of every array."""
        self.before, self.made, self._last = {}, [], None


def viewer_value(result: Result | None, look: Look, mode: str, variation: int, outlined: bool) -> str:
    """What the result viewer shows."""
    if result is None or not result.made:
        return nothing(WAITING)
    # The mask is painted on the scan, not on the result, and no fill hides what was made.
    look = replace(look, tool=TOOLS[0], opacity=0.0)
    contrast = look.contrast if look.contrast in result.before else result.contrasts[0]
    variation = min(max(variation, 0), len(result.made) - 1)
    overlays = []
    if outlined:
        overlays = [new_lesion(result.mask)]
        overlays += [old_lesion(result.existing)] if result.existing is not None else []
    before = result.before[contrast]
    if mode == "Before":
        return scan_value(before, result.affine, look, overlays)
    after = result.after(variation, contrast)
    if mode == "Difference":
        limit = float(np.percentile(np.abs(result.made[variation][contrast] - _at(before, result.where)), 99))
        return change_value(after - before, result.affine, look, _rounded_up(limit), mark=SYNTHETIC)
    if mode == "Blink":
        return scan_value(before, result.affine, look, overlays, mark=SYNTHETIC, after=after)
    return scan_value(after, result.affine, look, overlays, mark=SYNTHETIC)


def strip(result: Result | None, look: Look) -> str:
    """Close-ups side by side: before, then every variation, at the cross-hair."""
    if result is None or not result.made:
        return ""
    close = [("Before", result.close_up(None, look))]
    for k, row in enumerate(result.report["variations"]):
        verdict = "passed" if row["passed"] else "failed the check"
        close.append((f"Variation {k + 1}: seed {row['seed']}, {verdict}", result.close_up(k, look)))
    shown = "".join(
        f'<figure><img src="{data_url(rgb)}" width="{CLOSE_PX}" alt="{html.escape(words)}">'
        f"<figcaption>{html.escape(words)}</figcaption></figure>"
        for words, rgb in close
    )
    return f'<div class="strip">{shown}</div>'


def quality(result: Result | None) -> str:
    """The quality report: a verdict in words, then the figures of every lesion in a table."""
    if result is None:
        return ""
    rows, said = [], []
    for k, variation in enumerate(result.report["variations"]):
        for n, lesion in enumerate(variation["lesions"]):
            name = f"Variation {k + 1}, lesion {n + 1}"
            again = f", drawn again {_times(lesion['drawn_again'])}" if lesion["drawn_again"] else ""
            if lesion["passed"]:
                fine = "edge, grey values and distance from the training scans are those of real lesions"
                said.append(f"<li><strong>✓ {name} passed{again}:</strong> {fine}.</li>")
            else:
                why = "".join(f"<li>{html.escape(reason)}</li>" for reason in lesion["reasons"])
                said.append(f"<li><strong>✕ {name} failed{again}:</strong><ul>{why}</ul></li>")
            rows += [_row(f"{k + 1}.{n + 1}", contrast, lesion) for contrast in lesion["seam"]]
    if not rows:
        return "<p>No quality report was made.</p>"
    head = ("Lesion", "Contrast", "mL", "Step at the edge, per mm", "Grey values off by", "Like a training patch")
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    return (
        f'<ul class="verdicts">{"".join(said)}</ul><div class="wide" tabindex="0" role="region" '
        f'aria-label="Quality figures"><table><thead><tr>{top}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def training_domain(result: Result | None) -> str:
    """Whether the scan is like the scans the model was trained on: the verdict, and the rows behind it."""
    if result is None:
        return ""
    verdict = result.sidecar["training_domain"]
    head = "".join(f'<th scope="col">{cell}</th>' for cell in ("Contrast", "Criterion", "Verdict", "What was seen"))
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td>{html.escape(str(cell))}</td>"
            for cell in (row["contrast"], row["criterion"], SIGNS[row["verdict"]], row["sentence"])
        )
        + "</tr>"
        for row in verdict["rows"]
    )
    summary = f"Compared with the training scans: {SIGNS[verdict['overall']]}"
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return (
        f"<details><summary>{summary}</summary>"
        f'<div class="wide" tabindex="0" role="region" aria-label="Training domain">{table}</div></details>'
    )


def figures(result: Result | None) -> str:
    """The run in figures: volume, calls and the time of a call."""
    if result is None:
        return ""
    report = result.report
    again = sum(row["drawn_again"] for row in report["variations"])
    cells = {
        "Volume": f"{report['volume_ml']:.2f} mL",
        "Lesions": f"{report['lesions']}",
        "Network calls": f"{report['calls']} × {1000 * report['seconds_per_call']:.0f} ms = {report['seconds']:.1f} s",
        "Drawn again": f"{again}",
    }
    return (
        '<dl class="figures">'
        + "".join(f"<div><dt>{name}</dt><dd>{words}</dd></div>" for name, words in cells.items())
        + "</dl>"
    )


def _row(name: str, contrast: str, lesion: Mapping[str, Any]) -> str:
    seam, texture, copy = (lesion[key][contrast] for key in ("seam", "histogram", "memorisation"))
    low, high = seam["passes"]
    copied = copy["ncc"] > copy["passes"] and (copy["before"] is None or copy["ncc"] > copy["before"])
    return (
        f'<tr><th scope="row">{name}</th><td>{html.escape(contrast)}</td><td>{lesion["volume_ml"]:.3f}</td>'
        + _judged(seam["after"], low <= seam["after"] <= high, f"real lesions {low:.3f} to {high:.3f}")
        + _judged(
            texture["wasserstein"], texture["wasserstein"] <= texture["passes"], f"at most {texture['passes']:.3f}"
        )
        + _judged(copy["ncc"], not copied, f"at most {copy['passes']:.3f}")
        + "</tr>"
    )


def _judged(value: float, good: bool, range_in_words: str) -> str:
    sign = "✓" if good else "✕"
    return f'<td class="{"passed" if good else "failed"}">{sign} {value:.3f}<small>{range_in_words}</small></td>'


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _at(array: NDArray, where: NDArray) -> NDArray:
    return np.asarray(array[tuple(where.T)])


def _rounded_up(value: float) -> float:
    """To two significant digits, so that the scale reads easily; 1 for no change at all."""
    if value <= 0:
        return 1.0
    step = 10.0 ** (np.floor(np.log10(value)) - 1)
    return float(np.ceil(value / step) * step)


def _three(shape: Sequence[int]) -> tuple[int, int, int]:
    i, j, k = shape
    return int(i), int(j), int(k)
