"""Samplers by the name under which they are known: what front ends list, and what a sidecar or a recipe writes down.

    named("dpmpp_2m")                     DPM-Solver++ 2M
    named("heun", coordinate="time")      with an option of its own

Most names are settings of one formula (`ddim.py`): a fraction of fresh noise and a filter of the history.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from shared.run import Sampler
from shared.samplers.ddim import DDIM, PLMS, DPMpp
from shared.samplers.euler import Euler
from shared.samplers.heun import Heun
from shared.samplers.langevin import Langevin
from shared.samplers.single_step import SingleStep
from shared.samplers.unipc import UniPC


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


def _ddim(eta: float = 0.0) -> Sampler:
    return DDIM("ancestral", eta=eta) if eta else DDIM()


def _euler(coordinate: str = "sigma") -> Sampler:
    if coordinate not in ("sigma", "time"):
        raise ValueError(f"unknown coordinate {coordinate!r} of euler; choose sigma or time")
    return DDIM() if coordinate == "sigma" else Euler()


def _euler_ancestral(eta: float = 1.0) -> Sampler:
    return DDIM("ancestral", eta=eta)


def _multistep(length: int, fraction: float | str = 0.0) -> Callable[[], Sampler]:
    return lambda: DDIM(fraction, DPMpp(length))


def _unipc(length: int = 2, variant: Literal["bh1", "bh2"] = "bh2") -> Sampler:
    return DDIM(filter=UniPC(length, variant))


def _sde(clock: Literal["snr", "sigma"] = "snr") -> Sampler:
    return SingleStep("ancestral", clock)


def _plms(length: int = 4) -> Sampler:
    return DDIM(filter=PLMS(length))


def _langevin(snr: float = 0.16, corrections: int = 1, rule: Literal["level", "norms"] = "level") -> Sampler:
    return Langevin(snr, corrections, rule)


SAMPLERS: dict[str, Entry] = {
    "ddim": Entry("DDIM", "first order, no fresh noise unless eta > 0", _ddim),
    "ddpm": Entry("DDPM", "the posterior of the forward process, fresh noise at every step", lambda: DDIM("ancestral")),
    "euler": Entry("Euler", "first order; in sigma / a it is DDIM, in time it serves flows and pair heads", _euler),
    "euler_ancestral": Entry("Euler ancestral", "an Euler step further down, then fresh noise", _euler_ancestral),
    "heun": Entry("Heun", "second order, two calls a step (Karras et al. 2022)", Heun),
    "dpmpp_2s": Entry("DPM-Solver++ 2S", "second order, two calls a step", lambda: SingleStep()),
    "dpmpp_2m": Entry("DPM-Solver++ 2M", "second order from the history, one call a step", _multistep(2)),
    "dpmpp_3m": Entry("DPM-Solver++ 3M", "a longer history, for many steps", _multistep(3)),
    "dpmpp_sde": Entry("DPM++ SDE", "fresh noise, two calls a step", _sde),
    "dpmpp_2m_sde": Entry("DPM++ 2M SDE", "2M with fresh noise", _multistep(2, "ancestral")),
    "dpmpp_3m_sde": Entry("DPM++ 3M SDE", "3M with fresh noise", _multistep(3, "ancestral")),
    "unipc": Entry("UniPC", "predictor and free corrector, third order, one call a step", _unipc),
    "plms": Entry("PLMS", "Adams-Bashforth on the noise, one call a step", _plms),
    "lcm": Entry("LCM", "clean value and full re-noising: consistency models, in a few steps", lambda: DDIM(1.0)),
    "langevin": Entry("Langevin predictor-corrector", "DDPM with walks within each noise level", _langevin),
    "resshift": Entry("ResShift", "ResShift's posterior, for residual shifting", lambda: DDIM("residual_shift")),
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
