"""From settings to pictures, numbers and files: check, run, measure, compare, write together."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from shared.front.atomic import staged_folder, write_atomic
from shared.front.operation import Operation, Outcome, Report
from shared.front.progress import counted
from shared.front.provenance import provenance
from shared.run import RunState, Step, Transition
from suite.laboratory.convergence import Convergence, convergence
from suite.laboratory.figures import convergence_figure, run_figure, written
from suite.laboratory.measures import Distance, Wanted, distance, misfit, wanted
from suite.laboratory.operations import Experiment
from suite.laboratory.picture import Picture, picture, spaced
from suite.laboratory.reading import in_short, of_convergence, verdict
from suite.laboratory.recipe import Bench, bench

KEPT: Final = 400  # states of the trajectory that are written; a route with many jumps is thinned


@dataclass(frozen=True, eq=False)
class Result:
    """A run and what was measured on it: what page and files are made from.

    states     (K + 1, B, 2), the state at every position of the route
    declared   calls a sample known before the run;  made  calls a sample counted in the network
    """

    bench: Bench
    states: Tensor
    law: Wanted | None
    far: Distance | None
    missed: float | None
    declared: int
    made: int
    seconds: float
    shown: Picture
    convergence: Convergence | None = None

    @property
    def samples(self) -> Tensor:
        return self.states[-1]

    @property
    def finite(self) -> bool:
        return bool(torch.isfinite(self.samples).all())

    @property
    def source(self) -> str:
        """The Python that makes the same samples."""
        return self.bench.program.source(f"{self.bench.settings.samples} samples; what the laboratory page did.")

    @property
    def title(self) -> str:
        """The combination in one line."""
        s = self.bench.settings
        guide = f", guided by {s.guide}" if s.guide != "none" else ""
        return f"{s.truth}, {s.process}, {s.law} noise, {s.head} head, {s.sampler}, {counted(s.steps, 'step')}{guide}"

    def report(self) -> dict[str, Any]:
        """The measured numbers as plain JSON."""
        found: dict[str, Any] = {
            "combination": self.title,
            "calls": self.made,
            "calls_declared": self.declared,
            "seconds": round(self.seconds, 3),
            "samples": len(self.samples),
            "verdict": verdict(self.far, self.law),
            "law": None if self.law is None else {"name": self.law.name, "promised": self.law.promised},
            "distance": _number(self.far.value) if self.far else None,
            "floor": _number(self.far.floor) if self.far else None,
            "misses_measurement_by": self.missed,
        }
        if self.convergence is not None:
            found["convergence"] = {
                "measured": self.convergence.kind,
                "says": of_convergence(self.convergence),
                "order": [_curve(curve) for curve in self.convergence.order],
                "law": [_curve(curve) for curve in self.convergence.law],
            }
        return found


def experiment(settings: Experiment, report: Report, operation: Operation) -> Outcome:
    """Everything that `suite laboratory run` does; the folder appears whole or not at all."""
    known = bench(settings)
    with staged_folder(settings.out) as folder:
        result = run(known, report)
        report(1, 1, "run", preview=result)
        if settings.convergence and result.finite:
            found = convergence(known, lambda done, total, note: report(done, total, note))
            result = replace(result, convergence=found)
        record = provenance(
            operation, settings, threads=torch.get_num_threads(), dtype="float64", batch=settings.samples
        )
        names = _write(folder, result, record)
    out = Path(settings.out)
    return Outcome(sentence(result), tuple(out / name for name in names), result.report(), view=(result, record))


def run(known: Bench, report: Report) -> Result:
    """Run a combination and measure its samples."""
    states: list[Tensor] = []
    moves = len(known.grid.route) - 1

    def look(state: RunState, step: Step, made: Transition | None) -> None:
        states.append(state.x)
        report(step.k, moves, "")

    declared, before, start = known.cost().calls, known.denoiser.spent.calls, time.perf_counter()
    known.run(observers=[look])
    seconds, made = time.perf_counter() - start, known.denoiser.spent.calls - before
    stacked, law = torch.stack(states), wanted(known)
    far = distance(stacked[-1].nan_to_num(float("nan")), law) if law is not None else None
    guide = known.settings.guide
    missed = misfit(stacked[-1], known.settings) if guide in ("ddnm", "known") else None
    shown = picture(known, stacked.nan_to_num(0.0, 1e6, -1e6), law)
    return Result(known, stacked, law, far, missed, declared, made, seconds, shown)


def sentence(result: Result) -> str:
    """One sentence for people."""
    s = result.bench.settings
    return (
        f"{s.samples} samples in {result.seconds:.2f} s, {counted(result.made, 'call')} each; {in_short(result.far)}."
    )


def _write(folder: Path, result: Result, record: Mapping[str, Any]) -> list[str]:
    """The files of a result; returns their names, the samples first."""
    route = result.bench.grid.route
    kept = list(spaced(len(route), KEPT))
    times = np.array([float(result.bench.grid.points[route[k]].t) for k in kept])
    rows = "\n".join(f"{x!r},{y!r}" for x, y in result.samples.tolist())
    write_atomic(folder / "samples.csv", f"x1,x2\n{rows}\n")

    def arrays(path: Path) -> None:
        np.savez_compressed(path, samples=result.samples, states=result.states[kept], time=times, position=kept)

    write_atomic(folder / "run.npz", arrays)
    names = ["samples.csv", "run.npz"]
    figures = {"run": run_figure(result.shown, result.title)}
    if result.convergence is not None and (result.convergence.order or result.convergence.law):
        figures["convergence"] = convergence_figure(result.convergence)
    for name, figure in figures.items():
        for kind in ("png", "svg"):
            write_atomic(folder / f"{name}.{kind}", written(figure, kind).replace(b"#010203", b"#000000"))
            names.append(f"{name}.{kind}")
    write_atomic(folder / "reproduce.py", result.source)
    sidecar = {**record, "report": result.report(), "explain": result.bench.explained.splitlines()}
    write_atomic(folder / "laboratory.json", json.dumps(sidecar, indent=1, allow_nan=False))
    return [*names, "reproduce.py", "laboratory.json"]


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _curve(curve: Any) -> dict[str, Any]:
    pairs = [[n, _number(e)] for n, e in zip(curve.calls, curve.errors, strict=True)]
    return {"sampler": curve.sampler, "declared": curve.declared, "slope": curve.slope, "calls_and_errors": pairs}
