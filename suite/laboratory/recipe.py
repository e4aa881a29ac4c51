"""From settings to a program: the parts by name, put together, and refused with a remedy where they do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from shared.capabilities import Incompatible
from shared.check import ROUTE
from shared.denoiser import Cond, Denoiser
from shared.errors import UserError
from shared.explain import explain
from shared.grid import Grid
from shared.oracle import DataSet, Mixture
from shared.run import Guidance, RunState, Sampler
from shared.sample import Cost, check, cost
from shared.samplers.named import SAMPLERS as NAMED
from suite.laboratory.operations import Experiment
from suite.laboratory.program import Attribute, Call, Line, Name, Program, made
from suite.laboratory.truths import spread

END: Final = (1.5, -1.5)
"""The known end y of processes that have one."""
LINE: Final = (1.0, 1.0)
"""The measurement of dps and ddnm: the sum of both coordinates."""
SECOND: Final = (0.0, 1.0)
"""What known keeps: the second coordinate."""

TRUTHS: Final[Mapping[str, str]] = {
    "three-parts": "three_parts",
    "correlated": "correlated",
    "ring": "ring",
    "lattice": "lattice",
    "moons": "moons",
    "roll": "roll",
}
PROCESSES: Final[Mapping[str, Call]] = {
    "vp-cosine": Call("shared.process", "vp", ("cosine",)),
    "vp-linear": Call("shared.process", "vp", ("linear",)),
    "vp-angle": Call("shared.process", "vp", ("angle",)),
    "ve": Call("shared.process", "ve"),
    "edm": Call("shared.process", "edm"),
    "flow": Call("shared.process", "flow"),
    "mean-reverting": Call("shared.process", "mean_reverting"),
    "residual-shift": Call("shared.process", "residual_shift"),
    "bridge": Call("shared.process", "bridge"),
}
SAMPLERS: Final[Mapping[str, Call]] = {
    name: Call("shared.samplers.named", "named", (name,)) for name in NAMED if name != "euler"
} | {
    "euler-time": Call("shared.samplers.named", "named", ("euler",), {"coordinate": "time"}),
    "heun-time": Call("shared.samplers.named", "named", ("heun",), {"coordinate": "time"}),
    "ddim-half": Call("shared.samplers.ddim", "DDIM", (0.5,)),
}


@dataclass(frozen=True, eq=False)
class Bench:
    """A combination that fits, ready to run. `known` holds the values of the program's lines by name."""

    settings: Experiment
    program: Program
    known: Mapping[str, Any]

    @property
    def truth(self) -> Mixture | DataSet:
        return self.known["truth"]

    @property
    def denoiser(self) -> Denoiser:
        return self.known["denoiser"]

    @property
    def sampler(self) -> Sampler:
        return self.known["sampler"]

    @property
    def grid(self) -> Grid:
        return self.known["path"]

    @property
    def guidance(self) -> list[Guidance]:
        return self.known.get("guidance", [])

    def cond(self, rows: int) -> Cond | None:
        """The label that is asked for, one a row."""
        return {"label": torch.full((rows,), self.settings.label)} if self.settings.guide == "label" else None

    def ends(self, rows: int) -> Tensor | None:
        """The known end, one a row."""
        if self.denoiser.process.b is None:
            return None
        return torch.tensor([END], dtype=torch.float64).expand(rows, 2)

    def cost(self) -> Cost:
        """Calls a sample, known before any is made."""
        return cost(self.denoiser, self.sampler, self.grid, cond=self.cond(1), guidance=self.guidance)

    @property
    def explained(self) -> str:
        """What the run does, in words of the core."""
        return explain(self.denoiser, self.sampler, self.grid, cond=self.cond(1), guidance=self.guidance)

    def run(self, **more: Any) -> RunState:
        """The run of the program's last line; `more` are observers."""
        return self.program.finish(self.known, **more)

    def with_sampler(self, name: str) -> Bench:
        """The same problem under another sampler; raises UserError when it does not fit."""
        return bench(replace(self.settings, sampler=name))


