"""Losses: zero for a network that knows, the right error for every target, the mask's gate, and what is dropped."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from shared.denoiser import Denoiser, edm_head, eps_head, residual_head, v_head, velocity_head, x0_head
from shared.process import StudentT, edm, flow, mean_reverting, residual_shift, ve, vp, with_law
from shared.training.loop import TrainSettings, fit
from shared.training.objectives import denoising, drop, uniform_times

torch.set_num_threads(1)

PROCESSES = {
    "vp": vp("cosine", 100),
    "angle": vp("angle"),
    "ve": ve(),
    "edm": edm(10.0),
    "flow": flow(),
    "mean reverting": mean_reverting(),
    "residual shift": residual_shift(),
    "student": with_law(edm(10.0), StudentT(8)),
}
HEADS = {"x0": x0_head(), "eps": eps_head(), "v": v_head(), "velocity": velocity_head(), "edm": edm_head()}


class Says(nn.Module):
    """A network that says a fixed tensor and keeps what it was shown."""

    def __init__(self, value: torch.Tensor) -> None:
        super().__init__()
        self.value = nn.Parameter(value)

    def forward(self, x, time, cond):
        self.x, self.cond = x, cond
        return self.value + 0 * x


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def middle(process, rows, generator):
    clean, noisy = process.ends
    return torch.linspace(0.2, 0.8, rows, dtype=torch.float64) * (noisy - clean) + clean


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("target", ["x0", "eps", "v", "velocity", "head"])
def test_a_network_that_says_the_clean_value_has_no_loss_on_any_target(name, target):
    process = PROCESSES[name]
    x0, y = torch.randn(3, 5, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    known = y if process.b is not None else None
    losses = denoising(Denoiser(Says(x0), process, x0_head()), x0, generator(), y=known, target=target)
    assert losses.shape == (3,) and losses.max() < 1e-20


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("target", ["x0", "eps", "v", "velocity", "head"])
def test_the_error_is_that_of_the_target_whatever_the_head(name, head, target):
    """What the network should have said is worked out from the very noise of the step, then compared by hand."""
    process, known = PROCESSES[name], None
    x0 = torch.randn(3, 5, dtype=torch.float64)
    if process.b is not None:
        known = torch.randn(3, 5, dtype=torch.float64)
    network = Says(torch.randn(3, 5, dtype=torch.float64))
    denoiser = Denoiser(network, process, HEADS[head])
    got = denoising(denoiser, x0, generator(), y=known, times=middle, target=target, norm="l1")
    at = process.at(middle(process, 3, None))
    a, sigma, da, db, dsigma = (k[:, None] for k in (at.a, at.sigma, at.da, at.db, at.dsigma))
    x = network.x / HEADS[head].c_in(at)[:, None]
    said = denoiser.predict(x, at, {"main": query()}, known)["main"]
    eps = process.split(x, x0, at, known)
    drift = 0 if known is None else db * known
    want = {
        "x0": said.x0 - x0,
        "eps": said.eps - eps,
        "v": (a * said.eps - sigma * said.x0) - (a * eps - sigma * x0),
        "velocity": said.velocity - (da * x0 + drift + dsigma * eps),
        "head": network.value - HEADS[head].target(x, x0, at, known, process),
    }[target]
    torch.testing.assert_close(got, want.abs().mean(1), rtol=1e-8, atol=1e-10)


def query():
    from shared.denoiser import Query

    return Query(None)


def test_a_residual_head_trains_on_what_it_says():
    x0, y = torch.randn(4, 3), torch.randn(4, 3)
    network = Says(torch.zeros(4, 3))
    losses = denoising(Denoiser(network, residual_shift(), residual_head()), x0, generator(), y=y, target="head")
    torch.testing.assert_close(losses, (y - x0).square().mean(1), rtol=1e-4, atol=1e-5)


def test_noise_is_standard_and_times_cover_the_clock():
    process = vp("cosine", 100)
    network = Says(torch.zeros(4096, 8))
    denoising(Denoiser(network, process, eps_head()), torch.zeros(4096, 8), generator(), times=middle)
    sigma = process.at(middle(process, 4096, None)).sigma[:, None]
    assert (network.x / sigma).std().item() == pytest.approx(1.0, abs=0.02)
    times = uniform_times(process, 8, generator()).sort().values
    assert times.dtype == torch.float64 and 0 < times[0] and times[-1] < 100
    torch.testing.assert_close(times.diff(), torch.full((7,), 12.5, dtype=torch.float64), rtol=1e-3, atol=0)
    firsts = torch.stack([uniform_times(process, 8, generator(seed))[0] for seed in range(400)])
    assert firsts.mean().item() == pytest.approx(50, abs=5) and firsts.min() < 3 and firsts.max() > 97


def test_the_noise_follows_the_law_of_the_process():
    """Student-t of 8 degrees of freedom: variance 8 / 6, one scale a row."""
    network, process = Says(torch.zeros(4096, 8)), with_law(edm(10.0), StudentT(8))
    denoising(Denoiser(network, process, x0_head()), torch.zeros(4096, 8), generator(), times=middle)
    n = network.x / process.at(middle(process, 4096, None)).sigma[:, None]
    assert n.square().mean().item() == pytest.approx(8 / 6, abs=0.08)
    assert n.square().mean(1).var() > 0.5  # rows of a Gaussian would have 2 / 8


def test_a_mask_gates_the_loss_and_small_lesions_count_as_much_as_large_ones():
    x0, mask = torch.zeros(3, 1, 8, 8), torch.zeros(3, 1, 8, 8)
    mask[0, :, :1, :1], mask[1, :, :4, :4] = 1, 1  # 1 entry, 16 entries, none
    wrong = torch.where(mask > 0, 2.0, 1e6)  # what is said outside the mask must not count
    denoiser = Denoiser(Says(wrong), flow(), x0_head())
    options = {"weight": mask, "target": "x0", "norm": "l1"}
    assert denoising(denoiser, x0, generator(), **options).tolist() == [2.0, 2.0, 0.0]
    assert denoising(denoiser, x0, generator(), **options, per="voxels").tolist() == [2 / 64, 32 / 64, 0.0]


def test_the_whole_value_is_noised_under_a_mask():
    network, mask = Says(torch.zeros(1, 1, 8, 8)), torch.zeros(1, 1, 8, 8)
    denoising(Denoiser(network, flow(), x0_head()), torch.zeros(1, 1, 8, 8), generator(), weight=mask, times=middle)
    assert (network.x != 0).all()


def test_a_weight_of_one_channel_serves_all_channels():
    x0, weight = torch.zeros(2, 3, 4), torch.tensor([[[1.0, 0, 0, 3]], [[0, 0, 1, 0]]])
    said = torch.arange(24.0).reshape(2, 3, 4)
    losses = denoising(Denoiser(Says(said), flow(), x0_head()), x0, generator(), weight=weight, target="x0", norm="l1")
    w = weight.expand(2, 3, 4)
    torch.testing.assert_close(losses, (w * said).flatten(1).sum(1) / w.flatten(1).sum(1))


def test_dropped_rows_are_not_given_and_the_others_untouched():
    cond = {"a": torch.rand(4000, 3), "b": torch.rand(4000, 1, 2)}
    kept = drop(cond, 0.15, generator())
    lost = kept["a"].isnan().all(1)
    assert lost.float().mean().item() == pytest.approx(0.15, abs=0.02)
    assert torch.equal(lost, kept["b"].isnan().flatten(1).all(1))
    assert all(torch.equal(kept[name][~lost], cond[name][~lost]) for name in cond)
    assert drop({}, 0.5, generator()) == {}
    assert torch.equal(drop(cond, 0.0, generator())["a"], cond["a"])


def test_an_unknown_target_is_refused():
    with pytest.raises(ValueError, match="unknown target 'noise'; choose x0, eps"):
        denoising(Denoiser(Says(torch.zeros(1, 2)), flow(), x0_head()), torch.zeros(1, 2), generator(), target="noise")


class Linear(nn.Module):
    """eps as a linear function of x with a slope and an offset for each of ten bands of time."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(10, 2))

    def forward(self, x, time, cond):
        slope, offset = self.table[(time * 10).long().clamp(0, 9)].unbind(1)
        return slope[:, None] * x + offset[:, None]


def test_training_reaches_the_exact_denoiser_of_a_gaussian(tmp_path):
    """Data N(2, 0.5^2), x_t = (1 - t) x0 + t n: E[n | x] is linear in x, slope t / ((1 - t)^2 / 4 + t^2)."""

    def batch_at(step):
        return {"x0": 2 + 0.5 * torch.randn(512, 1, generator=generator(step))}

    def loss(network, batch, g):
        return denoising(Denoiser(network, flow(), eps_head()), batch["x0"], g, target="eps")

    network = Linear()
    settings = TrainSettings(600, lr=0.05, warmup=10, ema=0.95, weight_decay=0.0)
    report = fit(network, loss, batch_at, settings=settings, out=tmp_path)
    for band in (3, 5, 8):
        t = torch.linspace(band / 10, (band + 1) / 10, 101)[:, None]
        variance = (1 - t) ** 2 / 4 + t**2
        # Least squares over the band, from the moments of (x, n): cov(x, n) = t, var(x) = variance + that of the mean.
        slope = t.mean() / (variance.mean() + (2 * (1 - t)).var(correction=0))
        assert report.ema["table"][band, 0].item() == pytest.approx(slope.item(), rel=0.05)
