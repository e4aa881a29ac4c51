"""LeFusion: is the asked texture followed (E2), and is the method right where everything is known exactly (E3)?

E2  The shipped model, 16^3 patches of phantoms that no recipe trains on, every preset asked for on the same scan and
    mask: the made histogram should be nearest to the asked preset. Five sub-seeds of 12 lesions. Negative control: the
    same lesions against shuffled requests. Baseline: a model that does not listen is right once in three presets.
    Beside it, outside claim and verdict: the app's guidance towards the histogram at its default, half the lesions.
E3  A Gaussian of 16 dimensions with its exact denoiser. (a) A linear denoiser fitted inside a mask alone says the same
    there as one fitted everywhere; one fitted outside the mask does not (negative control). (b) In-painting 8 known and
    8 unknown entries: the covariance and mean of the unknown part against the exact conditional, with 1, 2 and 10
    repeats; two sets of exact samples give the sampling noise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from domains.medical.lesions.add import tolerances
from domains.medical.lesions.conditioning import CONTRASTS
from domains.medical.lesions.downstream.statistics import Interval, bootstrap
from domains.medical.lesions.evaluate import held_out_scans, texture_control
from domains.medical.lesions.model import SAMPLER, LesionModel, process, route
from domains.medical.lesions.operations import AddLesions
from domains.medical.lesions.presets import load_presets
from shared.denoiser import Denoiser, x0_head
from shared.front.atomic import write_atomic
from shared.guidance.known_region import KnownRegion
from shared.noise import Bulk
from shared.oracle import Mixture, Oracle, gaussian
from shared.process import Process
from shared.sample import sample
from shared.training.objectives import denoising

SEEDS = 5
SCANS, REPEATS_EACH = 2, 2  # 2 scans x 3 presets x 2 = 12 lesions a seed
LEAST = 0.8  # of both numbers of E2
SIZE, ROWS = 16, 4000
REPEATS = (1, 2, 10)
AGREE = 1e-6


def run(seed: int, out: Path) -> dict[str, Any]:
    """Both parts for sub-seeds 5 seed .. 5 seed + 4, the plot, and the verdict of the ledger's rule."""
    seeds = [SEEDS * seed + i for i in range(SEEDS)]
    texture = textures(seeds)
    exact = exactness(seeds)
    follows = texture["nearest"].low >= LEAST and texture["correlation"].low > LEAST
    follows &= texture["nearest_shuffled"].value < LEAST and texture["correlation_shuffled"].value < LEAST
    sound = exact["gated"] <= AGREE < exact["gated_elsewhere"]
    once, often, floor = (exact["covariance"][key] for key in ("1", "10", "exact"))
    sound &= once.low > floor.high and often.high < once.low
    found = {
        "status": ("not held", "partly held", "held")[int(follows) + int(sound)],
        "parts": {"E2 texture": bool(follows), "E3 exactness": bool(sound)},
        "measured": texture["nearest"].value,
        "ci_low": texture["nearest"].low,
        "ci_high": texture["nearest"].high,
        "baseline": texture["baseline"],
        "negative_control": texture["nearest_shuffled"].value,
        "sub_seeds": seeds,
        "texture": plain(texture),
        "exact": plain(exact),
    }
    write_atomic(out / "lefusion.png", lambda file: plot(texture, exact, file))
    return found


# -------------------------------------------------------------------------------------------------------------- E2


def textures(seeds: list[int]) -> dict[str, Any]:
    """Texture control of the shipped model, an interval over the seeds for each number."""
    model = LesionModel.from_pretrained()
    presets = load_presets()
    scans = held_out_scans(SCANS)
    made = [texture_control(model, scans, presets, repeats=REPEATS_EACH, seed=s, batch=12).to_json() for s in seeds]
    within = tolerances(CONTRASTS, AddLesions.texture_guidance)
    pulled = [texture_control(model, scans, presets, repeats=1, seed=s, batch=6, tolerance=within) for s in seeds]
    names = ("nearest", "correlation", "nearest_shuffled", "correlation_shuffled")
    guided = {f"guided_{name}": over_seeds([one.to_json()[name] for one in pulled]) for name in names}
    return (
        guided
        | {name: over_seeds([one[name] for one in made]) for name in names}
        | {
            "baseline": 1 / len(presets),
            "lesions": sum(one["lesions"] for one in made),
            "each": {name: [one[name] for one in made] for name in names},
        }
    )


def over_seeds(values: list[float]) -> Interval:
    """Mean over the seeds with its bootstrap interval."""
    return bootstrap(np.asarray(values)[:, None])


# -------------------------------------------------------------------------------------------------------------- E3


