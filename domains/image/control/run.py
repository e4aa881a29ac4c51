"""From the settings of `suite image shapes generate` to files: read, make, measure, write together."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from domains.image.conditioning import EdgeMap, edge_map, map_png
from domains.image.control.effect import effect
from domains.image.control.evaluate import ATTRIBUTES, Fidelity, fidelity
from domains.image.control.model import CONTROL_WEIGHTS, WEIGHTS, ShapeModel, denoiser, route
from domains.image.control.operations import GenerateShapes
from domains.image.export import ENLARGED, contact_sheet, enlarged, packed, png
from domains.image.shapes.captions import tokens
from shared.explain import explain
from shared.front.atomic import staged_folder, write_atomic
from shared.front.operation import Operation, Outcome, Report
from shared.front.option import EXAMPLE, LARGEST_SEED
from shared.front.provenance import provenance, sha256
from shared.guidance.classifier_free import ClassifierFree
from shared.samplers.named import named

KEPT: Final = "edges.png"  # the map as it was used, beside the pictures and inside them


@dataclass(frozen=True, eq=False)
class Made:
    """The pictures of a run and what was measured: pictures (B, 32, 32, 3) uint8, effect of the edges, seconds."""

    pictures: NDArray
    seeds: tuple[int, ...]
    measured: tuple[Fidelity, ...]
    effect: float | None
    calls: int
    seconds: float
    stages: str


def generate_shapes(settings: GenerateShapes, progress: Report, operation: Operation) -> Outcome:
    """Everything that `suite image shapes generate` does; the folder appears whole or not at all."""
    progress(0, 1, "reading")
    edges = edge_map(settings.edges, settings.detector, settings.fit) if settings.edges else None
    model = shape_model(edges is not None)
    with staged_folder(settings.out) as folder:
        made = make(settings, model, edges, progress)
        progress(1, 1, "writing")
        record = _record(settings, operation, model, edges)
        summary = summarise(settings, made)
        files = _write(folder, settings, made, edges, record, summary)
    out = Path(settings.out)
    view = {
        "pictures": made.pictures,
        "edges": None if edges is None else edges.values,
        "found_edges": [one.edges for one in made.measured],
        "sidecar": record,
        "stages": made.stages,
    }
    return Outcome(sentence(summary), tuple(out / name for name in files), summary, view=view)


@cache
def shape_model(control: bool) -> ShapeModel:
    """The shipped model, loaded once a process; with its control for edges, or without."""
    return ShapeModel.from_pretrained(WEIGHTS, control=CONTROL_WEIGHTS if control else None)


def make(settings: GenerateShapes, model: ShapeModel, edges: EdgeMap | None, progress: Report) -> Made:
    """The pictures of a run, measured again."""
    seeds = tuple((settings.seed + k) % (LARGEST_SEED + 1) for k in range(settings.count))
    hints = None if edges is None else np.repeat(edges.values[None], settings.count, axis=0)
    calls = model.calls(settings.steps, settings.guidance, settings.sampler)
    believed: list[NDArray] = []

    def said(done: int, total: int) -> None:
        progress(done, total, "network calls", preview=believed.pop() if believed else None)

    started = time.perf_counter()
    pictures = model.generate(
        [settings.caption] * settings.count,
        edges=hints,
        steps=settings.steps,
        guidance=settings.guidance,
        strength=settings.strength,
        window=(settings.control_from, settings.control_until),
        mode=settings.mode,
        seeds=seeds,
        sampler=settings.sampler,
        progress=said,
        preview=believed.append,
    )
    seconds = time.perf_counter() - started
    asked = None if edges is None else edges.values
    measured = tuple(fidelity(picture, settings.caption, asked) for picture in pictures)
    acting = None if edges is None else effect(model, settings, edges.values)
    return Made(pictures, seeds, measured, acting, calls, seconds, stages(settings, model, edges is not None))


def stages(settings: GenerateShapes, model: ShapeModel, control: bool) -> str:
    """What a run does, in order, and what it costs; with the control that stands beside the network."""
    words = {"text": torch.from_numpy(tokens([settings.caption]))}
    text = explain(
        denoiser(model.network),
        named(settings.sampler),
        route(settings.steps),
        cond=words,
        guidance=[ClassifierFree(settings.guidance)],
    )
    if not control:
        return text
    return (
        f"{text}\ncontrol: ControlNet, read once; strength {settings.strength:g} from {settings.control_from:g} until "
        f"{settings.control_until:g} of the way from noise to picture, mode {settings.mode}; it adds no calls"
    )


def summarise(settings: GenerateShapes, made: Made) -> dict[str, Any]:
    """The run in plain JSON: what was asked for and found in every picture, calls, seconds."""
    rows = [picture_row(seed, one) for seed, one in zip(made.seeds, made.measured, strict=True)]
    every = [promise for one in made.measured for promise in one.promises]
    kept = {
        attribute: {"asked": len(rights), "kept": sum(rights)}
        for attribute in ATTRIBUTES
        if (rights := [promise.right for promise in every if promise.attribute == attribute])
    }
    scores = [row["edge_f1"] for row in rows if row["edge_f1"] is not None]
    return {
        "caption": settings.caption,
        "pictures": rows,
        "kept": kept,
        "edge_f1": round(float(np.mean(scores)), 4) if scores else None,
        "effect": None if made.effect is None else round(made.effect, 4),
        "calls": made.calls,
        "seconds": round(made.seconds, 3),
        "seconds_per_call": round(made.seconds / max(made.calls, 1), 5),
    }


def picture_row(seed: int, one: Fidelity) -> dict[str, Any]:
    """One picture in plain JSON: every promise of the caption, asked and found, and how far to trust the reading."""
    things = ", ".join(f"{thing.texture} {thing.colour} {thing.shape}" for thing in one.found.things)
    rows = [
        {
            "what": promise.attribute if promise.noun is None else f"{promise.attribute} of thing {promise.noun + 1}",
            "asked": promise.asked,
            "found": promise.found,
            "right": promise.right,
        }
        for promise in one.promises
    ]
    return {
        "seed": seed,
        "found": f"{things} on {one.found.pattern} {one.found.background}" if things else "",
        "valid": one.valid,
        "promises": len(one.promises),
        "kept": one.kept,
        "edge_f1": None if one.edge_f1 is None else round(one.edge_f1, 4),
        "rows": rows,
    }


def _record(settings: GenerateShapes, operation: Operation, model: ShapeModel, edges: EdgeMap | None) -> dict[str, Any]:
    """The sidecar: it names the map as it was used, which travels inside, so that one file makes the pictures again."""
    own = edges is not None and not edges.source.startswith(EXAMPLE)
    kept = replace(settings, edges=KEPT, detector="none", fit="stretch") if own else settings
    record = provenance(
        operation,
        kept,
        threads=torch.get_num_threads(),
        dtype=model.dtype,
        batch=settings.count,
        checkpoint=WEIGHTS,
        packages=("pillow", "scikit-image"),
    )
    if edges is None:
        return record
    control = {"name": CONTROL_WEIGHTS.name, "sha256": sha256(CONTROL_WEIGHTS)}
    files = packed({KEPT: map_png(edges.values)}) if own else {}
    return {**record, "control": control, "edges": edges.to_json(), "files": files}


def _write(
    folder: Path,
    settings: GenerateShapes,
    made: Made,
    edges: EdgeMap | None,
    record: Mapping[str, Any],
    summary: Mapping[str, Any],
) -> list[str]:
    names = []
    for k, (picture, row) in enumerate(zip(made.pictures, summary["pictures"], strict=True)):
        own = {**record, "picture": {"index": k, **row}}
        for ending, by in (("", 1), (f"_x{ENLARGED}", ENLARGED)):
            names.append(f"syn_{k + 1:02d}{ending}.png")
            write_atomic(folder / names[-1], png(enlarged(picture, by), own, words=settings.caption))
    heads = [f"seed {seed}" for seed in made.seeds]
    sheet = contact_sheet(made.pictures, heads, settings.caption, None if edges is None else edges.values)
    files = {"syn_sheet.png": png(sheet, record, words=settings.caption)}
    if edges is not None:
        files[KEPT] = map_png(edges.values)
    files["report.json"] = json.dumps({**record, "report": summary}, indent=1, allow_nan=False).encode()
    for name, body in files.items():
        write_atomic(folder / name, body)
    return [*names, *files]


def sentence(summary: Mapping[str, Any]) -> str:
    """What was made, how long it took, and what of all that was asked for the decoder found again."""
    rows, kept = summary["pictures"], summary["kept"]
    count = len(rows)
    parts = [
        f"{count} picture{'s' if count > 1 else ''} in {summary['seconds']:.1f} s: {summary['calls']} calls of "
        f"{1000 * summary['seconds_per_call']:.0f} ms"
    ]
    if kept:
        right, asked = (sum(one[key] for one in kept.values()) for key in ("kept", "asked"))
        each = ", ".join(f"{attribute} {one['kept']} of {one['asked']}" for attribute, one in kept.items())
        it = "they keep" if count > 1 else "it keeps"
        parts.append(f"read again, {it} {right} of {asked} promises of the caption: {each}")
        if count > 1:
            whole = sum(row["kept"] == row["promises"] for row in rows)
            parts.append(f"{whole} of {count} pictures keep{'s' if whole == 1 else ''} all")
    if unsure := sum(not row["valid"] for row in rows):
        parts.append(f"the decoder is unsure of {unsure} of {count} pictures")
    if summary["edge_f1"] is not None:
        parts.append(f"edges kept with F1 {summary['edge_f1']:.2f}")
    return "; ".join(parts)
