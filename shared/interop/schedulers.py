"""Our samplers as a scheduler of diffusers: any stock pipeline runs with them.

    pipe.scheduler = SuiteScheduler.from_config(pipe.scheduler.config, sampler="dpmpp_2m")
    pipe("a lighthouse", num_inference_steps=20, generator=torch.Generator().manual_seed(0))

A pipeline asks the network and hands the answer to `step`, so a sampler that asks more than once a step is refused.
Levels, spacing, prediction type and clipping are those of the configuration; guidance stays the pipeline's. What a
multistep sampler remembers belongs to the run that `set_timesteps` starts: there is no counter that could run ahead.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor

from shared.ask import MAIN, Ask
from shared.denoiser import Prediction
from shared.errors import UserError
from shared.grid import Grid
from shared.interop.scheduler_config import FLOWS, OURS, Config, Trained, class_of, prediction_type, read, trained
from shared.interop.timesteps import grid_like, refuse_foreign
from shared.process import Point, lin
from shared.run import Evaluation, Own, Sampler, Step
from shared.samplers.named import SAMPLERS, named

if TYPE_CHECKING:
    SuiteScheduler: Any

GIVEN = {"x0", "gaussian", "true_score", "one_evaluation"}  # what a pipeline's network gives a sampler


def usable() -> dict[str, str]:
    """The samplers of `shared/samplers/named.py` that a scheduler can run: name -> what it is, in a line."""
    return {name: entry.what for name, entry in SAMPLERS.items() if not _obstacle(named(name))}


def one_call(name: str, options: Mapping[str, Any]) -> Sampler:
    """The sampler of that name; raises UserError where a pipeline cannot run it."""
    try:
        sampler = named(name, **options)
    except ValueError as error:
        raise UserError(str(error), where="sampler", remedy=f"a scheduler runs {', '.join(usable())}") from None
    obstacle = _obstacle(sampler)
    if obstacle:
        raise UserError(
            f"{name} {obstacle}", where="sampler", remedy=f"choose {', '.join(usable())}, or use shared.sample.sample"
        )
    return sampler


def _obstacle(sampler: Sampler) -> str:
    """Why a scheduler cannot run a sampler; empty when it can."""
    if "one_evaluation" not in sampler.gives:
        return "asks the network more than once a step, and a scheduler is given one answer"
    missing = sorted(sampler.needs - GIVEN)
    return f"needs {', '.join(missing)}, which a pipeline does not give" if missing else ""


@dataclass(frozen=True)
class Answered:
    """Stands for the network of a step whose answer is there already."""

    said: Prediction

    def __call__(self, x: Tensor, at: Point, step: Step | None = None) -> Evaluation:
        return Evaluation(self.said, self.said, {MAIN: self.said})


class SamplerSteps:
    """What diffusers asks of a scheduler, done by a sampler of ours; `SuiteScheduler` adds loading and saving."""

    order = 1  # network calls a step, as pipelines count them
    init_noise_sigma = 1.0
    config: Any
    _memory: Own
    _next: int

    def _set_up(self, options: Config) -> None:
        """From the options of the configuration; raises UserError for what cannot be done."""
        refuse_foreign(options)
        self._known: Trained = trained(options)
        self._sampler = one_call(str(options["sampler"]), options.get("sampler_options") or {})
        self._clip = float(options["clip_sample_range"]) if options.get("clip_sample") else None
        self._grid: Grid | None = None
        self.num_inference_steps: int | None = None
        self.timesteps = torch.arange(self._known.levels - 1, -1, -1) + int(self._known.flow)  # until a run starts
        self._forget()

    def __len__(self) -> int:
        return self._known.levels

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: torch.device | str | None = None,
        timesteps: Sequence[float] | Tensor | None = None,
        sigmas: Sequence[float] | Tensor | None = None,
        mu: float | None = None,
    ) -> None:
        """Start a run: its timesteps, spaced as the configuration says, or the caller's own (`timesteps.py`)."""
        given = {"timesteps": timesteps, "sigmas": sigmas, "mu": mu}
        self._grid = grid_like(self.config, num_inference_steps, known=self._known, **given)  # type: ignore[arg-type]
        visited = self._known.timestep(self._grid.t[:-1])
        whole = not self._known.flow and bool((visited == visited.round()).all())
        self.timesteps = visited.to(torch.int64 if whole else torch.float32).to(device)
        self._index = {float(t): i for i, t in enumerate(self.timesteps.tolist())}
        self.num_inference_steps = len(visited)
        self._forget()

    def scale_model_input(self, sample: Tensor, timestep: object = None) -> Tensor:
        """The state itself: it is kept in the scale that the network was trained on."""
        return sample

    def step(
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
        return_dict: bool = True,
    ) -> Any:
        """One step of the sampler from a network output: (state at the next timestep, believed clean value).

        timestep    one of `timesteps`. A sampler without memory takes them in any order, as often as asked; one that
                    remembers may start anywhere (image to image) and then goes on in order.
        Raises UserError for a timestep that the run does not visit, or that comes out of turn.
        """
        if self._grid is None:
            raise UserError("there is no run yet", where="step", remedy="call set_timesteps first")
        i = self._place(float(timestep))
        t, s = self._grid.points[i], self._grid.points[i + 1]
        x = sample.float() if sample.dtype in (torch.float16, torch.bfloat16) else sample
        said = self._read(model_output, x, t)
        own, sampler = self._memory, self._sampler
        law = sampler.law(t, s, self._grid, own)
        fresh = "stochastic" in sampler.gives and not s.clean
        z = _drawn(x, generator) if fresh else None
        last = i + 2 == len(self._grid.points)

        def draw(tag: str, like: Tensor) -> Tensor:
            return _drawn(like, generator)

        step = Step(self._known.process, None, i + 1, i, i + 1, t, s, "step", last, z, law, draw)
        moved = sampler.step(cast(Ask, Answered(said)), x, step, self._grid, own)
        self._memory, self._next = moved.own, i + 1
        pair = (moved.x.to(sample.dtype), said.x0.to(sample.dtype))
        return _output()(prev_sample=pair[0], pred_original_sample=pair[1]) if return_dict else pair

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """a x0 + sigma eps at timesteps, one a row or one for all; any of the network's range, visited or not."""
        return self._known.process.join(original_samples, noise, self._at(timesteps))

    def scale_noise(self, sample: Tensor, timestep: Tensor, noise: Tensor) -> Tensor:
        """`add_noise`, as pipelines of flows call it."""
        return self.add_noise(sample, noise, timestep)

    def get_velocity(self, sample: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """v = a eps - sigma x0 at timesteps: the target of a network of prediction type v_prediction."""
        at = self._at(timesteps)
        return lin((at.a, noise), (-at.sigma, sample))

    def _at(self, timesteps: Tensor) -> Point:
        times = self._known.time(torch.as_tensor(timesteps).detach().cpu())
        return self._known.process.at(times[0] if times.ndim == 1 and len(times) == 1 else times)

    def _read(self, said: Tensor, x: Tensor, at: Point) -> Prediction:
        """The believed clean value; a network that says a variance as well says it in the second half."""
        if said.shape[1] == 2 * x.shape[1]:
            said = said.chunk(2, dim=1)[0]
        head = self._known.head
        x0 = lin((head.c_out(at), said.to(x.dtype)), (head.c_skip(at), x))
        if self._clip is not None:
            x0 = x0.clamp(-self._clip, self._clip)
        return Prediction(self._known.process, x, at, None, x0)

    def _place(self, timestep: float) -> int:
        i = self._index.get(timestep)
        if i is None:
            near = min(self._index, key=lambda t: abs(t - timestep))
            remedy = f"the nearest is {near:g}; step with the values of scheduler.timesteps"
            raise UserError(f"timestep {timestep:g} is not visited", where="step", remedy=remedy)
        if i == self._next or not self._memory:
            return i
        if self._next == len(self._index):  # the run is over: another one begins
            self._forget()
            return i
        after = list(self._index)[self._next]
        remedy = "keep to scheduler.timesteps, or call set_timesteps to start again"
        raise UserError(f"timestep {timestep:g} comes out of turn, {after:g} is next", where="step", remedy=remedy)

    def _forget(self) -> None:
        self._memory = {}
        self._next = 0


def _drawn(like: Tensor, generator: torch.Generator | list[torch.Generator] | None) -> Tensor:
    """Normal noise as pipelines draw it: from the caller's generator, or one generator a row."""
    from diffusers.utils.torch_utils import randn_tensor

    return cast(Tensor, randn_tensor(like.shape, generator=generator, device=like.device, dtype=like.dtype))


def _output() -> Any:
    from diffusers.schedulers.scheduling_ddim import DDIMSchedulerOutput

    return DDIMSchedulerOutput


@functools.cache
def _scheduler_class() -> type[Any]:
    """`SuiteScheduler`, made when it is first asked for: its bases come from diffusers."""
    from diffusers.configuration_utils import ConfigMixin, register_to_config
    from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers, SchedulerMixin

    class SuiteScheduler(SamplerSteps, SchedulerMixin, ConfigMixin):  # type: ignore[misc]
        """A sampler of ours with the configuration of a stock scheduler.

        sampler, sampler_options   a name of `shared/samplers/named.py` (`usable()` lists them), and its own options
        spacing_of                 the stock class whose spacing of timesteps is followed; `from_config` finds it
        All others are those of the stock schedulers, with their meaning.
        """

        _compatibles: ClassVar[list[str]] = [*(known.name for known in KarrasDiffusionSchedulers), *FLOWS]  # type: ignore[misc]

        @register_to_config
        def __init__(
            self,
            num_train_timesteps: int = 1000,
            beta_start: float = 0.0001,
            beta_end: float = 0.02,
            beta_schedule: str = "linear",
            trained_betas: list[float] | None = None,
            prediction_type: str = "epsilon",
            timestep_spacing: str = "leading",
            steps_offset: int = 0,
            set_alpha_to_one: bool = True,
            final_sigmas_type: str = "zero",
            lambda_min_clipped: float | None = None,
            rescale_betas_zero_snr: bool = False,
            clip_sample: bool = False,
            clip_sample_range: float = 1.0,
            use_karras_sigmas: bool = False,
            shift: float = 1.0,
            use_dynamic_shifting: bool = False,
            base_shift: float | None = 0.5,
            max_shift: float | None = 1.15,
            base_image_seq_len: int = 256,
            max_image_seq_len: int = 4096,
            time_shift_type: str = "exponential",
            shift_terminal: float | None = None,
            spacing_of: str = "DDIMScheduler",
            sampler: str = "ddim",
            sampler_options: dict[str, Any] | None = None,
        ) -> None:
            self._set_up(self.config)

        @classmethod
        def from_config(cls, config: Any = None, return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
            """A scheduler from the configuration of a stock one, or of its own kind; options given here win.

            Raises UserError for a class of scheduler or an option that is not known here.
            """
            return super().from_config(_own(read(config)), return_unused_kwargs, **kwargs)

    SuiteScheduler.__qualname__ = OURS
    return SuiteScheduler


def _own(config: Config) -> dict[str, Any]:
    """A stock configuration in the words of ours; options that would be ignored are refused."""
    refuse_foreign(config)
    found = {name: value for name, value in config.items() if not name.startswith("_") or name == "_class_name"}
    if "spacing_of" in config:
        return found
    least = found.get("lambda_min_clipped")
    found |= {
        "prediction_type": prediction_type(config),
        "spacing_of": class_of(config),
        "lambda_min_clipped": None if least == -math.inf else least,
        "shift": found.get("flow_shift") or found.get("shift", 1.0),
        "_class_name": OURS,
    }
    return found


def __getattr__(name: str) -> Any:
    if name == OURS:
        return _scheduler_class()
    if name == "SchedulerMixin":  # a saved pipeline names this module, and the loader looks here for the base class
        from diffusers import SchedulerMixin

        return SchedulerMixin
    raise AttributeError(name)
