"""A tiny real app, a random walk with one option of every kind: it proves the machinery of the front door."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared.errors import UserError
from shared.front.jobs import JobRunner
from shared.front.operation import Operation, Outcome, Report
from shared.front.provenance import provenance, staged_folder, write_atomic
from shared.front.settings import REQUIRED, Settings, option
from suite.apps import App

TAKEN: list[int] = []  # one entry a step taken in this process: what Stop must freeze


@dataclass(frozen=True, kw_only=True)
class Walk(Settings):
    """Settings of a random walk."""

    start: str = option(
        REQUIRED, kind="file", suffixes=(".csv", ".csv.gz"), examples=("origin", "corner"), help="Point to start from."
    )
    steps: int = option(40, low=1, high=5000, unit="steps", help="Length of the walk.")
    stride: float = option(1.0, low=0.1, high=10, unit="mm", help="Mean length of a step.")
    law: str = option("normal", choices=("normal", "uniform"), help="How a step is drawn.")
    closed: bool = option(False, help="Return to the start at the end.")
    title: str = option("", help="Words for the report.")
    seed: int = option(0, kind="seed", help="Same seed, same walk.")
    pause: float = option(0.0, low=0, high=1, unit="s", advanced=True, help="Time between steps.")
    weights: tuple[float, ...] = option(
        (1.0, 1.0), many=True, low=0, high=2, advanced=True, kind="float", help="Per axis."
    )
    marks: tuple[str, ...] = option((), many=True, choices=("start", "end"), advanced=True, help="What to mark.")
    layers: Mapping[str, str] | None = option(
        None, kind="files", suffixes=(".csv",), advanced=True, help="More points."
    )
    limit: int | None = option(None, kind="int", low=1, advanced=True, help="Stop beyond this distance.")
    out: str = option(REQUIRED, kind="folder", help="Folder for the results.")

    def check(self) -> None:
        if len(self.weights) != 2:
            raise UserError(f"{len(self.weights)} weights for 2 axes", where="--weights", remedy="give two")


def read_point(start: str) -> np.ndarray:
    """The point of a file or example; shape (2,)."""
    if start.startswith("example:"):
        return np.zeros(2) if start == "example:origin" else np.ones(2)
    try:
        point = np.loadtxt(start, delimiter=",")
    except (OSError, ValueError):
        raise UserError("is not a point", where=Path(start).name, remedy="give one line x,y") from None
    if point.shape != (2,):
        raise UserError(f"has shape {point.shape}, not (2,)", where=Path(start).name, remedy="give one line x,y")
    return point


def walk(settings: Walk, report: Report) -> Outcome:
    """Walk, and write path and sidecar."""
    point = read_point(settings.start)
    draw = np.random.default_rng(settings.seed)
    path = [point]
    with staged_folder(settings.out) as folder:
        for step in range(settings.steps):
            report(step, settings.steps, f"at {path[-1].round(1).tolist()}", preview=np.array(path))
            TAKEN.append(step)
            time.sleep(settings.pause)
            move = draw.normal(size=2) if settings.law == "normal" else draw.uniform(-1, 1, size=2)
            path.append(path[-1] + settings.stride * move * np.array(settings.weights))
        report(settings.steps, settings.steps)
        if settings.closed:
            path.append(point)
        write_atomic(folder / "walk.csv", "\n".join(f"{x!r},{y!r}" for x, y in np.array(path).tolist()))
        sources = [] if settings.start.startswith("example:") else [Path(settings.start)]
        sidecar = provenance(WALK, settings, threads=1, sources=sources)
        write_atomic(folder / "walk.json", json.dumps(sidecar, indent=1))
    far = float(np.abs(np.array(path)).max())
    files = tuple(Path(settings.out) / name for name in ("walk.csv", "walk.json"))
    return Outcome(f"{settings.steps} steps, {far:.3f} mm away", files, {"far": far, "title": settings.title}, path)


WALK = Operation("sample_walk", Walk, walk, command=("sample", "walk"), help="Walk at random in the plane.")
OPERATIONS = (WALK,)


def page(jobs: JobRunner) -> Any:
    """The page of the app."""
    import gradio as gr

    from shared.front.controls import Controls
    from shared.front.endpoint import endpoint
    from shared.front.panel import run_panel
    from shared.front.theme import heading

    with gr.Blocks(title="Random walk") as blocks:
        heading("Random walk", "A walk in the plane, step by step.")
        with gr.Row():
            with gr.Column(min_width=280):
                controls = Controls(Walk)
            with gr.Column(min_width=280):
                table = gr.Textbox(label="Last point", elem_id="last")
                run_panel(
                    WALK,
                    controls,
                    jobs,
                    results=[table],
                    draw=lambda outcome: [str(outcome.view[-1].round(3).tolist())],
                    preview=lambda points: [str(points[-1].round(3).tolist())],
                )
        endpoint(WALK, jobs)
    return blocks


APP = App(
    domain="sample",
    name="walk",
    title="Random walk",
    line="A walk in the plane, step by step.",
    page="tests.front.sample_app:page",
    operations="tests.front.sample_app:OPERATIONS",
    extra="dev",
    needs=("numpy",),
)
