"""The times that a scheduler of diffusers would visit, as a grid of ours.

    leading    0, k, 2k, ... + offset    linspace    n even ones, both ends included    trailing    T, T - k, ... less 1

DDIM, Euler and DPM-Solver read these words differently (the second rounds nothing, the third divides by one more step),
and each ends elsewhere; networks were tuned with one of them, so the class that a configuration comes from decides.
Schedules of Lin et al. 2024 (table 2), Karras et al. 2022 (use_karras_sigmas), Esser et al. 2024 (shift, mu).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from shared.errors import UserError
from shared.grid import Grid
from shared.interop.scheduler_config import AS_DPM, AS_EULER, Config, Trained, class_of, prediction_type, trained

RHO = 7.0  # Karras et al. 2022
# Options of stock schedulers that nothing here does, each with its way out: of what is believed, and of how a run goes.
BELIEFS = {"thresholding": "turn it off, and use clip_sample or shared.sample.sample with guidance=[Clamp(-1, 1)]"}
RUNS = {
    "use_exponential_sigmas": "pass sigmas or timesteps",
    "use_beta_sigmas": "pass sigmas or timesteps",
    "use_lu_lambdas": "pass sigmas or timesteps",
    "invert_sigmas": "turn it off",
    "stochastic_sampling": "turn it off, and choose a stochastic sampler",
}


def refuse_foreign(config: Config) -> None:
    """Raise UserError for an option that a run would ignore."""
    refuse_foreign_beliefs(config)
    _refuse(config, RUNS)


def refuse_foreign_beliefs(config: Config) -> None:
    """Raise UserError for an option without which a network is not read as its scheduler reads it."""
    _refuse(config, BELIEFS)
    if config.get("timestep_type") == "continuous":
        raise UserError(
            "a continuous timestep_type is not known here", remedy="use a scheduler with discrete timesteps"
        )


def _refuse(config: Config, options: Mapping[str, str]) -> None:
    for name, remedy in options.items():
        if config.get(name):
            raise UserError(f"the scheduler's option {name} is not known here", remedy=remedy)


def grid_like(
    config: Config,
    steps: int | None = None,
    *,
    timesteps: Sequence[float] | Tensor | None = None,
    sigmas: Sequence[float] | Tensor | None = None,
    mu: float | None = None,
    known: Trained | None = None,
) -> Grid:
    """The grid that a run of the configured scheduler walks, its last point included.

    steps       network calls, spaced as the scheduler spaces them
    timesteps   own ones instead, descending, in the scheduler's numbers (0..T-1; T s for a flow)
    sigmas      own ones instead: sigma / a of betas (a last 0 is the clean end), s of a flow (shifted as configured)
    mu          of a flow with use_dynamic_shifting;  known   `trained(config)`, where the caller has it already
    A run whose last timestep lies at the configured end already (set_alpha_to_one=False, no offset) ends clean: the
    stock scheduler's last step would stand still.
    """
    refuse_foreign(config)
    known = trained(config) if known is None else known
    own = [given for given in (timesteps, sigmas) if given is not None]
    if len(own) + (steps is not None) != 1 and not (
        len(own) == 1 and len(own[0]) == steps
    ):  # pipelines count their own
        raise UserError("the points of a run are given twice or not at all", remedy="give steps, timesteps or sigmas")
    if steps is not None and not 1 <= steps <= known.levels:
        raise UserError(f"{steps} steps", remedy=f"take 1 to {known.levels}, the number of levels of the network")
    end = _end(config, known)
    if timesteps is not None:
        times = known.time(torch.as_tensor(timesteps))
    elif known.flow:
        times = _flow_times(config, known, steps, sigmas, mu)
    elif sigmas is not None:
        times, end = _of_sigmas(known, torch.as_tensor(sigmas, dtype=torch.float64), end)
    elif config.get("use_karras_sigmas"):
        times = _karras(known, int(steps or 0))
    else:
        times = known.time(_spaced(config, known, int(steps or 0)))
    if not bool((times.diff() < 0).all()):
        raise UserError(f"{len(times)} timesteps do not all differ and fall", remedy="take fewer steps, or give others")
    low, high = sorted(known.process.ends)
    if not low < float(times[-1]) <= float(times[0]) <= high:
        ends = torch.tensor([times[0], times[-1], low, high], dtype=torch.float64)
        first, last, least, most = (f"{t:g}" for t in known.timestep(ends).tolist())
        remedy = f"give timesteps above {least} and up to {most}"
        raise UserError(f"timesteps from {first} to {last} leave the network's range", remedy=remedy)
    end = end if end < float(times[-1]) else low
    return Grid(known.process, torch.cat([times, torch.tensor([end], dtype=torch.float64)]))


def _end(config: Config, known: Trained) -> float:
    """Our time at which a run ends: clean, or the first noisy level."""
    if known.flow:
        return 0.0
    if class_of(config) in (*AS_EULER, *AS_DPM):
        return 1.0 if config.get("final_sigmas_type") == "sigma_min" else 0.0
    return 1.0 if config.get("set_alpha_to_one") is False else 0.0


def _spaced(config: Config, known: Trained, steps: int) -> Tensor:
    """Timesteps of a network trained on betas, descending."""
    family, spacing = class_of(config), config.get("timestep_spacing", "leading")
    extra, last = (1, _last(config, known)) if family in AS_DPM else (0, known.levels)
    count = steps + extra
    if spacing == "linspace":
        found = torch.linspace(0, last - 1, count, dtype=torch.float64).flip(0)
        found = found if family in AS_EULER else found.round()
    elif spacing == "leading":
        found = (torch.arange(count, dtype=torch.float64) * (last // count)).flip(0) + int(
            config.get("steps_offset") or 0
        )
    elif spacing == "trailing":
        even = last - torch.arange(steps, dtype=torch.float64) * (known.levels / steps)
        found = even[even > 0].round() - 1
        extra = 0
    else:
        raise UserError(f"timestep_spacing {spacing!r} is not known", remedy="choose leading, linspace or trailing")
    return found[:-1] if extra else found


def _last(config: Config, known: Trained) -> int:
    """Levels whose log-SNR reaches lambda_min_clipped; cosine schedules are cut there."""
    least = config.get("lambda_min_clipped")
    if least is None or least == -math.inf:
        return known.levels
    log_snr = known.process.at(torch.arange(1, known.levels + 1, dtype=torch.float64)).log_snr
    return int((log_snr >= float(least)).sum())


def _of_sigmas(known: Trained, sigmas: Tensor, end: float) -> tuple[Tensor, float]:
    if sigmas[-1] == 0:
        sigmas, end = sigmas[:-1], 0.0
    return known.process.t_of(-torch.log(sigmas)), end


def _karras(known: Trained, steps: int) -> Tensor:
    ends = known.process.at(torch.tensor([known.levels, 1.0]))
    root = (ends.sigma / ends.a) ** (1 / RHO)
    sigmas = torch.linspace(root[0].item(), root[1].item(), steps, dtype=torch.float64) ** RHO
    times = known.process.t_of(-torch.log(sigmas))
    times[0] = known.levels
    return times


def _flow_times(
    config: Config, known: Trained, steps: int | None, sigmas: Sequence[float] | Tensor | None, mu: float | None
) -> Tensor:
    """s of a flow: even ones or the caller's, then shifted towards noise, then stretched to a terminal value."""
    shift = float(config.get("flow_shift") or config.get("shift") or 1.0)
    dynamic = bool(config.get("use_dynamic_shifting"))

    def shifted(s: Tensor) -> Tensor:
        return shift * s / (1 + (shift - 1) * s)

    if sigmas is not None:
        s = torch.as_tensor(sigmas, dtype=torch.float64)
    elif class_of(config) in AS_DPM and prediction_type(config) == "flow_prediction":
        s = torch.linspace(0, 1 - 1 / known.levels, int(steps or 0) + 1, dtype=torch.float64).flip(0)[:-1]
    else:
        ends = torch.tensor([1.0, 1 / known.levels], dtype=torch.float64)
        high, low = ends if dynamic else shifted(ends)  # the ends of the training range, which were shifted as well
        s = torch.linspace(high.item(), low.item(), int(steps or 0), dtype=torch.float64)
    if dynamic:
        if mu is None:
            raise UserError("use_dynamic_shifting needs mu", remedy="pass mu, or turn it off and set shift")
        shift = mu if config.get("time_shift_type") == "linear" else math.exp(mu)
    s = shifted(s)
    terminal = config.get("shift_terminal")
    return 1 - (1 - s) * (1 - float(terminal)) / (1 - s[-1]) if terminal else s
