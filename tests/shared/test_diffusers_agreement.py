"""The same method on the same times ends where an independent implementation ends, and so do the times themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.core import METHODS, check_agreement
from shared.denoiser import Denoiser, eps_head, velocity_head
from shared.grid import grid, own_times
from shared.noise import Recorded
from shared.process import flow, vp
from shared.run import Sampler
from shared.sample import sample
from shared.samplers.ddim import DDIM
from shared.samplers.euler import Euler
from shared.samplers.named import named
from shared.samplers.unipc import UniPC

diffusers = pytest.importorskip("diffusers")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # NumPy's, about diffusers' own arrays
BETAS = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


class Bent(nn.Module):
    """Not linear in the state, so that a prediction of one point cannot stand for that of another."""

    def forward(self, x: Tensor, time: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        return 0.6 * torch.tanh(x) + 0.1 * x


@dataclass(frozen=True)
class Pair:
    """A sampler and the scheduler that is the same method; `end` is our level at which its run ends."""

    sampler: Sampler
    scheduler: str
    options: Mapping[str, Any] = field(default_factory=dict)
    end: float = 0.0
    steps: int = 20


NO_LOWERING = {"lower_order_final": False, "final_sigmas_type": "sigma_min"}
PAIRS = {
    "euler": Pair(named("euler"), "EulerDiscreteScheduler", {"timestep_spacing": "trailing"}),
    "euler ancestral": Pair(
        named("euler_ancestral"), "EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"}
    ),
    "heun": Pair(named("heun"), "HeunDiscreteScheduler", {"timestep_spacing": "trailing"}),
    "dpmpp 3m": Pair(named("dpmpp_3m"), "DPMSolverMultistepScheduler", {"solver_order": 3}),
    "dpmpp 2m sde": Pair(named("dpmpp_2m_sde"), "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "unipc 1": Pair(DDIM(filter=UniPC(1)), "UniPCMultistepScheduler", {"solver_order": 1}),
    "unipc 2": Pair(named("unipc"), "UniPCMultistepScheduler", {"solver_order": 2}),
    "unipc 2 bh1": Pair(  # whose last step into the clean end is NaN there
        DDIM(filter=UniPC(2, "bh1")),
        "UniPCMultistepScheduler",
        {"solver_order": 2, "solver_type": "bh1", **NO_LOWERING},
        end=1.0,
    ),
    "unipc 3": Pair(DDIM(filter=UniPC(3)), "UniPCMultistepScheduler", {"solver_order": 3, **NO_LOWERING}, end=1.0),
}


@pytest.mark.parametrize("method", METHODS)
def test_samplers_end_where_the_schedulers_of_diffusers_end(method: str) -> None:
    check_agreement(method, torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("method", PAIRS)
def test_samplers_of_other_names_end_where_the_schedulers_end(method: str) -> None:
    pair = PAIRS[method]
    scheduler = getattr(diffusers, pair.scheduler)(**BETAS, **pair.options)
    scheduler.set_timesteps(pair.steps)
    levels = torch.cat([scheduler.timesteps.unique().flip(0).double() + 1, torch.tensor([pair.end])])
    process, network = vp("linear"), Bent()
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    exploding = pair.scheduler.startswith(("Euler", "Heun"))  # these keep x / a
    state, drawn = (x / process.at(levels[0]).a.float() if exploding else x), torch.Generator().manual_seed(1)
    for t in scheduler.timesteps:
        more = {} if pair.scheduler.startswith(("UniPC", "Heun")) else {"generator": drawn}
        said = network(scheduler.scale_model_input(state, t), t, {})
        state = scheduler.step(said, t, state, return_dict=False, **more)[0]
    again = torch.Generator().manual_seed(1)
    noise = Recorded({(k, "step"): torch.randn(x.shape, generator=again) for k in range(1, pair.steps + 1)})
    denoiser = Denoiser(network, process, eps_head())
    mine = sample(denoiser, pair.sampler, own_times(process, levels), noise=noise, x=x).x
    wanted = state * process.at(levels[-1]).a.float() if exploding else state
    torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-4)


def test_euler_in_time_ends_where_the_flow_scheduler_ends() -> None:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(sigmas=torch.linspace(1, 0, 13)[:-1].tolist())
    times = grid(flow(), 12, shift=3.0)
    torch.testing.assert_close(times.t.float(), scheduler.sigmas, rtol=0, atol=1e-6)
    network, x = Bent(), torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    state = x
    for t in scheduler.timesteps:
        state = scheduler.step(network(state, t, {}), t, state, return_dict=False)[0]
    denoiser = Denoiser(network, flow(), velocity_head())
    torch.testing.assert_close(sample(denoiser, Euler(), times, noise=Recorded({}), x=x).x, state, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps", [7, 20, 50, 999])
@pytest.mark.parametrize(
    ("spacing", "known_as", "offset"),
    [("levels", "trailing", 0), ("trailing", "trailing", 0), ("leading", "leading", 1)],
)
def test_levels_are_those_of_diffusers(steps: int, spacing: str, known_as: str, offset: int) -> None:
    scheduler = diffusers.DDIMScheduler(**BETAS, timestep_spacing=known_as, steps_offset=offset)
    scheduler.set_timesteps(steps)
    if spacing == "leading" and steps == 999:  # one level beyond the table: refused here, an index error there
        with pytest.raises(ValueError, match="do not fit 1000 levels with offset 2"):
            grid(vp("linear"), steps, spacing, offset=2)
        return
    mine = grid(vp("linear"), steps, spacing, offset=offset if spacing == "leading" else 0)
    assert (mine.t[:-1] - 1).long().tolist() == scheduler.timesteps.tolist() and mine.t[-1] == 0


@pytest.mark.parametrize(
    ("spacing", "option"), [("karras", "use_karras_sigmas"), ("log_snr", "use_exponential_sigmas")]
)
def test_grids_by_noise_are_those_of_diffusers(spacing: str, option: str) -> None:
    scheduler = diffusers.EulerDiscreteScheduler(**BETAS, **{option: True})
    scheduler.set_timesteps(12)
    points = grid(vp("linear"), 12, spacing).whole
    torch.testing.assert_close((points.sigma / points.a).float(), scheduler.sigmas, rtol=2e-4, atol=0)
