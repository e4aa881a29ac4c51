"""Our samplers behind a stock scheduler's interface: the same numbers as the stock ones, and no counter to go wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import torch

from shared.errors import UserError
from shared.grid import own_times
from shared.interop.timesteps import grid_like
from shared.noise import Recorded
from shared.process import vp
from shared.sample import cost, sample
from shared.samplers.ddim import DDIM
from tests.conftest import ROOT
from tests.shared.interop.stock import BETAS, Wavy, loop, start

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of the libraries

from shared.interop.schedulers import SuiteScheduler, sampler_of, usable  # noqa: E402

UNCLIPPED = {"clip_sample": False}
STOCK: dict[str, tuple[str, dict[str, Any]]] = {  # a stock scheduler, its options, and our sampler of the same method
    "ddim": ("DDIMScheduler", UNCLIPPED),
    "ddim, ends at the first level": ("DDIMScheduler", {**UNCLIPPED, "set_alpha_to_one": False, "steps_offset": 1}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m, ends at the first level": (
        "DPMSolverMultistepScheduler",
        {"final_sigmas_type": "sigma_min", "lower_order_final": False},
    ),
    "ddim as Euler": ("EulerDiscreteScheduler", {"steps_offset": 1}),
}


def same(a: torch.Tensor, b: torch.Tensor) -> None:
    """Equal to 1e-5 of the largest entry."""
    assert a.shape == b.shape
    scale = float(b.abs().max())
    assert float((a - b).abs().max()) <= 1e-5 * max(1.0, scale), (float((a - b).abs().max()), scale)


def finer(stock):
    """The same scheduler, its table in float64: float32 knows 1 - abar of the first levels to a part in a thousand."""
    stock.betas = stock.betas.double()
    stock.alphas = 1 - stock.betas
    stock.alphas_cumprod = stock.alphas.cumprod(0)
    if hasattr(stock, "config") and stock.config.get("set_alpha_to_one") is False:
        stock.final_alpha_cumprod = stock.alphas_cumprod[0]
    return stock


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("case", STOCK)
def test_same_levels_same_numbers_as_the_stock_scheduler(schedule: str, prediction: str, case: str) -> None:
    name, options = STOCK[case]
    options = {"beta_schedule": schedule, "prediction_type": prediction, "timestep_spacing": "leading", **options}
    stock = getattr(diffusers, name)(**options)
    ours = SuiteScheduler.from_config(stock.config, sampler=case.split()[0].rstrip(","))
    same(loop(ours, 20, start()), loop(finer(stock), 20, start()).float())
    assert ours.timesteps.tolist() == stock.timesteps.tolist()


@pytest.mark.parametrize("name", ["DDIMScheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler"])
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("steps", [1, 7, 20])
def test_timesteps_are_spaced_as_the_stock_scheduler_spaces_them(name: str, spacing: str, steps: int) -> None:
    stock = getattr(diffusers, name)(**BETAS, timestep_spacing=spacing, steps_offset=1)
    ours = SuiteScheduler.from_config(stock.config)
    stock.set_timesteps(steps)
    ours.set_timesteps(steps)
    torch.testing.assert_close(ours.timesteps.float(), stock.timesteps.float(), rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize(
    "options", [{}, {"shift": 3.0}, {"use_dynamic_shifting": True}, {"shift": 2.0, "shift_terminal": 0.1}]
)
def test_flows_go_where_the_stock_scheduler_goes(options: dict) -> None:
    stock = diffusers.FlowMatchEulerDiscreteScheduler(**options)
    ours = SuiteScheduler.from_config(stock.config)
    given = {"mu": 0.7} if "use_dynamic_shifting" in options else {}
    same(loop(ours, 9, start(), **given), loop(stock, 9, start(), **given))
    torch.testing.assert_close(ours.timesteps, stock.timesteps)
    own = [1.0, 0.6, 0.3]
    same(loop(ours, 3, start(), sigmas=own, **given), loop(stock, 3, start(), sigmas=own, **given))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_ancestral_step_is_the_one_of_monai(prediction: str) -> None:
    from monai.networks.schedulers import DDPMScheduler

    theirs = finer(DDPMScheduler(1000, "linear_beta", "fixed_small", clip_sample=False, prediction_type=prediction))
    ours = SuiteScheduler(prediction_type=prediction, sampler="ddpm")
    ours.set_timesteps(1000)
    x = start()
    for t in (999, 998, 640, 1, 0):
        said = Wavy()(x, t)
        want, want_clean = theirs.step(said, t, x, generator=torch.Generator().manual_seed(t))
        got, clean = ours.step(said, t, x, generator=torch.Generator().manual_seed(t), return_dict=False)
        same(got, want.float())
        same(clean, want_clean.float())


def test_ancestral_run_of_the_core_is_the_one_of_monai() -> None:
    from monai.networks.schedulers import DDPMScheduler

    from shared.denoiser import Denoiser, eps_head

    class Ours(torch.nn.Module):
        def forward(self, x, time, cond):
            return Wavy()(x, time)

    theirs = finer(DDPMScheduler(50, "linear_beta", clip_sample=False, beta_start=2e-3, beta_end=0.4))
    process = vp("linear", 50)
    generator, noises, x = torch.Generator().manual_seed(3), {}, start()
    for k, t in enumerate(range(49, -1, -1), 1):
        noises[(k, "step")] = torch.randn(x.shape, generator=torch.Generator().set_state(generator.get_state()))
        x, _ = theirs.step(Wavy()(x, t), t, x, generator=generator)
    denoiser = Denoiser(Ours(), process, eps_head(lambda at: at.t - 1))
    grid = own_times(process, torch.arange(50, -1, -1.0))
    run = sample(denoiser, DDIM("ancestral"), grid, noise=Recorded(noises), x=start())
    same(run.x, x.float())


def test_learned_variance_is_left_to_its_owner() -> None:
    ours = SuiteScheduler(sampler="ddim")
    ours.set_timesteps(10)
    x, t = start(), ours.timesteps[0]
    said = torch.cat([Wavy()(x, t), torch.full_like(x, 7.0)], dim=1)
    assert torch.equal(ours.step(said, t, x).prev_sample, ours.step(Wavy()(x, t), t, x).prev_sample)


def test_clipping_is_the_stock_one_with_the_noise_read_again() -> None:
    stock = diffusers.DDIMScheduler(clip_sample=True, clip_sample_range=0.5)
    ours = SuiteScheduler.from_config(stock.config)
    stock.set_timesteps(20)
    ours.set_timesteps(20)
    x, t = start(), stock.timesteps[5]
    want = stock.step(Wavy()(x, t), t, x, use_clipped_model_output=True)
    got = ours.step(Wavy()(x, t), t, x)
    same(got.prev_sample, want.prev_sample)
    assert float(got.pred_original_sample.abs().max()) == 0.5


# -- samplers of several calls a step ----------------------------------------------------------------------------------

TWICE = ("heun", "dpmpp_2s", "dpmpp_sde", "langevin")


class InTurn:
    """Noise of the core that comes from one generator, in the order in which it is asked for: as pipelines draw it."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def draw(self, k: int, like: torch.Tensor, tag: str = "step") -> torch.Tensor:
        return torch.randn(like.shape, generator=self.generator)


