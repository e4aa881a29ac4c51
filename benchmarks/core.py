"""What a step costs beyond the network: this sampler loop against diffusers' schedulers of the same method.

The network is one multiplication, timed alone in the same rounds and taken off. One thread, float32, 50 steps of the
linear VP schedule; rounds of the two are interleaved and medians compared, in CPU time of the thread, which other work
on the machine does not lengthen. Both runs start from the same state and must end in the same place, or nothing is
recorded; those with fresh noise are given the same draws for that, and then draw for themselves. diffusers' PLMS has
the weights of equal steps and asks once more at its start, so it ends near ours and its time has one call more. Also:
what guidance and an observer add beyond their extra calls, beside what the tensor operations of that guidance add when
they are written by hand, and the share of a step in a call of the shipped lesion network. Writes
docs/measured/core.json.
"""

from __future__ import annotations

import itertools
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from shared.denoiser import Denoiser, eps_head
from shared.grid import Grid, own_times
from shared.guidance.clamp import Clamp
from shared.guidance.classifier_free import ClassifierFree
from shared.measured import record
from shared.noise import Bulk, Noise, PerSample, Recorded
from shared.process import vp
from shared.run import Guidance, Sampler
from shared.sample import sample
from shared.samplers.ddim import DDIM, DPMpp
from shared.samplers.named import named

STEPS, ROUNDS, DRAWN = 50, 41, 1
SHAPES = {"8 x 3 x 32 x 32": (8, 3, 32, 32), "1 x 1 x 32 x 32 x 32": (1, 1, 32, 32, 32)}
METHODS: dict[str, tuple[Sampler, str, dict[str, Any]]] = {
    "DDIM": (DDIM(), "DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": True}),
    "DPM-Solver++ 2M": (DDIM(filter=DPMpp(2)), "DPMSolverMultistepScheduler", {"final_sigmas_type": "zero"}),
    "Euler ancestral": (named("euler_ancestral"), "EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"}),
    "DPM++ 2M SDE": (named("dpmpp_2m_sde"), "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "UniPC": (named("unipc"), "UniPCMultistepScheduler", {"solver_order": 2}),
    "PLMS": (named("plms"), "PNDMScheduler", {"skip_prk_steps": True, "set_alpha_to_one": True}),
}
ONE_CALL = ("DDIM", "Euler ancestral")  # no history
APART = {"PLMS": 0.05}  # largest difference of the ends where two methods are kin and not one
WEIGHT, RANGE = 2.0, (-9.0, 9.0)  # of the guidance and of the clamp
GUIDED = ("guided", "clamped")
LESION = (1, 3, 32, 32, 32)  # a patch around a lesion of about 16 mm