def bench(settings: Experiment) -> Bench:
    """Put the parts together; raise UserError with the remedy before the first call when they do not fit."""
    _first_rules(settings)
    program = program_of(settings)
    try:
        known = program.prepare()
    except ValueError as error:  # a grid that cannot be made
        raise refusal(error, settings) from None
    found = Bench(settings, program, known)
    try:
        check(
            found.denoiser,
            found.sampler,
            found.grid,
            noise=known["noise"],
            cond=found.cond(1),
            y=found.ends(1),
            guidance=found.guidance,
        )
    except ValueError as error:
        raise refusal(error, settings) from None
    return found


def program_of(settings: Experiment) -> Program:
    """The run as a straight-line program."""
    process = PROCESSES[settings.process]
    if settings.law == "student-t":
        process = Call("shared.process", "with_law", (process, Call("shared.process", "StudentT", (settings.dof,))))
    lines = [
        Line("truth", Call("suite.laboratory.truths", TRUTHS[settings.truth])),
        Line("process", process, "how clean values become noise"),
        Line("denoiser", _denoiser(settings), "answers as a network under this head would"),
        Line("sampler", SAMPLERS[settings.sampler]),
        Line("path", _path(settings), "the points that are visited"),
        Line("noise", Call("shared.noise", "Bulk", (settings.seed,)), "a function of the seed alone"),
    ]
    run: dict[str, Any] = {
        "noise": Name("noise"),
        "shape": (settings.samples, 2),
        "dtype": Attribute("torch", "float64"),
    }
    if settings.process in WITH_END:
        end = Call("torch", "tensor", ([list(END)],), {"dtype": Attribute("torch", "float64")})
        lines.append(Line("end", Call("", "expand", (settings.samples, 2), of=end), "the known end y"))
        run |= {"y": Name("end")}
        del run["shape"], run["dtype"]
    guide = _guide(settings)
    if guide is not None:
        lines.append(Line("guidance", [guide]))
        run["guidance"] = Name("guidance")
    if settings.guide == "label":
        run["cond"] = {"label": Call("torch", "full", ((settings.samples,), settings.label))}
    parts = tuple(Name(name) for name in ("denoiser", "sampler", "path"))
    return Program((*lines, Line("run", Call("shared.sample", "sample", parts, run))))


WITH_END: Final = frozenset({"mean-reverting", "residual-shift", "bridge"})
WITH_DATA_STD: Final = frozenset({"edm"})


def _denoiser(settings: Experiment) -> Call:
    own = {"data_std": 1.0} if settings.head in WITH_DATA_STD else {}
    parts = (Name("truth"), Name("process"), Call("shared.denoiser", f"{settings.head}_head", (), own))
    options: dict[str, Any] = {}
    if settings.guide == "label":
        options["null"] = {"label": Call("torch", "tensor", ([Attribute("shared.oracle", "ANY")],))}
    if settings.error == 0:
        return Call("shared.oracle", "Oracle", parts, options)
    size = round(spread(made(Call("suite.laboratory.truths", TRUTHS[settings.truth]), {})), 3)
    return Call("suite.laboratory.erring", "ErringOracle", parts, {"error": settings.error, "spread": size, **options})


def _path(settings: Experiment) -> Call:
    options: dict[str, Any] = {}
    if settings.start < 1:
        options["start"] = settings.start * made(PROCESSES[settings.process], {}).ends[1]
    path = Call("shared.grid", "grid", (Name("process"), settings.steps, settings.spacing), options)
    if settings.guide == "known" and settings.repeats > 1:
        return Call("", "jumps", (1, settings.repeats), of=path)
    return path