def test_a_scheduler_runs_every_sampler_that_has_a_name() -> None:
    assert sorted(usable()) == [
        *("ddim", "ddpm", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2s", "dpmpp_3m", "dpmpp_3m_sde", "dpmpp_sde", "euler"),
        *("euler_ancestral", "heun", "langevin", "lcm", "plms", "resshift", "unipc"),
    ]


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_heun_goes_where_the_stock_heun_goes_call_by_call(spacing: str) -> None:
    stock = diffusers.HeunDiscreteScheduler(**BETAS, timestep_spacing=spacing)
    ours = SuiteScheduler.from_config(stock.config, sampler="heun")
    ours.set_timesteps(9)
    stock.set_timesteps(9)
    assert ours.timesteps.tolist() == stock.timesteps.tolist() and ours.order == stock.order == 2
    torch.testing.assert_close(ours.sigmas, stock.sigmas, rtol=1e-3, atol=0)
    begins = float(
        stock.init_noise_sigma / (stock.sigmas[0] ** 2 + 1) ** 0.5
    )  # theirs keeps x / a, not quite of length 1
    same(loop(ours, 9, start() * begins), loop(finer(stock), 9, start()).float())


@pytest.mark.parametrize("sampler", TWICE)
@pytest.mark.parametrize("source", ["betas", "flow"])
def test_a_sampler_of_two_calls_goes_where_the_core_takes_it(sampler: str, source: str) -> None:
    from shared.denoiser import Denoiser
    from shared.samplers.named import named

    class Ours(torch.nn.Module):
        def forward(self, x, time, cond):
            return Wavy()(x, time)

    stock = diffusers.DDIMScheduler(**BETAS) if source == "betas" else diffusers.FlowMatchEulerDiscreteScheduler()
    ours = SuiteScheduler.from_config(stock.config, sampler=sampler, clip_sample=False)
    got = loop(ours, 6, start())
    known = ours._known
    denoiser = Denoiser(Ours(), known.process, known.head)
    grid = grid_like(ours.config, 6)
    noise = InTurn(torch.Generator().manual_seed(5))
    same(got, sample(denoiser, named(sampler), grid, noise=noise, x=start()).x)
    idle = int(
        source == "flow" and sampler != "langevin"
    )  # where there is no signal they ask once; pipelines count two
    assert len(ours.timesteps) == cost(denoiser, named(sampler), grid).calls + idle


def test_calls_of_one_step_follow_each_other_and_a_run_begins_with_a_whole_step() -> None:
    ours = SuiteScheduler(**BETAS, sampler="dpmpp_2s")
    ours.set_timesteps(5)
    x, (first, half, second, *_) = start(), ours.timesteps
    with pytest.raises(UserError, match=rf"timestep {half:g} comes out of turn, a step is to begin"):
        ours.step(x, half, x)
    ours.step(x, first, x)
    with pytest.raises(UserError, match=rf"timestep {second:g} comes out of turn, {half:g} is next"):
        ours.step(x, second, x)
    flow = SuiteScheduler.from_config(diffusers.FlowMatchEulerDiscreteScheduler().config, sampler="dpmpp_2s")
    flow.set_timesteps(5)
    for k in range(5):  # the first step asks once only, and is two entries long all the same
        flow.set_begin_index(2 * k)
    with pytest.raises(UserError, match=r"no step begins at 3; the nearest is 2; step k begins at k \* 2"):
        ours.set_begin_index(3)
    ours.step(x, half, x)


# -- where a run begins, and how noisy it is there ---------------------------------------------------------------------


def test_a_run_begins_where_the_pipeline_says() -> None:
    ours = SuiteScheduler(**BETAS, sampler="ddim")
    with pytest.raises(UserError, match="call set_timesteps first"):
        ours.set_begin_index(0)
    ours.set_timesteps(10)
    x, times, begins = start(), ours.timesteps, [ours.begin_index]
    ours.set_begin_index(4)
    begins.append(ours.begin_index)
    with pytest.raises(UserError, match=rf"timestep {times[0]} comes out of turn, {times[4]} is next"):
        ours.step(x, times[0], x)
    ours.step(x, times[4], x)
    with pytest.raises(UserError, match="no step begins at 10; the nearest is 9"):
        ours.set_begin_index(10)
    ours.set_timesteps(10)
    assert [*begins, ours.begin_index] == [None, 4, None]


def test_a_new_beginning_forgets_the_run_before() -> None:
    ours = SuiteScheduler(**BETAS, sampler="dpmpp_2m")
    want = loop(ours, 6, start())
    for t in ours.timesteps[:3]:
        ours.step(start(), t, start())
    ours.set_begin_index(0)
    x = start()
    for t in ours.timesteps:
        x = ours.step(Wavy()(x, t), t, x, return_dict=False)[0]
    assert torch.equal(x, want)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("EulerDiscreteScheduler", {**BETAS, "timestep_spacing": "trailing"}),
        ("DPMSolverMultistepScheduler", {**BETAS, "timestep_spacing": "trailing"}),
        ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
    ],
)
def test_sigmas_are_the_stock_schedulers(name: str, options: dict) -> None:
    stock = getattr(diffusers, name)(**options)
    ours = SuiteScheduler.from_config(stock.config)
    assert len(ours.sigmas) == 1001
    ours.set_timesteps(7)
    stock.set_timesteps(7)
    torch.testing.assert_close(ours.sigmas, stock.sigmas, rtol=1e-3, atol=1e-6)  # theirs rest on a float32 table