class Tenth(nn.Module):
    """Almost nothing, so that the loop is what is timed."""

    def forward(self, x: Tensor, time: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        return 0.1 * x


def theirs(name: str, options: Mapping[str, Any]) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The levels that a diffusers scheduler visits, in our clock, and a run of it; fresh noise is `drawn`'s."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import diffusers
    betas = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
    scheduler = getattr(diffusers, name)(**betas, **options)
    network, exploding = Tenth(), name.startswith("Euler")  # whose state is x / a
    scheduler.set_timesteps(STEPS)
    levels = torch.cat([scheduler.timesteps.unique().flip(0).double() + 1, torch.zeros(1, dtype=torch.float64)])
    first = float(1 / vp("linear").at(levels[0]).a)

    def run(x: Tensor) -> Tensor:
        more = {"generator": torch.Generator().manual_seed(DRAWN)} if takes_noise(name) else {}
        scheduler.set_timesteps(STEPS)
        x = x * first if exploding else x
        for t in scheduler.timesteps:
            held = scheduler.scale_model_input(x, t) if exploding else x
            x = scheduler.step(network(held, t, {}), t, x, return_dict=False, **more)[0]
        return x

    return levels, run


def takes_noise(name: str) -> bool:
    """Whether a scheduler's step takes a generator that it may draw from."""
    return name.startswith(("EulerAncestral", "DPMSolverMultistep"))


def drawn(x: Tensor) -> Noise:
    """The noise that `theirs` draws in a run of x."""
    generator = torch.Generator().manual_seed(DRAWN)
    return Recorded({(k, "step"): torch.randn(x.shape, generator=generator) for k in range(1, STEPS + 1)})


def ours(sampler: Sampler, levels: Tensor, rows: int, noise: Noise | None = None) -> Callable[[Tensor], Tensor]:
    """A run of this project, its grid made anew as a user's is; noise for the batch at once, as diffusers draws it."""
    process = vp("linear")
    denoiser = Denoiser(Tenth(), process, eps_head())
    draws = Bulk(DRAWN) if noise is None else noise
    return lambda x: sample(denoiser, sampler, own_times(process, levels), noise=draws, x=x).x


def check_agreement(method: str, x: Tensor) -> None:
    """Raise unless both runs of a method end in the same place."""
    sampler, name, options = METHODS[method]
    levels, run = theirs(name, options)
    near = APART.get(method, 1e-4)
    torch.testing.assert_close(ours(sampler, levels, len(x), drawn(x))(x), run(x), rtol=near, atol=near)


def network_alone(x: Tensor) -> Tensor:
    network = Tenth()
    with torch.no_grad():
        for _ in range(STEPS):
            x = network(x, x, {})
    return x


def per_step(runs: Mapping[str, Callable[[Tensor], Tensor]], x: Tensor) -> dict[str, float]:
    """Microseconds a step of each, medians over interleaved rounds."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(ROUNDS + 2):
        for name, run in runs.items():
            start = time.thread_time()
            run(x)
            if round_ >= 2:  # the first two warm up
                times[name].append((time.thread_time() - start) / STEPS * 1e6)
    return {name: statistics.median(taken) for name, taken in times.items()}


def guided(levels: Tensor, rows: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """A plain run, a guided and observed one without and with a clamp, and the network alone on one and two copies."""
    process, network = vp("linear"), Tenth()
    seen: list[int] = []
    cond, null = {"label": torch.ones(rows, 1)}, {"label": torch.zeros(rows, 1)}
    denoiser, noise = Denoiser(network, process, eps_head(), null=null), PerSample.of(0, rows)

    def run(x: Tensor, **more: Any) -> Tensor:
        return sample(denoiser, DDIM(), own_times(process, levels), noise=noise, x=x, cond=cond, **more).x

    def watched(*more: Guidance) -> Callable[[Tensor], Tensor]:
        def observed(x: Tensor) -> Tensor:
            seen.clear()
            guidance = [ClassifierFree(WEIGHT), *more]
            return run(x, guidance=guidance, observers=[lambda state, step, tr: seen.append(state.k)])

        return observed

    def two_copies(x: Tensor) -> Tensor:
        return network_alone(torch.cat([x, x]))

    return {
        "plain": run,
        "guided": watched(),
        "clamped": watched(Clamp(*RANGE)),
        "one copy": network_alone,
        "two copies": two_copies,
        **by_hand(denoiser, own_times(process, levels)),
    }


def by_hand(denoiser: Denoiser, grid: Grid) -> dict[str, Callable[[Tensor], Tensor]]:
    """The same three runs as bare tensor operations, coefficients known: what no code around them can save."""
    network, points = Tenth(), grid.points
    laws = [DDIM().law(t, s, grid, {}).numbers[:2] for t, s in itertools.pairwise(points)]
    heads = [denoiser.head.coefs(t) for t in points[:-1]]
    steps = [tuple(map(float, (*law, head.c_skip, head.c_out))) for law, head in zip(laws, heads, strict=True)]

    def plain(x: Tensor) -> Tensor:
        for k_x, k_x0, c_skip, c_out in steps:
            said = network(x, x, {})
            x = (x * (k_x + k_x0 * c_skip)).add_(said, alpha=k_x0 * c_out)
        return x

    def mixed(x: Tensor) -> Tensor:
        for k_x, k_x0, c_skip, c_out in steps:
            main, null = network(torch.cat((x, x)), x, {}).unsafe_chunk(2)
            k, w = k_x0 * c_out, WEIGHT
            x = (x * (k_x + k_x0 * c_skip)).add_(null, alpha=k * (1 - w)).add_(main, alpha=k * w)
        return x

    def clamped(x: Tensor) -> Tensor:
        for k_x, k_x0, c_skip, c_out in steps:
            main, null = network(torch.cat((x, x)), x, {}).unsafe_chunk(2)
            x0 = (x * c_skip).add_(null, alpha=c_out * (1 - WEIGHT)).add_(main, alpha=c_out * WEIGHT)
            x = (x * k_x).add_(x0.clamp(*RANGE), alpha=k_x0)
        return x

    return {
        f"{name} by hand": torch.no_grad()(run)
        for name, run in (("plain", plain), ("guided", mixed), ("clamped", clamped))
    }


def lesion_call() -> float:
    """Microseconds of CPU time of one call of the shipped lesion network on a patch of LESION, median of seven."""
    from domains.medical.lesions.conditioning import BINS
    from domains.medical.lesions.model import LesionModel

    network = LesionModel.from_pretrained(precise=True).denoiser.network
    x, time_ = torch.randn(LESION), torch.zeros(1)
    cond = {"histogram": torch.full((1, 3 * BINS), 1 / BINS), "presence": torch.ones(1, 3), "lesion": x[:, :1] * 0}
    taken = []
    with torch.no_grad():
        for _ in range(9):
            start = time.thread_time()
            network(x, time_, cond)
            taken.append((time.thread_time() - start) * 1e6)
    return statistics.median(taken[2:])


def main() -> None:
    """Time every method at both shapes and record."""
    torch.set_num_threads(1)
    rows, worst, extra = [], {"one call": 0.0, "multistep": 0.0}, {"ours": 0.0}
    for shape_name, shape in SHAPES.items():
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        for method, (sampler, name, options) in METHODS.items():
            levels, reference = theirs(name, options)
            mine = ours(sampler, levels, shape[0])
            check_agreement(method, x)
            taken = per_step({"ours": mine, "theirs": reference, "network": network_alone}, x)
            extra = {who: taken[who] - taken["network"] for who in ("ours", "theirs")}
            ratio = extra["ours"] / extra["theirs"]
            kind = "one call" if method in ONE_CALL else "multistep"
            worst[kind] = max(worst[kind], ratio)
            rows.append([method, shape_name, extra["ours"], extra["theirs"], ratio])
            print(f"{method:16} {shape_name:22} {extra['ours']:7.0f} us {extra['theirs']:7.0f} us  {ratio:.2f}")
    x = torch.randn(SHAPES["8 x 3 x 32 x 32"], generator=torch.Generator().manual_seed(0))
    runs = guided(theirs(*METHODS["DDIM"][1:])[0], len(x))
    for name in GUIDED:
        torch.testing.assert_close(runs[name](x), runs[f"{name} by hand"](x), rtol=1e-4, atol=1e-4)
    taken = per_step(runs, x)
    call_more = taken["two copies"] - taken["one copy"]
    added = {name: taken[name] - taken["plain"] - call_more for name in GUIDED}
    floor = {name: taken[f"{name} by hand"] - taken["plain by hand"] - call_more for name in GUIDED}
    call = lesion_call()
    share = extra["ours"] / call
    for name in GUIDED:
        print(f"{name}, observed: {added[name]:.0f} us a step beyond the extra call, {floor[name]:.0f} us by hand")
    print(f"a step costs {share:.2%} of a call of the lesion network ({call / 1000:.1f} ms)")
    columns = ["method", "state", "ours, µs a step", "diffusers, µs a step", "ratio"]
    record(
        "core",
        {
            "overhead": {"columns": columns, "rows": rows, "digits": 3},
            "worst_ratio": {"value": worst["one call"], "digits": 2},
            "worst_multistep_ratio": {"value": worst["multistep"], "digits": 2},
            **{f"{name}_extra": {"value": added[name], "unit": "µs", "digits": 2} for name in GUIDED},
            **{f"{name}_floor": {"value": floor[name], "unit": "µs", "digits": 2} for name in GUIDED},
            "lesion_share": {"value": share * 100, "unit": "%", "digits": 2},
            "steps": {"value": STEPS},
        },
        command="make bench",
    )


if __name__ == "__main__":
    main()
