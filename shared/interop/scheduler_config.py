"""What a scheduler's configuration says of a network: its process, its head, and what its time means.

    betas   DDIM, DDPM, PNDM, Euler, DPM-Solver++, UniPC, ...   x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps
    flow    FlowMatchEuler, FlowMatchHeun, use_flow_sigmas      x_t = (1 - s) x0 + s eps, timestep = T s

diffusers numbers its noisy levels 0..T-1, this suite 1..T (level 0 is clean): our time is their timestep + 1.
Configurations are plain mappings: nothing here needs diffusers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shared.denoiser import Head, eps_head, v_head, velocity_head, x0_head
from shared.errors import UserError
from shared.process import Point, Process, flow, vp_betas

FILE = "scheduler_config.json"
OURS = "SuiteScheduler"  # shared/interop/schedulers.py
# Families of schedulers by how they space their timesteps (timesteps.py): as DDIM, as Euler, as DPM-Solver.
AS_DDIM = ("DDIMScheduler", "DDIMParallelScheduler", "DDPMScheduler", "DDPMParallelScheduler", "PNDMScheduler")
AS_EULER = (
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "LMSDiscreteScheduler",
)
AS_DPM = (
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "DEISMultistepScheduler",
    "UniPCMultistepScheduler",
)
FLOWS = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
KNOWN = (*AS_DDIM, *AS_EULER, *AS_DPM, *FLOWS)
# The configuration of a live scheduler does not name its class. It lists its own options first, so the first of these
# tells the family, also where a configuration was handed from class to class.
TELLING = {
    "set_alpha_to_one": "DDIMScheduler",
    "interpolation_type": "EulerDiscreteScheduler",
    "solver_order": "DPMSolverMultistepScheduler",
    "shift": "FlowMatchEulerDiscreteScheduler",
    "use_exponential_sigmas": "HeunDiscreteScheduler",  # the others that know it have one of the above before it
}
LEAST_SIGNAL = 2.0**-24  # abar of the last level where the config asks for zero terminal signal (as DPM-Solver does)

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Trained:
    """Process and head of a network, and the two ways between its timesteps and our time.

    levels   T, the number of noisy levels it was trained on;  flow   whether its process is rectified flow
    """

    process: Process
    head: Head
    levels: int
    flow: bool

    def time(self, timestep: Tensor) -> Tensor:
        """Our time (float64) of a timestep of theirs."""
        timestep = timestep.double()
        return timestep / self.levels if self.flow else timestep + 1

    def timestep(self, time: Tensor) -> Tensor:
        """Their timestep (float64) of our time."""
        return time * self.levels if self.flow else time - 1


def read(source: object) -> Config:
    """A configuration from a mapping, a scheduler object, a JSON file, or a folder that holds one.

    Raises UserError for a file that is absent or no JSON object, and for a class of scheduler that is not known.
    """
    config = source if isinstance(source, Mapping) else getattr(source, "config", None)
    if isinstance(source, str | Path):
        config = _file(Path(source))
    elif isinstance(config, Mapping) and config is not source:
        config = {**config, "_class_name": type(source).__name__}
    if not isinstance(config, Mapping):
        raise UserError(
            f"{type(source).__name__} is no scheduler configuration",
            remedy="give a scheduler of diffusers, its config, or the folder that holds scheduler_config.json",
        )
    name = config.get("_class_name")
    if name is not None and name not in (*KNOWN, OURS):
        raise UserError(f"the scheduler {name} is not known here", remedy=f"known are {', '.join(KNOWN)}")
    return config


def class_of(config: Config) -> str:
    """The class of scheduler that a configuration belongs to, or one that spaces its timesteps in the same way."""
    named = config.get("_class_name")
    if named == OURS or (named is None and "spacing_of" in config):
        return str(config["spacing_of"])
    return str(named) if named else next((TELLING[key] for key in config if key in TELLING), "DDIMScheduler")


def trained(config: Config) -> Trained:
    """Process and head that belong to a configuration (`read`)."""
    levels = int(config.get("num_train_timesteps", 1000))
    kind = prediction_type(config)
    if kind == "flow_prediction":
        return Trained(flow(), velocity_head(lambda at: levels * at.t), levels, True)
    heads = {"epsilon": eps_head, "sample": x0_head, "v_prediction": v_head}
    if kind not in heads:
        raise UserError(
            f"prediction_type {kind!r} is not known here", remedy=f"known are {', '.join(heads)} and flow_prediction"
        )
    return Trained(vp_betas(betas(config), "vp of a scheduler"), heads[kind](_timestep), levels, False)


def prediction_type(config: Config) -> str:
    """The prediction type; schedulers for flows have none of their own."""
    if class_of(config) in FLOWS:
        return "flow_prediction"
    kind = str(config.get("prediction_type") or "epsilon")
    return "flow_prediction" if kind == "flow" else kind


def betas(config: Config) -> Tensor:
    """The betas (T,), float64: linear, scaled_linear (Rombach et al. 2022), squaredcos_cap_v2 (Nichol et al. 2021)."""
    count = int(config.get("num_train_timesteps", 1000))
    low, high = float(config.get("beta_start", 1e-4)), float(config.get("beta_end", 0.02))
    schedule = config.get("beta_schedule", "linear")
    if config.get("trained_betas") is not None:
        found = torch.as_tensor(config["trained_betas"], dtype=torch.float64)
    elif schedule == "linear":
        found = torch.linspace(low, high, count, dtype=torch.float64)
    elif schedule == "scaled_linear":
        found = torch.linspace(math.sqrt(low), math.sqrt(high), count, dtype=torch.float64) ** 2
    elif schedule == "squaredcos_cap_v2":
        bar = torch.cos((torch.arange(count + 1, dtype=torch.float64) / count + 0.008) / 1.008 * math.pi / 2) ** 2
        found = (1 - bar[1:] / bar[:-1]).clamp(max=0.999)
    else:
        raise UserError(
            f"beta_schedule {schedule!r} is not known here",
            remedy="known are linear, scaled_linear, squaredcos_cap_v2; or give trained_betas",
        )
    return _zero_terminal(found) if config.get("rescale_betas_zero_snr") else found


def _zero_terminal(found: Tensor) -> Tensor:
    """Shifted and scaled so that the last level has (almost) no signal: Lin et al. 2024, algorithm 1."""
    root = torch.cumprod(1 - found, 0).sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    bar = (root**2).clamp(min=LEAST_SIGNAL)
    return 1 - torch.cat([bar[:1], bar[1:] / bar[:-1]])


def _timestep(at: Point) -> Tensor:
    return at.t - 1


def _file(path: Path) -> Config:
    for place in (path / "scheduler" / FILE, path / FILE, path):
        if place.is_file():
            try:
                found = json.loads(place.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
                remedy = f"restore {FILE}"
                raise UserError(f"cannot be read ({type(error).__name__})", where=str(place), remedy=remedy) from None
            if isinstance(found, Mapping):
                return found
    raise UserError(
        f"holds no {FILE}", where=str(path), remedy="give the folder that a pipeline or scheduler was saved in"
    )
