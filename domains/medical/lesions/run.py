"""From the settings of `suite medical lesions add` to files: read, check, synthesise, write together."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from domains.medical.data import Volume, read_contrasts, read_labels, read_mask
from domains.medical.export import Written, write_label, write_volume
from domains.medical.lesions import add
from domains.medical.lesions.conditioning import Texture, read_texture
from domains.medical.lesions.counting import Counting
from domains.medical.lesions.model import WEIGHTS, LesionModel
from domains.medical.lesions.operations import EXAMPLES, RESEARCH_USE, AddLesions
from domains.medical.lesions.placement import count_lesions
from domains.medical.lesions.presets import Preset, load_presets
from domains.medical.lesions.quality import Reference
from domains.medical.lesions.training_domain import DomainVerdict, compare
from domains.medical.parallel import each
from shared.errors import UserError
from shared.front.atomic import staged_folder, write_atomic
from shared.front.operation import Operation, Outcome, Report
from shared.front.progress import counted
from shared.front.provenance import provenance

Scan = tuple[dict[str, Volume], NDArray, NDArray | None]


def add_lesions(settings: AddLesions, progress: Report, operation: Operation) -> Outcome:
    """Everything that `suite medical lesions add` does; the folder appears whole or not at all."""
    progress(0, 1, "reading the scan")
    volumes, mask, existing = read_inputs(settings)
    add.refuse_unknown(volumes)
    progress(0, 1, "comparing it with the training scans")
    verdict = compare(volumes)
    if verdict.overall == "outside" and not settings.outside_training:
        raise UserError(
            "the scan is unlike the training scans: " + "; ".join(verdict.sentences("outside")),
            where="--image",
            remedy="choose a skull-stripped FLAIR, T1 or T2 brain scan near 1 mm, or add --outside-training",
        )
    prepared = add.prepare(volumes, mask, anywhere=settings.anywhere)  # after: a CT is called one first
    progress(0, 1, "loading the network")
    model = load_model(settings.checkpoint)
    texture = wanted_texture(settings, prepared.contrasts)
    reference = Reference.load()
    with staged_folder(settings.out) as folder:
        variations, started = [], time.perf_counter()
        calls = model.calls(settings.steps, settings.jump, settings.repeats)
        counting = Counting(prepared, progress, calls=calls, variations=settings.count)
        counting.announce()
        for k in range(settings.count):
            one = add.vary(
                prepared,
                model,
                texture,
                seed=settings.seed + k,
                reference=reference,
                steps=settings.steps,
                jump=settings.jump,
                repeats=settings.repeats,
                texture_guidance=settings.texture_guidance,
                progress=counting.variation(),
            )
            variations.append(one)
        seconds = time.perf_counter() - started
        progress(0, 1, "writing")
        record = provenance(
            operation,
            settings,
            threads=torch.get_num_threads(),
            dtype=model.dtype,
            checkpoint=_checkpoint(settings),
            sources=[v.path for v in volumes.values() if v.path],
            packages=("nibabel", "scipy"),
        )
        record |= {"notice": RESEARCH_USE, "training_domain": verdict.to_json(), "anywhere": settings.anywhere}
        files = _write(folder, prepared, existing, variations, record)
        summary = _summary(prepared, existing, model, settings, variations, verdict, seconds)
        write_atomic(folder / "report.json", json.dumps({**summary, "provenance": record}, indent=1, allow_nan=False))
        progress(1, 1, "written")
    out = Path(settings.out)
    return Outcome(
        _sentence(summary),
        tuple(out / name for name in (*files, "report.json")),
        summary,
        view={"prepared": prepared, "variations": variations, "verdict": verdict, "existing": existing},
    )


# -------------------------------------------------------------------------------------------------------------- inputs


def read_inputs(settings: AddLesions) -> Scan:
    """Scans by contrast, the new lesions and those that were there, all on one grid."""
    if {"", "FLAIR"} <= settings.image.keys():
        raise UserError("two files are the FLAIR", where="--image", remedy="name each: --image NAME=FILE")
    named = {name or "FLAIR": path for name, path in settings.image.items()}
    examples = {name: path.removeprefix("example:") for name, path in named.items() if path.startswith("example:")}
    if files := [name for name in named if examples and name not in examples]:
        raise UserError(
            f"{', '.join(files)} {'is a file' if len(files) == 1 else 'are files'}, {', '.join(examples)} an example",
            where="--image",
            remedy=f"give files alone, or the example alone: {' '.join(f'--image {n}=example:brain' for n in files)}",
        )
    if examples:
        return _example(settings, examples)
    volumes = read_contrasts({name: named[name] for name in _lead_first(named)})
    first = next(iter(volumes.values()))
    if settings.mask.startswith("example:"):
        raise UserError("an example mask goes with the example scan", where="--mask", remedy="give a mask file")
    mask = read_mask(settings.mask, first, allow_empty=True)
    existing = read_labels(settings.label, first) if settings.label else None
    return volumes, mask, existing


def _example(settings: AddLesions, examples: Mapping[str, str]) -> Scan:
    from domains.medical.synthesis import built_in_example

    unknown = sorted(set(examples.values()) - set(EXAMPLES))
    if unknown:
        raise UserError(f"no example named {unknown[0]}", where="--image", remedy=f"choose {', '.join(EXAMPLES)}")
    if settings.label:
        raise UserError("the example brings the label of its own lesions", where="--label", remedy="leave it out")
    made = built_in_example(next(iter(examples.values())))
    if absent := [name for name in examples if name not in made.volumes]:
        raise UserError(
            f"the example has no contrast {', '.join(absent)}",
            where="--image",
            remedy=f"use {', '.join(made.volumes)}",
        )
    volumes = {name: made.volumes[name] for name in add.ordered(tuple(made.volumes)) if name in examples}
    if not settings.mask.startswith("example:"):
        mask = read_mask(settings.mask, next(iter(volumes.values())), allow_empty=True)
    else:
        mask = made.mask
    return volumes, mask, made.existing


def _lead_first(named: Mapping[str, str]) -> list[str]:
    known = add.ordered(tuple(named))
    return known + [name for name in named if name not in known]


def load_model(path: str | None) -> LesionModel:
    """The shipped weights, or the user's own of the same network."""
    return LesionModel.from_pretrained(path or WEIGHTS)