def _guide(settings: Experiment) -> Call | None:
    double = {"dtype": Attribute("torch", "float64")}

    def numbers(values: list[Any]) -> Call:
        return Call("torch", "tensor", (values,), double)

    if settings.guide == "label":
        return Call("shared.guidance.classifier_free", "ClassifierFree", (settings.weight,))
    if settings.guide in ("dps", "ddnm"):
        measured = (Call("shared.operators", "Matrix", (numbers([list(LINE)]),)), numbers([[settings.value]]))
        own = {"strength": settings.weight} | ({"noise_std": settings.noise} if settings.guide == "dps" else {})
        return Call("shared.guidance.posterior", settings.guide.upper(), measured, own)
    if settings.guide == "known":
        known = (numbers([[0.0, settings.value]]), Call("torch", "tensor", ([False, True],)))
        return Call("shared.guidance.known_region", "KnownRegion", known)
    return None


# ----------------------------------------------------------------------------------------------------------- refusals


def _first_rules(settings: Experiment) -> None:
    """What the core would only notice later, or in other words."""
    if settings.law == "student-t" and settings.truth not in ("moons", "roll"):
        raise UserError(
            f"the law {settings.truth} has no closed form under Student-t noise",
            where="--truth",
            remedy="choose a finite set of points, moons or roll, or the Gaussian law",
        )
    if settings.guide == "label" and settings.truth == "correlated":
        raise UserError(
            "the law correlated has one part and no labels", where="--guide", remedy="choose another truth, or no guide"
        )
    if settings.head == "residual" and settings.process not in WITH_END:
        raise UserError(
            f"the residual head says y - x0, and the process {settings.process} has no known end y",
            where="--head",
            remedy=f"choose another head, or one of the processes {', '.join(sorted(WITH_END))}",
        )
    if settings.guide == "ddnm" and settings.weight > 1:
        raise UserError(
            f"a projection of strength {settings.weight:g} overshoots the measurement",
            where="--weight",
            remedy="choose a weight of at most 1 under ddnm",
        )


NEEDS: Final[Mapping[tuple[str, str], str]] = {  # (part that needs it, word of the core) -> what to choose here
    ("--sampler", "gaussian"): "choose the Gaussian law, or a sampler without fresh noise (ddim, dpmpp_2m, plms, heun)",
    ("--sampler", "true_score"): "choose the Gaussian law, or a sampler that walks without a score (ddim, heun)",
    ("--guide", "gaussian"): "choose the Gaussian law, or the guide ddnm, which writes no noise of its own",
    ("--guide", "true_score"): "choose the Gaussian law, or the guide ddnm, which needs no score",
}
REMEDIES: Final = (  # words of the core's other refusals -> the option they are about, and what to choose here
    ("sigma = 0", "--sampler", "choose ddpm or lcm, which start from the end itself, or a --start of 0.999"),
    ("has no finite", "--head", "choose a --start of 0.999, or the head x0, which stands everywhere"),
    ("spacing needs a start with a > 0", "--spacing", "choose a --start of 0.999, or uniform spacing"),
    ("levels; take fewer steps", "--steps", "choose fewer steps, or uniform spacing"),
    ("without standing still", "--steps", "choose fewer steps, or uniform spacing"),
    ("stochastic steps go down in noise", "--sampler", "choose ddpm, or a process whose noise only grows"),
)


def refusal(error: ValueError, settings: Experiment) -> UserError:
    """The core's refusal as one sentence of the laboratory: what does not fit, and what to choose instead."""
    what, _, own = str(error).partition("; ")
    own = own or "choose other parts"
    if isinstance(error, Incompatible):
        where = _option_of(error.part, settings)
        return UserError(what, where=where, remedy=NEEDS.get((where, error.word), own))
    where, remedy = next(((where, remedy) for words, where, remedy in REMEDIES if words in what + own), ("run", own))
    return UserError(what, where=where, remedy=remedy)


def _option_of(part: str, settings: Experiment) -> str:
    """The option that chose a part of a run, by the part's name in a refusal."""
    guide = _guide(settings)
    if guide is not None and part in (guide.name, ROUTE):  # the guide known alone makes a route that goes back up
        return "--guide"
    return "--sampler"
