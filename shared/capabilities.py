"""Words by which the parts of a run say what they need and what they give, with the remedy for each.

A run is allowed when what its parts need lies in what they give, less what a part voids. `check` prints the sentence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

REMEDY: dict[str, str] = {
    "gaussian": "use a process with the Gaussian noise law; a Student-t law has no ancestral steps and no jumps",
    "true_score": "use a Gaussian process and a denoiser trained with the independent coupling",
    "x0": "use a denoiser whose head says a clean value; a pair head says velocity and score only",
    "pair": "use a denoiser with pair_head()",
    "stochastic": 'use a sampler that injects noise, for instance DDIM("ancestral")',
    "deterministic": "use a sampler that injects no noise, for instance DDIM() or Heun(), and no random guidance",
    "reversible": "use a sampler whose step can be undone",
    "law": "use a sampler that states its transition beforehand, for instance DDIM without a filter",
    "one_evaluation": "use a sampler with one evaluation a step, for instance DDIM instead of Heun",
    "differentiable": "use a network that can be back-propagated through (not a quantised or exported one)",
    "known_end": "use a process with a known end, for instance residual_shift() or mean_reverting()",
}


@dataclass(frozen=True)
class Part:
    """A part of a run under the name that messages use."""

    name: str
    needs: frozenset[str] = frozenset()
    gives: frozenset[str] = frozenset()
    voids: frozenset[str] = frozenset()


class Incompatible(ValueError):
    """The parts of a run do not fit; the message says who needs what, who took it away, and the remedy.

    part   the name of the part that needs it;  word  what it needs
    """

    def __init__(self, said: str, part: str, word: str) -> None:
        super().__init__(said)
        self.part, self.word = part, word


def fit(parts: Iterable[Part]) -> None:
    """Raise Incompatible unless every need is given and not voided."""
    parts = list(parts)
    given = frozenset().union(*(part.gives for part in parts))
    for part in parts:
        unknown = (part.needs | part.gives | part.voids) - REMEDY.keys()
        if unknown:
            raise ValueError(f"{part.name} uses unknown capability words {sorted(unknown)}; known: {sorted(REMEDY)}")
        for word in sorted(part.needs):
            thieves = [other.name for other in parts if word in other.voids]
            if thieves:
                raise Incompatible(
                    f"{part.name} needs {word!r}, which {' and '.join(thieves)} takes away; {REMEDY[word]}",
                    part.name,
                    word,
                )
            if word not in given:
                raise Incompatible(
                    f"{part.name} needs {word!r}, which nothing here gives; {REMEDY[word]}", part.name, word
                )
