"""The contract of samplers and guidances: declared cost, exact resume and batch split, pure steps, neutral zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from shared.denoiser import Denoiser, Prediction, Query, eps_head, x0_head
from shared.grid import Grid, grid
from shared.guidance.classifier_free import ClassifierFree
from shared.guidance.known_region import KnownRegion
from shared.guidance.posterior import DDNM, DPS
from shared.guidance.window import Window
from shared.noise import Bulk, PerSample
from shared.operators import Mask
from shared.oracle import Oracle, mixture
from shared.process import vp
from shared.run import Guidance, Own, RunState, Sampler, Step, Transition
from shared.sample import cost, sample
from shared.samplers.ddim import DDIM, DPMpp
from shared.samplers.langevin import Langevin
from shared.samplers.single_step import SingleStep
from shared.testing import (
    Case,
    check_batch_split,
    check_calls,
    check_guidance,
    check_noise,
    check_resume,
    check_sampler,
)
from tests.shared.worlds import SAMPLERS, WORLDS, World, fits, label_of, pairs


class Plain(nn.Module):
    """Entry by entry, so that a row's numbers do not depend on the batch that it is in."""

    def forward(self, x: Tensor, time: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        said = 0.6 * x + 0.1 * x * x * x / (1 + x * x)
        return said + 0.2 * cond["label"].to(x).reshape(-1, 1) if "label" in cond else said


SEEN = Mask(torch.tensor([True, False]))
MEASURED = torch.tensor([[0.4, 0.0]], dtype=torch.float64)
FLOW, REVERTING = WORLDS[5], WORLDS[6]


def plain_case(world: World, name: str, guidance: tuple[Guidance, ...] = (), *, jumps: bool = False) -> Case:
    grid = world.grid(6)
    if name == "residual" and world.name == "bridge":  # ResShift's fraction goes down in noise on the second half only
        grid = replace(world, noisy=0.5).grid(6)
    if jumps:
        grid = grid.jumps(2, 2)
    case = world.case(SAMPLERS[name], grid, 3, label=1, guidance=guidance)
    return replace(case, denoiser=Denoiser(Plain(), world.process, x0_head(), null={"label": torch.tensor([0])}))


@pairs(WORLDS, SAMPLERS)
def test_sampler_keeps_its_contract(world: World, name: str) -> None:
    if fits(world, SAMPLERS[name]):
        check_sampler(plain_case(world, name))
    else:
        assert world.student


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_keeps_its_contract_on_a_route_with_jumps(name: str) -> None:
    case = plain_case(REVERTING, name, jumps=True)
    assert case.grid.has_jumps
    check_calls(case)
    check_resume(case)
    check_batch_split(case)


@pytest.mark.parametrize("name", ["dpmpp2", "plms4", "unipc2"])
def test_a_jump_clears_what_the_sampler_remembers(name: str) -> None:
    states: list[tuple[str, RunState]] = []
    plain_case(REVERTING, name, jumps=True).sample(
        observers=[lambda state, step, tr: states.append((step.move, state))]
    )
    assert any(move == "jump" for move, _ in states)
    assert all(("sampler" in state.memory) == (move == "step") for move, state in states)


@dataclass(frozen=True)
class Drift(Guidance):
    """Pulls x0 towards the running mean of the states, which it remembers."""

    pull: float

    def active(self, at: object) -> bool:
        return self.pull != 0

    def correct(self, pred: Prediction, step: Step, own: Own) -> Prediction:
        return pred.with_x0(pred.x0 + self.pull * (own["mean"] - pred.x0)) if "mean" in own else pred

    def after(self, x: Tensor, step: Step, tr: Transition | None, own: Own) -> tuple[Tensor, Own]:
        seen = own.get("seen", torch.zeros((), dtype=torch.float64)) + 1
        return x, {"mean": own.get("mean", x) + (x - own.get("mean", x)) / seen, "seen": seen}


GUIDES: dict[str, tuple[Guidance, Guidance]] = {
    "cfg": (ClassifierFree(3.0), ClassifierFree(1.0)),
    "dps score": (DPS(SEEN, MEASURED, 0.7, 0.8), DPS(SEEN, MEASURED, 0.0)),
    "dps step": (DPS(SEEN, MEASURED, 0.3, applies="step"), DPS(SEEN, MEASURED, 0.0, applies="step")),
    "ddnm": (DDNM(SEEN, MEASURED), DDNM(SEEN, MEASURED, 0.0)),
    "memory": (Drift(0.3), Drift(0.0)),
    "window": (ClassifierFree(3.0, Window(-1.0, 1.0)), ClassifierFree(3.0, Window(50.0, 60.0))),
}


@pytest.mark.parametrize("jumps", [False, True], ids=["straight", "jumps"])
@pytest.mark.parametrize("world", [FLOW, REVERTING], ids=label_of)
@pytest.mark.parametrize("name", ["dpmpp2", "plms4", "heun", "heun time", "sde dpmpp2", "unipc2"])
@pytest.mark.parametrize("guide", GUIDES)
def test_guidance_keeps_its_contract(guide: str, name: str, world: World, jumps: bool) -> None:
    guidance, neutral = GUIDES[guide]
    if jumps:
        case = plain_case(world, name, (guidance,), jumps=True)
        check_calls(case)
        check_resume(case)
        check_batch_split(case)
    else:
        check_guidance(plain_case(world, name, (guidance,)), neutral)


@pytest.mark.parametrize("name", ["ddim", "plms4", "sde dpmpp2"])
def test_guidances_together_cost_what_is_declared_and_resume(name: str) -> None:
    together = tuple(GUIDES[guide][0] for guide in ("cfg", "dps score", "dps step", "ddnm", "memory"))
    case = plain_case(FLOW, name, together, jumps=True)
    made = check_calls(case)
    assert made.calls == 2 * case.grid.steps and made.backprops == 2 * case.grid.steps
    check_resume(case)
    check_batch_split(case)


def test_two_classifier_free_guidances_share_one_null_call() -> None:
    case = plain_case(FLOW, "ddim", (ClassifierFree(2.0), ClassifierFree(1.5, Window(-2.0, 0.0))))
    assert check_calls(case).calls == 2 * case.grid.steps


def test_conditions_of_one_shape_share_a_batch_and_others_do_not() -> None:
    case = plain_case(FLOW, "ddim", (ClassifierFree(2.0),))
    assert check_calls(case).batches == case.grid.steps
    bare = replace(case, denoiser=Denoiser(Plain(), FLOW.process, x0_head()))
    assert check_calls(bare).batches == 2 * case.grid.steps


def test_batches_are_split_at_max_rows_without_changing_a_bit() -> None:
    case = plain_case(FLOW, "ddim", (ClassifierFree(2.0),))
    split = replace(case, denoiser=Denoiser(Plain(), FLOW.process, x0_head(), null=case.denoiser.null, max_rows=2))
    assert torch.equal(case.sample().x, split.sample().x)
    assert split.denoiser.spent.batches == 3 * case.denoiser.spent.batches


@dataclass(frozen=True)
class Second(Guidance):
    """Asks another denoiser and takes its word."""

    denoiser: Denoiser

    def queries(self, cond: object) -> dict[str, Query]:
        return {"other": Query(None, denoiser=self.denoiser)}

    def combine(self, named: Mapping[str, Prediction], pred: Prediction, step: Step, own: Own) -> Prediction:
        return named["other"]


def test_a_second_denoiser_is_counted_with_its_own_null_condition() -> None:
    other = Denoiser(Plain(), FLOW.process, x0_head(), null={"label": torch.tensor([1])})
    case = plain_case(FLOW, "ddim", (Second(other),))
    declared = cost(case.denoiser, case.sampler, case.grid, cond=case.cond, guidance=case.guidance)
    case.sample()
    assert (declared.calls, declared.batches) == (
        case.denoiser.spent.calls + other.spent.calls,
        case.denoiser.spent.batches + other.spent.batches,
    )


def test_exact_oracles_agree_to_rounding_for_any_batch() -> None:
    for name in ("dpmpp2", "sde dpmpp2"):
        check_batch_split(WORLDS[1].case(SAMPLERS[name], WORLDS[1].grid(12), 7), atol=1e-12)


@pytest.mark.parametrize("name", ["ddim", "ancestral", "euler time", "dpmpp3", "unipc3", "sde single", "langevin"])
def test_times_of_their_own_give_each_row_its_own_run(name: str) -> None:
    world, steps = REVERTING, 5
    columns = [world.grid(steps).t, replace(world, noisy=-1.0).grid(steps).t]
    together = Grid(world.process, torch.stack(columns, 1))
    case = replace(plain_case(world, name), grid=together).rows(range(2))
    whole = case.sample().x
    for row, times in enumerate(columns):
        alone = replace(case.rows([row]), grid=Grid(world.process, times)).sample().x
        torch.testing.assert_close(whole[row : row + 1], alone, rtol=0, atol=1e-12)


def test_float32_states_stay_float32_and_near_float64() -> None:
    case = plain_case(REVERTING, "dpmpp2", (ClassifierFree(2.0), DDNM(SEEN, MEASURED.float())))
    assert case.y is not None
    single = replace(case, x=case.x.float(), y=case.y.float()).sample().x
    assert single.dtype == torch.float32
    torch.testing.assert_close(
        single.double(), replace(case, guidance=(case.guidance[0], DDNM(SEEN, MEASURED))).sample().x, rtol=0, atol=1e-5
    )


def test_encoding_and_decoding_return_to_the_start() -> None:
    case = plain_case(FLOW, "ddim")
    decode = FLOW.grid(200, to_the_end=False)
    encoded = replace(case, sampler=DDIM(filter=DPMpp(2)), grid=decode.reversed(), cond=None).sample().x
    back = replace(case, sampler=DDIM(filter=DPMpp(2)), grid=decode, x=encoded, cond=None).sample().x
    assert (back - case.x).abs().max() < 1e-3


def test_observers_see_every_state_and_may_not_write() -> None:
    case, seen = plain_case(FLOW, "ddim", jumps=True), []
    case.sample(observers=[lambda state, step, tr: seen.append((state.k, step.move))])
    assert [k for k, _ in seen] == list(range(len(case.grid.route)))
    assert seen[0][1] == "start" and "jump" in dict(seen).values()

    def write(state: RunState, step: Step, tr: Transition | None) -> None:
        state.x.add_(1)

    with pytest.raises(RuntimeError, match="position 0; observers only look"):
        case.sample(observers=[write])


@pytest.mark.parametrize("make", [Bulk, lambda seed: PerSample.of(seed, 512)], ids=["Bulk", "PerSample"])
def test_noise_keeps_its_contract(make) -> None:
    check_noise(make)


def test_noise_of_a_row_is_the_same_in_any_batch_and_type() -> None:
    whole = PerSample.of(5, 4)
    like = torch.empty(4, 3, 2, dtype=torch.float64)
    drawn = whole.draw(2, like)
    assert torch.equal(whole.take([2]).draw(2, like[:1]), drawn[2:3])
    assert torch.equal(whole.draw(2, like.float()).double(), drawn)
    with pytest.raises(ValueError, match="4 seeds for a batch of 3 rows"):
        whole.draw(0, like[:3])


def test_a_known_region_is_exact_at_the_end_and_resumes() -> None:
    known = torch.tensor([[0.25, 0.0]], dtype=torch.float64)
    case = plain_case(REVERTING, "ancestral", (KnownRegion(known, torch.tensor([True, False])),), jumps=True)
    assert torch.equal(case.sample().x[:, 0], known[:, 0].expand(3))
    check_resume(case)
    check_batch_split(case)
    check_calls(case)


def test_the_prior_is_drawn_where_no_start_is_given() -> None:
    process = REVERTING.process
    denoiser, y = Denoiser(Plain(), process, eps_head()), torch.full((4000, 2), 0.3, dtype=torch.float64)
    first = sample(denoiser, DDIM(), REVERTING.grid(4), noise=Bulk(0), y=y, stop=0).x
    at = REVERTING.grid(4).points[0]
    assert (first.mean() - at.b * 0.3).abs() < 5 * at.sigma / 8000**0.5
    assert (first.std() / at.sigma - 1).abs() < 5 / 16000**0.5
    with pytest.raises(ValueError, match="shape of the state"):
        sample(Denoiser(Plain(), FLOW.process, x0_head()), DDIM(), FLOW.grid(4), noise=Bulk(0))


@pytest.mark.parametrize("sampler", [SingleStep(), Langevin(corrections=3)], ids=["half-way", "three corrections"])
def test_calls_are_counted_where_a_sampler_asks(sampler: Sampler) -> None:
    """A window that closes inside a step, and more evaluations than a step has ends."""
    process = vp("cosine")
    truth = mixture(torch.tensor([[-1.0, 0.0], [1.0, 1.0]]), 0.4)
    denoiser, path = Oracle(truth, process), grid(process, 8, start=990.0, stop=10.0)
    t, s = path.points[3], path.points[4]
    guidance = [ClassifierFree(2.0, Window(high=float(t.log_snr + 0.75 * (s.log_snr - t.log_snr))))]
    cond = {"label": torch.zeros(2, dtype=torch.int64)}
    declared = cost(denoiser, sampler, path, cond=cond, guidance=guidance)
    sample(denoiser, sampler, path, noise=PerSample.of(0, 2), shape=(2, 2), cond=cond, guidance=guidance)
    assert (denoiser.spent.calls, denoiser.spent.batches) == (declared.calls, declared.batches)