def world() -> tuple[Mixture, Tensor]:
    """A zero-mean Gaussian whose entries i, j correlate as exp(-|i - j| / 4), and its unknown part: the middle half."""
    place = torch.arange(SIZE, dtype=torch.float64)
    covariance = torch.exp(-(place[:, None] - place).abs() / 4)
    unknown = (place >= SIZE // 4) & (place < 3 * SIZE // 4)
    return gaussian(torch.zeros(SIZE, dtype=torch.float64), covariance), unknown


def exactness(seeds: list[int]) -> dict[str, Any]:
    """The largest disagreement of the gated fits over the seeds, and the errors of in-painting by repeats."""
    truth, unknown = world()
    everywhere = torch.ones(SIZE, dtype=torch.float64)
    inside = unknown.double()
    gated, elsewhere = 0.0, np.inf
    for s in seeds:
        fits = [fitted(truth, weight, s) for weight in (everywhere, inside, 1 - inside)]
        scale = fits[0][unknown].abs().max()
        gated = max(gated, float((fits[1] - fits[0])[unknown].abs().max() / scale))
        elsewhere = min(elsewhere, float((fits[2] - fits[0])[unknown].abs().max() / scale))
    errors = [inpainting(truth, unknown, s) for s in seeds]
    return {"gated": gated, "gated_elsewhere": elsewhere} | {
        name: {key: over_seeds([e[name][key] for e in errors]) for key in errors[0][name]}
        for name in ("covariance", "mean")
    }


class Linear(nn.Module):
    """x0 = W x: all that the exact denoiser of a zero-mean Gaussian is at one level."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(SIZE, SIZE, dtype=torch.float64))

    def forward(self, x: Tensor, time: Tensor, cond: object) -> Tensor:
        return x @ self.weight.T


def fitted(truth: Mixture, weight: Tensor, seed: int, level: float = 150.0) -> Tensor:
    """W (16, 16) that minimises the suite's denoising loss with the given weights, by L-BFGS to rounding."""
    network, x0 = Linear(), truth.draw(ROWS, seed)
    denoiser = Denoiser(network, process(), x0_head())

    def at_level(schedule: Process, rows: int, generator: torch.Generator) -> Tensor:
        return torch.full((rows,), level, dtype=torch.float64)

    optimizer = torch.optim.LBFGS(
        network.parameters(),
        max_iter=500,
        tolerance_grad=1e-13,
        tolerance_change=1e-16,
        history_size=50,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        generator = torch.Generator().manual_seed(seed)  # the same noise in every evaluation
        loss = denoising(denoiser, x0, generator, times=at_level, weight=weight, target="x0").mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    return network.weight.detach()


def inpainting(truth: Mixture, unknown: Tensor, seed: int) -> dict[str, dict[str, float]]:
    """Errors against the exact conditional by repeats: relative Frobenius (covariance), root mean square (mean)."""
    known = truth.draw(1, seed)
    rows = torch.eye(SIZE, dtype=torch.float64)[~unknown]
    answer = truth.posterior(rows, known[0, ~unknown], 1e-6)
    mean, covariance = answer.mean[unknown], answer.covariance[unknown][:, unknown]

    def errors(x: Tensor) -> tuple[float, float]:
        off = torch.cov(x.T) - covariance
        return float(off.norm() / covariance.norm()), float((x.mean(0) - mean).square().mean().sqrt())

    made = {"exact": errors(answer.draw(ROWS, seed)[:, unknown])}
    for repeats in REPEATS:
        end = sample(
            Oracle(truth, process()),
            SAMPLER,
            route(repeats=repeats),
            noise=Bulk(seed),
            shape=(ROWS, SIZE),
            dtype=torch.float64,
            guidance=[KnownRegion(known, ~unknown)],
        )
        made[str(repeats)] = errors(end.x[:, unknown])
    return {name: {key: pair[i] for key, pair in made.items()} for i, name in enumerate(("covariance", "mean"))}


# ------------------------------------------------------------------------------------------------------------ output


def plain(value: Any) -> Any:
    """Intervals as {"value", "low", "high"}, for JSON."""
    if isinstance(value, Interval):
        return {"value": value.value, "low": value.low, "high": value.high}
    return {key: plain(one) for key, one in value.items()} if isinstance(value, dict) else value


def plot(texture: dict[str, Any], exact: dict[str, Any], file: Path) -> None:
    """Left: share nearest to the asked preset, by seed. Right: error of the in-painted covariance by repeats."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    places: NDArray = np.arange(SEEDS)
    left.plot(places, texture["each"]["nearest"], "o", label="asked")
    left.plot(places, texture["each"]["nearest_shuffled"], "x", label="shuffled requests")
    left.axhline(LEAST, color="0.4", linestyle="--", label="threshold")
    left.axhline(texture["baseline"], color="0.7", linestyle=":", label="does not listen")
    left.set(xlabel="seed", ylabel="share nearest to the asked preset", ylim=(0, 1.05), xticks=places)
    left.legend(fontsize=8)
    errors = [exact["covariance"][str(r)] for r in REPEATS]
    middle = np.array([e.value for e in errors])
    reach = np.array([[e.value - e.low for e in errors], [e.high - e.value for e in errors]])
    right.errorbar(REPEATS, middle, reach, fmt="o-", label="in-painted")
    right.axhline(exact["covariance"]["exact"].value, color="0.4", linestyle="--", label="exact samples")
    right.set(xlabel="repeats of the jumps", ylabel="relative error of the covariance", ylim=(0, None), xticks=REPEATS)
    right.legend(fontsize=8)
    figure.savefig(file, dpi=120)