# -- no hidden counter -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", sorted(usable()))
def test_two_runs_in_a_row_are_independent_and_a_seed_decides(sampler: str) -> None:
    ours = SuiteScheduler(**BETAS, sampler=sampler)
    first = loop(ours, 6, start())
    loop(ours, 5, start())
    assert torch.equal(loop(ours, 6, start()), first)
    again = first  # without a new set_timesteps: the run before is over, so the next one starts from nothing
    x, generator = start() * ours.init_noise_sigma, torch.Generator().manual_seed(5)
    for t in ours.timesteps:
        x = ours.step(Wavy()(x, t), t, x, generator=generator, return_dict=False)[0]
    assert torch.equal(x, again)


@pytest.mark.parametrize("sampler", sorted(usable()))
def test_a_run_may_start_in_the_middle(sampler: str) -> None:
    """Image to image: the picture is noised to a level, and the run goes on from there."""
    clean, noise = start(), torch.randn(2, 3, 6, 6)
    ours = SuiteScheduler(**BETAS, sampler=sampler)

    def from_the_middle() -> torch.Tensor:
        generator, times = torch.Generator().manual_seed(2), ours.timesteps[4 * ours.order :]
        x = ours.add_noise(clean, noise, times[:1])
        for t in times:
            x = ours.step(Wavy()(x, t), t, x, generator=generator, return_dict=False)[0]
        return x

    ours.set_timesteps(8)
    want = from_the_middle()
    loop(ours, 8, start())
    assert torch.equal(from_the_middle(), want)
    stock = diffusers.DDIMScheduler(**BETAS, clip_sample=False)
    noised = stock.add_noise(clean, noise, torch.tensor([500, 3]))
    same(ours.add_noise(clean, noise, torch.tensor([500, 3])), noised)
    assert torch.isfinite(want).all()


