"""The Python that the page hands out makes the page's samples to the bit, for every class of combination."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from suite.laboratory.operations import Experiment
from suite.laboratory.program import Call, Line, Name, Program, written
from suite.laboratory.recipe import PROCESSES, SAMPLERS, bench

SMALL: dict[str, Any] = {"samples": 30, "steps": 6, "seed": 5, "out": "unused"}
INSIDE: dict[str, dict[str, Any]] = {"bridge": {"start": 0.999}, "residual-shift": {"spacing": "levels"}}
CLASSES: dict[str, dict[str, Any]] = {
    **{f"truth {name}": {"truth": name} for name in ("three-parts", "correlated", "ring", "lattice", "moons", "roll")},
    **{f"process {name}": {"process": name, **INSIDE.get(name, {})} for name in PROCESSES},
    **{f"sampler {name}": {"sampler": name} for name in SAMPLERS},
    **{f"head {name}": {"head": name, "start": 0.95} for name in ("x0", "eps", "v", "velocity", "edm")},
    "head residual": {"head": "residual", "process": "mean-reverting"},
    **{f"error under {name}": {"head": name, "error": 0.2} for name in ("x0", "v")},
    **{f"spacing {name}": {"spacing": name, "process": "edm"} for name in ("uniform", "log_snr", "karras")},
    "student": {"law": "student-t", "dof": 3, "truth": "moons", "process": "flow"},
    "label": {"guide": "label", "label": 0, "weight": 3.0},
    "label with error and an end": {"guide": "label", "error": 0.1, "process": "mean-reverting"},
    "dps": {"guide": "dps", "value": -0.4, "noise": 0.7, "weight": 1.5},
    "ddnm": {"guide": "ddnm", "weight": 0.8},
    "known with jumps": {"guide": "known", "repeats": 3},
    "known without jumps": {"guide": "known", "repeats": 1},
}


@pytest.mark.parametrize("values", CLASSES.values(), ids=CLASSES)
def test_copied_python_makes_the_same_samples_to_the_bit(values: dict[str, Any], tmp_path: Path) -> None:
    known = bench(Experiment(**{**SMALL, **values}))
    source = known.program.source("a run")
    file = tmp_path / "copied.py"
    file.write_text(source)
    spec = importlib.util.spec_from_file_location("copied", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    seen: list[int] = []
    ours = known.run(observers=[lambda state, step, made: seen.append(step.k)])
    assert torch.equal(module.run.x, ours.x) and ours.x.shape == (30, 2)
    assert seen[-1] == len(known.grid.route) - 1  # and looking on changed nothing
    lines = [line for line in source.splitlines() if line and not line.startswith(("#", "from", "import"))]
    assert len(lines) <= 16 and all(len(line) <= 120 for line in lines), source


def test_another_seed_or_weight_is_another_program_and_other_samples() -> None:
    plain = bench(Experiment(**SMALL, guide="label"))
    for values in ({"seed": 6}, {"weight": 2.5}):
        other = bench(Experiment(**{**SMALL, "guide": "label", **values}))
        assert other.program.source("") != plain.program.source("")
        assert not torch.equal(other.run().x, plain.run().x)


def test_a_program_says_what_it_does() -> None:
    tensor = Call("torch", "tensor", ([[1.0, 2.0]],))
    lines = (
        Line("a", Call("", "sum", (1,), of=tensor)),
        Line("b", Call("torch", "stack", ([Name("a"), Name("a")],), {"dim": 0})),
    )
    program = Program(lines)
    known = program.prepare()
    assert known["a"].tolist() == [3.0] and program.finish(known).tolist() == [[3.0], [3.0]]
    assert program.source("two").splitlines() == [
        "# two",
        "import torch",
        "",
        "",
        "a = torch.tensor([[1.0, 2.0]]).sum(1)",
        "b = torch.stack([a, a], dim=0)",
        "print(b.x)",
    ]


def test_a_long_call_is_wrapped() -> None:
    long = Call("torch", "full", ((1000, 2000), 3.25), {"dtype": Name("a_long_name" * 8)})
    assert written(long, 40) == f"torch.full(\n    (1000, 2000), 3.25,\n    dtype={'a_long_name' * 8},\n)"
