"""Samplers by the name under which they are known: what front ends list, and what a sidecar or a recipe writes down.

    named("dpmpp_2m")                     DPM-Solver++ 2M
    named("heun", coordinate="time")      with an option of its own

Most names are settings of one formula (`ddim.py`): a fraction of fresh noise and a filter of the history.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared.run import Sampler
from shared.samplers.ddim import DDIM, PLMS, DPMpp
from shared.samplers.heun import Heun


@dataclass(frozen=True)
class Entry:
    """A sampler of the table: how people write it, one line of what it is, and what makes it."""

    title: str
    what: str
    make: Callable[..., Sampler]

    @property
    def options(self) -> tuple[str, ...]:
        """The names that `make` takes."""
        return tuple(inspect.signature(self.make).parameters)


def _ddim(fraction: float = 0.0) -> Sampler:
    return DDIM(fraction)


def _multistep(order: int, fraction: float | str = 0.0) -> Callable[[], Sampler]:
    return lambda: DDIM(fraction, DPMpp(order))


def _plms(length: int = 4) -> Sampler:
    return DDIM(filter=PLMS(length))


SAMPLERS: dict[str, Entry] = {
    "ddim": Entry("DDIM", "first order, no fresh noise; `fraction` adds some", _ddim),
    "ddpm": Entry("DDPM", "the posterior of the forward process, fresh noise at every step", lambda: DDIM("ancestral")),
    "resshift": Entry("ResShift", "ResShift's posterior, for residual shifting", lambda: DDIM("residual_shift")),
    "lcm": Entry("LCM", "clean value and full re-noising: consistency models, in a few steps", lambda: DDIM(1.0)),
    "heun": Entry("Heun", "second order, two calls a step (Karras et al. 2022)", Heun),
    "dpmpp_2m": Entry("DPM-Solver++ 2M", "second order from the history, one call a step", _multistep(2)),
    "dpmpp_2m_sde": Entry("DPM-Solver++ 2M SDE", "the same with fresh noise", _multistep(2, "ancestral")),
    "plms": Entry("PLMS", "Adams-Bashforth on the noise, one call a step", _plms),
}


def named(name: str, **options: Any) -> Sampler:
    """The sampler of that name, with its own options.

    Raises ValueError with the valid names, or the valid options, when it knows none such.
    """
    if name not in SAMPLERS:
        raise ValueError(f"unknown sampler {name!r}; choose {', '.join(SAMPLERS)}")
    entry = SAMPLERS[name]
    strange = sorted(options.keys() - set(entry.options))
    if strange:
        has = f"its options are {', '.join(entry.options)}" if entry.options else "it has no options"
        raise ValueError(f"the sampler {name!r} knows no option {', '.join(strange)}; {has}")
    return entry.make(**options)