def test_a_sampler_that_remembers_refuses_a_timestep_out_of_turn() -> None:
    ours = SuiteScheduler(**BETAS, sampler="dpmpp_2m")
    ours.set_timesteps(10)
    x = start()
    for t in ours.timesteps[:3]:
        x = ours.step(Wavy()(x, t), t, x, return_dict=False)[0]
    for t in (ours.timesteps[2], ours.timesteps[5]):  # repeated, skipped
        with pytest.raises(UserError, match=rf"timestep {t} comes out of turn, {ours.timesteps[3]} is next"):
            ours.step(x, t, x)
    t = ours.timesteps[3]
    ours.step(Wavy()(x, t), t, x)  # a refusal costs nothing


def test_a_sampler_without_memory_takes_any_timestep_again() -> None:
    ours = SuiteScheduler(**BETAS, sampler="ddim")
    ours.set_timesteps(10)
    x, t = start(), ours.timesteps[4]
    assert torch.equal(ours.step(x, t, x).prev_sample, ours.step(x, t, x).prev_sample)


def test_a_timestep_that_is_not_visited_and_a_run_that_has_not_begun_are_refused() -> None:
    ours = SuiteScheduler(**BETAS)
    with pytest.raises(UserError, match="call set_timesteps first"):
        ours.step(start(), 999, start())
    ours.set_timesteps(10)
    with pytest.raises(UserError, match=r"timestep 899 is not visited; the nearest is 900"):
        ours.step(start(), 899, start())


def test_half_precision_states_are_stepped_in_full_precision() -> None:
    ours = SuiteScheduler(**BETAS)
    ours.set_timesteps(10)
    x, t = start(), ours.timesteps[4]
    full = ours.step(Wavy()(x.half().float(), t).half().float(), t, x.half().float()).prev_sample
    half = ours.step(Wavy()(x.half().float(), t).half(), t, x.half()).prev_sample
    assert half.dtype == torch.float16 and torch.equal(half, full.half())


# -- what is asked for -------------------------------------------------------------------------------------------------