def wanted_texture(settings: AddLesions, contrasts: tuple[str, ...]) -> Texture | Preset:
    """The texture asked for: a preset, or the histograms of the user's file."""
    preset = settings.texture.removeprefix("example:")
    if preset == settings.texture:
        return read_texture(settings.texture, contrasts)
    return load_presets()[preset]


def _checkpoint(settings: AddLesions) -> Path:
    return Path(settings.checkpoint) if settings.checkpoint else WEIGHTS


# ------------------------------------------------------------------------------------------------------------- outputs


def _write(
    folder: Path,
    prepared: add.Prepared,
    existing: NDArray | None,
    variations: list[add.Variation],
    record: Mapping[str, Any],
) -> list[str]:
    """Names of what was written: images, then the sidecar of each."""
    names, sidecars = [], []
    for k, variation in enumerate(variations):
        stem = f"{k + 1:02d}" if len(variations) > 1 else ""
        for written in _write_one(folder, stem, prepared, existing, variation, record):
            names.append(written.path.name)
            sidecars.append(written.sidecar.name)
    return [*names, *sidecars]


def _write_one(
    folder: Path,
    stem: str,
    prepared: add.Prepared,
    existing: NDArray | None,
    variation: add.Variation,
    record: Mapping[str, Any],
) -> list[Written]:
    """The images of one variation, then the label and the new lesions alone."""
    first = next(iter(prepared.volumes.values()))
    own = {**record, "variation_seed": variation.seed}
    said: dict[str, Any] = {"provenance": own, "synthetic": True, "protect": _inputs(prepared)}
    labels = {"label": add.union(prepared.mask, existing), "lesions": prepared.mask}

    def write(kind: str) -> Written:
        path = folder / ("_".join(part for part in ("syn", stem, kind) if part) + ".nii.gz")
        if kind in labels:
            return write_label(first, labels[kind], path, **said)
        return write_volume(prepared.volumes[kind], variation.values[kind], path, **said)

    return each(write, (*variation.values, *labels))


def _inputs(prepared: add.Prepared) -> list[Path]:
    return [volume.path for volume in prepared.volumes.values() if volume.path]


def _summary(
    prepared: add.Prepared,
    existing: NDArray | None,
    model: LesionModel,
    settings: AddLesions,
    variations: list[add.Variation],
    verdict: DomainVerdict,
    seconds: float,
) -> dict[str, Any]:
    first = next(iter(prepared.volumes.values()))
    voxel_ml = float(np.prod(first.spacing)) / 1000
    calls = model.calls(settings.steps, settings.jump, settings.repeats)
    overlap = 0 if existing is None else int(np.count_nonzero(prepared.mask & (existing > 0)))
    runs = sum(len(prepared.sites) + one.redraws for one in variations)
    return {
        "notice": RESEARCH_USE,
        "lesions": count_lesions(prepared.mask),
        "volume_ml": round(float(prepared.mask.sum()) * voxel_ml, 4),
        "overlap": {"voxels": overlap, "volume_ml": round(overlap * voxel_ml, 4)},
        "contrasts": list(prepared.contrasts),
        "training_domain": verdict.overall,
        "calls": calls * runs,
        "seconds": round(seconds, 3),
        "seconds_per_call": round(seconds / max(calls * runs, 1), 5),
        "variations": [
            {
                "seed": one.seed,
                "drawn_again": one.redraws,
                "passed": all(row.passed for row in one.reports),
                "asked": [
                    {name: [round(float(v), 5) for v in bins] for name, bins in texture.items()}
                    for texture in one.textures
                ],
                "lesions": [row.to_json() for row in one.reports],
            }
            for one in variations
        ],
    }


def _sentence(summary: Mapping[str, Any]) -> str:
    if not summary["lesions"]:
        return "the mask is empty: no lesion was made, and the scan is returned unchanged"
    failed = sum(not row["passed"] for row in summary["variations"])
    again = sum(row["drawn_again"] for row in summary["variations"])
    count = len(summary["variations"])
    overlap = summary["overlap"]
    return (
        f"{count} variation{'s' if count > 1 else ''} of {summary['lesions']} lesion"
        f"{'' if summary['lesions'] == 1 else 's'} ({summary['volume_ml']:.2f} mL) in {summary['seconds']:.1f} s: "
        f"{summary['calls']} calls of {1000 * summary['seconds_per_call']:.0f} ms; "
        + ("every lesion passed the quality check" if not failed else f"{failed} of {count} failed the quality check")
        + (f", {again} drawn again" if again else "")
        + (
            f"; the new lesions overlap the label of the scan in {counted(overlap['voxels'], 'voxel')} "
            f"({overlap['volume_ml']:.3g} mL)"
            if overlap["voxels"]
            else ""
        )
    )
