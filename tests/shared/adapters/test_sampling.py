"""Adapted networks in runs: under a Denoiser, with classifier-free guidance in one batch, split, compiled, trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from shared.adapters.card import Card, Curve, progress
from shared.adapters.controlnet import ControlNet, ControlNetConfig
from shared.adapters.host import host_of
from shared.adapters.train import training
from shared.denoiser import Denoiser, velocity_head
from shared.errors import UserError
from shared.grid import grid
from shared.guidance.classifier_free import ClassifierFree
from shared.noise import PerSample
from shared.process import bridge, flow, ve, vp
from shared.sample import sample
from shared.samplers.ddim import DDIM
from shared.training.loop import TrainSettings, fit
from shared.training.objectives import denoising
from tests.shared.adapters.backbones import backbone, stirred

ROWS = 3


@pytest.fixture(scope="module")
def dit():
    return backbone("dit")


def run(made, cards, *, max_rows=None, weight=3.0, compiled=False) -> tuple[Tensor, Denoiser]:
    x = torch.randn(ROWS, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    words = {"text": torch.tensor([[1, 2, 3]]).expand(ROWS, 3)}
    with made.host.attached(cards) as adapted:
        denoiser = Denoiser(adapted, flow(), velocity_head(), null=made.network.null(x), max_rows=max_rows)
        denoiser = denoiser.compile(backend="eager", fullgraph=True) if compiled else denoiser
        path = grid(flow(), 4, start=0.95, stop=0.05)
        guidance = [ClassifierFree(weight)]
        end = sample(denoiser, DDIM(), path, noise=PerSample.of(0, ROWS), x=x, cond=words, guidance=guidance)
    return end.x, denoiser


def control(made, **options) -> Card:
    adapter = stirred(made.control())
    return Card(adapter, {"hint": torch.rand(ROWS, 1, 8, 8, generator=torch.Generator().manual_seed(4))}, **options)


def test_guidance_is_one_batch_and_equals_the_batch_split_in_rows(dit):
    card = control(dit, strength=Curve(((0.0, 1.0), (0.6, 0.2))), branches="cond")
    whole, denoiser = run(dit, [card])
    assert denoiser.spent.batches == 4 and denoiser.spent.calls == 8
    split, _ = run(dit, [card], max_rows=ROWS)
    torch.testing.assert_close(whole, split, rtol=1e-4, atol=1e-4)
    assert float((whole - run(dit, [])[0]).abs().max()) > 1e-2


def test_the_branch_cond_is_exaggerated_by_guidance(dit):
    base, _ = run(dit, [])
    both, cond = (run(dit, [control(dit, strength=0.02, branches=b)])[0] for b in ("both", "cond"))
    assert float((cond - base).abs().mean()) > 1.5 * float((both - base).abs().mean())


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_batch_that_is_split_anywhere_gives_each_row_its_own_condition(dit, size: int):
    card = control(dit, branches="cond")
    single = Card(card.adapter, {"hint": card.condition["hint"][:1]}, branches="cond")
    for one in (card, single):
        torch.testing.assert_close(run(dit, [one])[0], run(dit, [one], max_rows=size)[0], rtol=1e-4, atol=1e-4)
    assert float((run(dit, [card])[0] - run(dit, [single])[0]).abs().max()) > 1e-2


def test_a_network_called_by_hand_with_part_of_a_condition_is_refused(dit):
    with dit.host.attached([control(dit)]) as adapted, pytest.raises(UserError, match="whole copies of 3 samples"):
        adapted.tell(flow().at(0.5), ("cond", "cond"))


def test_a_window_that_never_opens_leaves_the_run_to_the_bit(dit):
    outside = control(dit, strength=Curve.window(0.99, 1.0))
    assert torch.equal(run(dit, [outside])[0], run(dit, [])[0])


def test_an_adapter_that_was_not_told_where_the_run_is_says_so(dit):
    card = control(dit, strength=Curve.window(0.2, 0.8))
    with dit.host.attached([card]) as adapted, pytest.raises(UserError, match="not told where the run is"):
        dit.run(adapted)


def test_a_compiled_network_takes_its_adapters_along_without_a_break(dit):
    torch._dynamo.reset()
    card = control(dit, strength=Curve(((0.0, 1.0), (1.0, 0.2))), branches="cond")
    plain, _ = run(dit, [card])
    torch._dynamo.utils.counters.clear()
    compiled, _ = run(dit, [card], compiled=True)
    torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match="compiled already; attach adapters first"):
        host_of(torch.compile(dit.network, backend="eager"))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1  # four strengths, one graph


def test_progress_means_the_same_in_every_process():
    half = flow().at(0.5).log_snr
    for process in (flow(), vp("cosine"), vp("linear"), ve()):
        assert abs(float(progress(process.at(process.t_of(half)))) - 0.5) < 1e-6
    assert float(progress(flow().at(1.0))) == 0 and float(progress(flow().at(0.0))) == 1
    assert float(progress(bridge().at(1.0))) == 0  # no noise and no signal


def test_a_controlnet_learns_on_a_frozen_base_and_saves_only_itself(dit, tmp_path: Path):
    """The way of the head of controlnet.py, thirty steps of it: the hint says what x0 is."""
    base, host = dit.network, host_of(dit.network)
    torch.manual_seed(0)
    adapter = ControlNet(host, ControlNetConfig(channels=1, width=8))
    before = {name: value.clone() for name, value in base.state_dict().items()}
    process, head = flow(), velocity_head()

    def batch_at(step: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(step)
        hint = torch.rand(8, 1, 8, 8, generator=generator).round()
        return {"x0": hint.expand(8, 3, 8, 8) * 2 - 1, "hint": hint}

    def loss(network, batch, generator):
        denoiser = Denoiser(network, process, head)
        return denoising(denoiser, batch["x0"], generator, cond={"hint": batch["hint"]})

    losses: list[float] = []
    settings = TrainSettings(steps=30, lr=1e-2, warmup=1, schedule="constant", ema=0.5)
    with training(base, adapter) as trainee:
        report = fit(
            trainee, loss, batch_at, settings=settings, out=tmp_path, observers=[lambda r: losses.append(r.loss)]
        )
        assert all(name.startswith("adapter.") for name in report.ema)
        trainee.load_state_dict(report.ema)
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in base.parameters())
    assert not adapter.training and adapter.zeros[0].get_parameter("weight").any()


def test_rows_without_a_hint_are_the_base_to_the_bit(dit):
    hint = torch.rand(2, 1, 8, 8)
    hint[0] = torch.nan
    with dit.host.attached([Card(stirred(dit.control()), {"hint": hint})]) as adapted:
        out = dit.run(adapted)
    base = dit.run()
    assert torch.equal(out[0], base[0]) and not torch.equal(out[1], base[1])