def test_own_timesteps_and_own_sigmas_name_the_same_levels() -> None:
    ours = SuiteScheduler(**BETAS)
    ours.set_timesteps(timesteps=[900, 500, 37])
    assert ours.timesteps.tolist() == [900, 500, 37] and ours.num_inference_steps == 3
    at = ours._known.process.at(torch.tensor([901.0, 501.0, 38.0]))
    by_time = loop(ours, None, start(), timesteps=[900, 500, 37])
    ours.set_timesteps(sigmas=[*(at.sigma / at.a).tolist(), 0.0])
    torch.testing.assert_close(ours.timesteps.double(), torch.tensor([900, 500, 37]).double(), rtol=0, atol=1e-3)
    same(loop(ours, None, start(), sigmas=[*(at.sigma / at.a).tolist(), 0.0]), by_time)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"num_inference_steps": 0}, "0 steps"),
        ({"num_inference_steps": 1001}, "1001 steps"),
        ({}, "twice or not at all"),
        ({"timesteps": [900, 500], "sigmas": [1.0, 0.5]}, "twice or not at all"),
        ({"timesteps": [900, 900, 10]}, "do not all differ"),
        ({"timesteps": [1200, 3]}, "leave the network's range"),
    ],
)
def test_points_that_make_no_run_are_refused(given: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        SuiteScheduler(**BETAS).set_timesteps(**given)


def test_unknown_samplers_and_options_are_refused_in_one_sentence() -> None:
    with pytest.raises(UserError, match=r"unknown sampler 'eular'.*a scheduler runs ddim") as refused:
        sampler_of("eular", {})
    assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match="knows no option order"):
        sampler_of("ddim", {"order": 3})


def test_options_that_would_be_ignored_are_refused() -> None:
    stock = diffusers.DPMSolverMultistepScheduler(use_lu_lambdas=True)
    with pytest.raises(UserError, match="use_lu_lambdas is not known here"):
        SuiteScheduler.from_config(stock.config)
    with pytest.raises(UserError, match=r"EDMEulerScheduler is not known here; known are .*DDIMScheduler"):
        SuiteScheduler.from_config(diffusers.EDMEulerScheduler())


# -- configurations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("DDIMScheduler", {**BETAS, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True}),
        ("EulerDiscreteScheduler", {**BETAS, "timestep_spacing": "trailing"}),
        ("DPMSolverMultistepScheduler", {**BETAS, "prediction_type": "sample", "lambda_min_clipped": -5.1}),
        ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
        ("PNDMScheduler", {**BETAS, "skip_prk_steps": True, "steps_offset": 1}),
    ],
)
def test_configurations_survive_the_disk_and_the_way_back(name: str, options: dict, tmp_path) -> None:
    stock = getattr(diffusers, name)(**options)
    ours = SuiteScheduler.from_config(stock.config, sampler="dpmpp_2m")
    ours.save_config(tmp_path)
    again = SuiteScheduler.from_pretrained(tmp_path)
    assert again.config.sampler == "dpmpp_2m" and json.loads((tmp_path / "scheduler_config.json").read_text())
    assert torch.equal(loop(again, 8, start()), loop(ours, 8, start()))
    back = getattr(diffusers, name).from_config(again.config)
    assert all(back.config[key] == value for key, value in options.items())


def test_a_configuration_handed_from_class_to_class_keeps_the_last_ones_spacing() -> None:
    first = diffusers.DDIMScheduler(**BETAS)
    others = (diffusers.DPMSolverMultistepScheduler, diffusers.HeunDiscreteScheduler, diffusers.EulerDiscreteScheduler)
    for stock in (first, *(other.from_config(first.config) for other in others)):
        for source in (stock, stock.config):
            assert SuiteScheduler.from_config(source).config.spacing_of == type(stock).__name__


def test_zero_terminal_signal_stays_within_the_stock_schedulers_rounding() -> None:
    options = {**BETAS, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    stock = diffusers.DDIMScheduler(**options, **UNCLIPPED, timestep_spacing="trailing")
    ours = SuiteScheduler.from_config(stock.config)
    # The stock one has no signal at all at the last level, ours 2^-12 of it, so that an eps can be read there.
    torch.testing.assert_close(loop(ours, 10, start()), loop(stock, 10, start()), rtol=0, atol=2e-3)


def test_the_module_is_there_without_diffusers() -> None:
    program = "import sys; import shared.interop.schedulers as s; assert s.usable(); print('diffusers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
