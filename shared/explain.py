"""Say in words what a run will do: its parts, the order within a move, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence

from shared.denoiser import Cond, Denoiser
from shared.grid import Grid
from shared.run import Guidance, Sampler
from shared.sample import cost, parts


def explain(
    denoiser: Denoiser, sampler: Sampler, grid: Grid, *, cond: Cond | None = None, guidance: Sequence[Guidance] = ()
) -> str:
    """A text of a dozen lines: route, what every part needs and gives, the stages of one move in order, the calls.

    Only stages that some guidance fills are listed; `correct` of a projection comes last whatever the list says.
    """
    jumps = len(grid.route) - 1 - grid.steps
    route = f"{grid.steps} steps of the {grid.process.name} process, {grid.direction}"
    lines = [route + (f", {jumps} jumps back up in noise" if jumps else "")]
    for part in parts(denoiser, sampler, grid, guidance):
        words = [("needs", part.needs), ("gives", part.gives), ("takes away", part.voids)]
        said = "; ".join(f"{verb} {', '.join(sorted(which))}" for verb, which in words if which)
        lines.append(f"  {part.name}" + (f": {said}" if said else ""))
    lines.append("a move: " + " -> ".join(stages(sampler, guidance)))
    total = cost(denoiser, sampler, grid, cond=cond, guidance=guidance)
    lines.append(f"{total.calls} calls in {total.batches} batches, {total.backprops} back-propagations a sample")
    return "\n".join(lines)


def stages(sampler: Sampler, guidance: Sequence[Guidance]) -> list[str]:
    """The stages of one move in the order in which they happen, each with those who act in it."""
    out = ["law", "noise", "predict"]
    for stage in ("combine", "energy", "correct"):
        acting = [g for g in guidance if _acts(g, stage)]
        if stage == "correct":
            acting.sort(key=lambda g: g.projection)
        if acting:
            out.append(f"{stage} ({', '.join(type(g).__name__ for g in acting)})")
    out.append(f"step ({type(sampler).__name__})")
    after = [g for g in guidance if _acts(g, "after")]
    if after:
        out.append(f"after ({', '.join(type(g).__name__ for g in after)})")
    return [*out, "observers"]


def _acts(guidance: Guidance, stage: str) -> bool:
    """Whether a guidance fills a stage; `energy` only when it states a gradient."""
    own = getattr(type(guidance), stage) is not getattr(Guidance, stage)
    return own and (stage != "energy" or guidance.grad != "none")
