"""Our samplers as a scheduler of diffusers: any stock pipeline runs with them.

    pipe.scheduler = SuiteScheduler.from_config(pipe.scheduler.config, sampler="dpmpp_2m")
    pipe("a lighthouse", num_inference_steps=20, generator=torch.Generator().manual_seed(0))

A pipeline asks the network and hands the answer to `step`. A sampler that asks twice a step has both calls in
`timesteps`, `order` of them a step, as diffusers' own Heun has (`replay.py`). Levels, spacing, prediction type and
clipping are those of the configuration; guidance stays the pipeline's. What a sampler remembers belongs to the run that
`set_timesteps` starts: there is no counter that could run ahead.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor

from shared.denoiser import Prediction
from shared.errors import UserError
from shared.grid import Grid
from shared.interop.replay import Draws, Unfinished, asked
from shared.interop.scheduler_config import FLOWS, OURS, Config, Trained, class_of, prediction_type, read, trained
from shared.interop.timesteps import grid_like, refuse_foreign
from shared.process import Point, lin
from shared.run import Own, Sampler, Step
from shared.samplers.named import SAMPLERS, named

if TYPE_CHECKING:
    SuiteScheduler: Any

GIVEN = {"x0", "gaussian", "true_score"}  # what a pipeline's network gives a sampler


def usable() -> dict[str, str]:
    """The samplers of `shared/samplers/named.py` that a scheduler can run: name -> what it is, in a line."""
    return {name: entry.what for name, entry in SAMPLERS.items() if not _missing(named(name))}


def sampler_of(name: str, options: Mapping[str, Any]) -> Sampler:
    """The sampler of that name; raises UserError where a pipeline cannot run it."""
    try:
        sampler = named(name, **options)
    except ValueError as error:
        raise UserError(str(error), where="sampler", remedy=f"a scheduler runs {', '.join(usable())}") from None
    missing = _missing(sampler)
    if missing:
        raise UserError(
            f"{name} needs {', '.join(missing)}, which a pipeline does not give",
            where="sampler",
            remedy=f"choose {', '.join(usable())}, or use shared.sample.sample",
        )
    return sampler


def _missing(sampler: Sampler) -> list[str]:
    """What a sampler needs and a pipeline does not give."""
    return sorted(sampler.needs - GIVEN)


class SamplerSteps:
    """What diffusers asks of a scheduler, done by a sampler of ours; `SuiteScheduler` adds loading and saving."""

    init_noise_sigma = 1.0
    config: Any
    _calls: list[tuple[int, bool, Point]]  # of a run: the step, whether its answer goes unused, and where it asks
    _begin: int | None
    order: int  # network calls a step: pipelines that begin with step k take timesteps[k * order:]
    _memory: Own | None  # None: no step of the run is made
    _unfinished: Unfinished | None
    _next: int | None  # the call that comes next; None: a run may begin with any step

    def _set_up(self, options: Config) -> None:
        """From the options of the configuration; raises UserError for what cannot be done."""
        refuse_foreign(options)
        self._known: Trained = trained(options)
        self._sampler = sampler_of(str(options["sampler"]), options.get("sampler_options") or {})
        self._clip = float(options["clip_sample_range"]) if options.get("clip_sample") else None
        self._grid: Grid | None = None
        self.num_inference_steps: int | None = None
        self.timesteps = torch.arange(self._known.levels - 1, -1, -1) + int(self._known.flow)  # until a run starts
        self.sigmas = self._noisiness(torch.cat([self._known.time(self.timesteps), torch.zeros(1)]))
        self.order = 1
        self._begin = None
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
        self._own_points = timesteps is not None or sigmas is not None
        points = self._grid.points
        asks = [asked(self._sampler, *ends, self._grid) for ends in itertools.pairwise(points)]
        self.order = max(map(len, asks))
        self._calls, starts = [], []
        for i, where in enumerate(asks):
            # Pipelines begin step k at timesteps[k * order:]; a step of fewer calls, but for the last, idles first.
            idle = self.order - len(where) if i + 1 < len(asks) else 0
            starts.append(len(self._calls))
            self._calls += [(i, True, where[0])] * idle + [(i, False, at) for at in where]
        times = torch.stack([at.t for _, _, at in self._calls])
        visited = self._known.timestep(times)
        whole = not self._known.flow and bool((visited == visited.round()).all())
        self.timesteps = visited.to(torch.int64 if whole else torch.float32).to(device)
        self.sigmas = self._noisiness(torch.cat([times, points[-1].t[None]])).to(device)
        self._times = self.timesteps.tolist()
        self._starts = {self._times[k]: k for k in starts}
        self.num_inference_steps = len(points) - 1
        self._begin = None
        self._forget()

    @property
    def begin_index(self) -> int | None:
        """Where in `timesteps` a run begins, as the pipeline said; None: with any step."""
        return self._begin

    def set_begin_index(self, begin_index: int = 0) -> None:
        """A run begins here, at this entry of `timesteps`; what the run before remembered is forgotten.

        Raises UserError where no step begins there, and where a pipeline that gave its own points counts each call as a
        step, as diffusers' pipelines then do: it would change a picture less than it was asked to.
        """
        if self._grid is None:
            raise UserError("there is no run yet", where="set_begin_index", remedy="call set_timesteps first")
        if begin_index and self._own_points and self.order > 1:
            raise UserError(
                "the pipeline gave its own sigmas or timesteps, and takes every call for a step",
                where="set_begin_index",
                remedy="choose a sampler of one call a step",
            )
        if begin_index not in self._starts.values():
            near = min(self._starts.values(), key=lambda k: abs(k - begin_index))
            remedy = f"the nearest is {near}; step k begins at k * {self.order}"
            raise UserError(f"no step begins at {begin_index}", where="set_begin_index", remedy=remedy)
        self._begin = begin_index
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

        timestep    one of `timesteps`. A sampler without memory takes steps in any order, as often as asked; one that
                    remembers may start anywhere (image to image) and then goes on in order. After `set_begin_index` a
                    run begins there. The calls of one step follow each other: all but its last return the state that
                    the sampler shows to the network next.
        Raises UserError for a timestep that the run does not visit, or that comes out of turn.
        """
        if self._grid is None:
            raise UserError("there is no run yet", where="step", remedy="call set_timesteps first")
        k = self._place(float(timestep))
        x = sample.float() if sample.dtype in (torch.float16, torch.bfloat16) else sample
        i, idle, at = self._calls[k]
        said = self._read(model_output, x, at)
        memory = self._memory or {}
        reached = x
        if not idle:
            going = self._unfinished or self._begun(i, x, memory, generator)
            going, reached, own = going.answered(self._sampler, said, self._grid, memory)
            memory, self._unfinished = (memory, going) if own is None else (own, None)
        self._memory, self._next = memory, k + 1
        pair = (reached.to(sample.dtype), said.x0.to(sample.dtype))
        return _output()(prev_sample=pair[0], pred_original_sample=pair[1]) if return_dict else pair

    def _begun(
        self, i: int, x: Tensor, own: Own, generator: torch.Generator | list[torch.Generator] | None
    ) -> Unfinished:
        """Step i from state x, with the noise of its own."""
        grid = cast(Grid, self._grid)
        t, s = grid.points[i], grid.points[i + 1]
        law = self._sampler.law(t, s, grid, own)
        z = _drawn(x, generator) if "stochastic" in self._sampler.gives and not s.clean else None
        draws = Draws(lambda like: _drawn(like, generator))
        last = i + 2 == len(grid.points)
        return Unfinished(x, Step(self._known.process, None, i + 1, i, i + 1, t, s, "step", last, z, law, draws))

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

    def _noisiness(self, times: Tensor) -> Tensor:
        """What diffusers calls sigmas, of our times: sigma / a of betas, s of a flow."""
        at = self._known.process.at(times)
        return (at.sigma if self._known.flow else at.sigma / at.a).float()

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
        """The call of the run that a timestep stands for: the next one, or a step that may be made now."""
        if self._next == len(self._times) and self._memory:  # the run is over: another one begins
            self._forget()
        at, free = self._next, self._unfinished is None and self._memory == {}
        if at is not None and at < len(self._times) and self._times[at] == timestep:
            return at
        if timestep not in self._times:
            near = min(self._times, key=lambda t: abs(t - timestep))
            remedy = f"the nearest is {near:g}; step with the values of scheduler.timesteps"
            raise UserError(f"timestep {timestep:g} is not visited", where="step", remedy=remedy)
        if timestep in self._starts and (at is None or free):
            return self._starts[timestep]
        turn = f"{self._times[at]:g} is next" if at is not None and at < len(self._times) else "a step is to begin"
        remedy = "keep to scheduler.timesteps, or call set_timesteps to start again"
        raise UserError(f"timestep {timestep:g} comes out of turn, {turn}", where="step", remedy=remedy)

    def _forget(self) -> None:
        self._memory, self._unfinished, self._next = None, None, self._begin


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
