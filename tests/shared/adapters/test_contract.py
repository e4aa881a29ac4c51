"""What every adapter promises on every host: ours and diffusers', controls and low-rank updates alike."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from shared.adapters.adapter import Adapter
from shared.adapters.card import MODES, Card, Curve
from shared.adapters.train import Trainee, training
from shared.errors import UserError
from shared.process import flow
from tests.shared.adapters.backbones import MAKERS, ROWS, WORDS, Backbone, adapter_of, backbone, stirred

CASES = [(kind, name) for name in MAKERS for kind in ("control", "lora")]
BOTH = ("cond",) * ROWS


@dataclass(frozen=True)
class Case:
    """An adapter on a host; fresh() is the identity, moved() is as after some training."""

    backbone: Backbone
    start: Adapter
    condition: dict[str, Tensor]
    base: Tensor

    def fresh(self) -> Adapter:
        return copy.deepcopy(self.start)

    def moved(self, seed: int = 7) -> Adapter:
        return stirred(self.fresh(), seed)

    def run(self, *cards: Card, tell=None, tensors=None) -> Tensor:
        with self.backbone.host.attached(cards) as adapted:
            if tell is not None:
                adapted.tell(*tell)
            return self.backbone.run(adapted, tensors)

    def card(self, adapter: Adapter | None = None, **options) -> Card:
        return Card(adapter or self.moved(), options.pop("condition", self.condition), **options)


@pytest.fixture(scope="module", params=CASES, ids=[f"{kind}-{name}" for kind, name in CASES])
def case(request) -> Case:
    kind, name = request.param
    made = backbone(name)
    start, condition = adapter_of(kind, made)
    return Case(made, start.eval(), condition, made.run())


def hooks_of(module: torch.nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def distance(x: Tensor, y: Tensor) -> float:
    return float((x - y).abs().max())


# ------------------------------------------------------------------------------------------------------- what it adds


def test_a_fresh_adapter_is_the_identity(case):
    assert torch.equal(case.run(case.card(case.fresh())), case.base)


def test_the_sites_of_a_moved_adapter_have_a_say(case):
    adapter = case.moved()
    names = adapter.sites(case.backbone.host)
    some = names[:: max(1, len(names) // 6)]
    silent = [
        name for name in some if distance(case.run(case.card(adapter, layers={"*": 0.0, name: 1.0})), case.base) < 1e-6
    ]
    assert silent == [] and len(names) >= 1


def test_strength_scales_what_is_added(case):
    small = [case.run(case.card(case.moved(), strength=s)) - case.base for s in (1e-3, 2e-3)]
    assert distance(small[1], 2 * small[0]) < 0.05 * float(small[1].abs().max())


def test_two_adapters_act_together_and_additive_ones_in_any_order(case):
    one, two = case.moved(7), case.moved(8)
    assert one.additive
    first = case.run(case.card(one), case.card(two))
    second = case.run(case.card(two), case.card(one))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)
    assert min(distance(first, case.run(case.card(single))) for single in (one, two)) > 1e-3


def test_blocks_nest(case):
    one, two = case.card(case.moved(7)), case.card(case.moved(8))
    together = case.run(one, two)
    with case.backbone.host.attached([one]) as outer:
        with case.backbone.host.attached([two]) as inner:
            assert torch.equal(case.backbone.run(inner), together)
        alone = case.backbone.run(outer)
    assert torch.equal(alone, case.run(one))
    assert torch.equal(case.backbone.run(), case.base)


# -------------------------------------------------------------------------------------------------- what undoes it


def test_leaving_restores_the_network_to_the_bit(case):
    network = case.backbone.network
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    case.run(case.card())
    assert hooks_of(network) == 0
    assert torch.equal(case.backbone.run(), case.base)
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


def test_an_error_inside_the_block_or_the_network_leaves_nothing_behind(case):
    card = case.card()
    with pytest.raises(RuntimeError, match="inside"), case.backbone.host.attached([card]):
        raise RuntimeError("inside")
    wrong = {name: value[..., :1] if value.ndim == 3 else value for name, value in case.backbone.tensors.items()}
    wrong |= {name: value[:, :1] for name, value in wrong.items() if value.ndim == 4}
    with pytest.raises(Exception), case.backbone.host.attached([card]) as adapted:  # noqa: B017
        case.backbone.run(adapted, wrong)
    assert hooks_of(case.backbone.network) == 0
    assert torch.equal(case.backbone.run(), case.base)


@pytest.mark.parametrize("options", [{"strength": 0.0}, {"layers": {"*": 0.0}}])
def test_strength_or_weights_of_zero_cost_nothing(case, options, monkeypatch):
    adapter = case.moved()

    def never(*_):
        raise AssertionError("computed")

    for method in ("begin", "add", "prepare"):
        monkeypatch.setattr(adapter, method, never)
    assert torch.equal(case.run(case.card(adapter, **options)), case.base)


# ------------------------------------------------------------------------------------- where in the run, which rows


def test_a_curve_acts_inside_its_window_and_costs_nothing_outside(case):
    adapter = case.moved()
    card = case.card(adapter, strength=Curve.window(0.4, 0.8))
    full = case.run(case.card(adapter))
    calls = []
    add = adapter.add

    def counted(*args) -> Tensor:
        calls.append(1)
        return add(*args)

    adapter.add = counted
    with case.backbone.host.attached([card]) as adapted:
        for time, inside in ((0.9, False), (0.5, True), (0.1, False)):  # progress of a flow is 1 - t
            calls.clear()
            adapted.tell(flow().at(time), BOTH)
            out = case.backbone.run(adapted)
            assert bool(calls) == inside
            if inside:
                torch.testing.assert_close(out, full)
            else:
                assert torch.equal(out, case.base)


def test_rows_at_different_points_have_their_own_strength(case):
    card = case.card(strength=Curve.window(0.5, 1.0))
    at = flow().at(torch.tensor([0.8, 0.2], dtype=torch.float64))
    out = case.run(card, tell=(at, BOTH))
    assert torch.equal(out[0], case.base[0]) and distance(out[1], case.base[1]) > 1e-4


def test_the_branch_cond_leaves_null_rows_to_the_bit(case):
    tensors = case.backbone.rows([0, 1, 0, 1])
    base = case.backbone.run(tensors=tensors)
    tell = (flow().at(0.5), ("null",) * ROWS + ("cond",) * ROWS)
    out = case.run(case.card(branches="cond"), tell=tell, tensors=tensors)
    assert torch.equal(out[:ROWS], base[:ROWS])
    torch.testing.assert_close(out[ROWS:], case.run(case.card()), rtol=1e-4, atol=1e-4)
    both = case.run(case.card(), tell=tell, tensors=tensors)
    torch.testing.assert_close(both[:ROWS], both[ROWS:], rtol=1e-4, atol=1e-4)


def test_one_guided_batch_equals_two_calls_in_any_order_of_rows(case):
    tensors = case.backbone.rows([0, 1, 0, 1])
    apart = case.run(case.card(strength=0.7))
    tell = (flow().at(0.5), ("null",) * ROWS + ("cond",) * ROWS)
    together = case.run(case.card(strength=0.7), tell=tell, tensors=tensors)
    torch.testing.assert_close(together, torch.cat([apart, apart]), rtol=1e-4, atol=1e-4)


def test_a_condition_of_one_row_serves_all_rows(case):
    one = {name: value[:1] for name, value in case.condition.items()}
    many = {name: value.expand(ROWS, *value.shape[1:]) for name, value in one.items()}
    shared = case.run(case.card(condition=one), tell=(flow().at(0.5), BOTH))
    torch.testing.assert_close(shared, case.run(case.card(condition=many)))


# ---------------------------------------------------------------------------------------------------- where in space


def test_a_region_confines_the_change_at_each_site(case):
    host, adapter = case.backbone.host, case.moved()
    region = torch.zeros(1, 1, *case.backbone.hint)
    region[..., : case.backbone.hint[1] // 2] = 1  # the left half
    names = [name for name in adapter.sites(host) if host.site(name).space]
    for name in names[:4] + names[-2:]:
        before, after = _around(case, case.card(adapter, region=region, layers={"*": 0.0, name: 1.0}), name)
        change = (after - before).abs()
        words = 0
        if host.site(name).last:  # (B, N, C): the patches stand before or behind the words
            count = max(n for n in (4, 16, 64) if n <= change.shape[1])
            words = change.shape[1] - count
            change = change.flip(1) if host.words_first else change  # now the patches come first
            assert not change[:, count:].any(), name
            side = math.isqrt(count)
            change = change[:, :count].reshape(-1, side, side, change.shape[2]).permute(0, 3, 1, 2)
            change = change.flip(2, 3) if host.words_first else change
        assert words in (0, WORDS)
        half = change.shape[3] // 2
        assert change[..., :half].any() and not change[..., half:].any(), name


def _around(case: Case, card: Card, name: str) -> list[Tensor]:
    """What a site says before and after a card's change, in one call."""
    seen: list[Tensor] = []

    def see(h: Tensor, x: Tensor) -> Tensor:
        seen.append(h)
        return h

    host = case.backbone.host
    before = host.on(name, see)
    with host.attached([card]) as adapted:
        after = host.on(name, see)
        case.backbone.run(adapted)
        after.remove()
    before.remove()
    return seen


def test_an_empty_region_is_the_identity_and_a_full_one_changes_nothing(case):
    host, adapter, size = case.backbone.host, case.moved(), case.backbone.hint
    flat = {name: 0.0 for name in adapter.sites(host) if not host.site(name).space}
    assert torch.equal(case.run(case.card(adapter, region=torch.zeros(1, 1, *size), layers=flat)), case.base)
    if case.backbone.name in ("unet", "unet2d", "pixart"):  # elsewhere a sequence has words, which no region covers
        full = case.run(case.card(adapter, region=torch.ones(1, 1, *size), layers=flat))
        torch.testing.assert_close(full, case.run(case.card(adapter, layers=flat)), rtol=1e-4, atol=1e-4)
    if flat:
        with pytest.raises(UserError, match="no positions of the picture"):
            case.run(case.card(adapter, region=torch.ones(1, 1, *size)))


# -------------------------------------------------------------------------------------------- numbers and gradients


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_half_precision(case, dtype):
    network = copy.deepcopy(case.backbone.network).to(dtype)
    half = replace(case.backbone, network=network)

    def cast(values):
        return {
            n: v.to(dtype) if v.is_floating_point() and n not in ("time", "timestep") else v for n, v in values.items()
        }

    tensors = cast(half.tensors)
    base = half.run(tensors=tensors)
    with half.host.attached([case.card(strength=0.1)]) as adapted:
        out = half.run(adapted, tensors)
    assert base.dtype == out.dtype == dtype and torch.isfinite(out).all() and not torch.equal(out, base)


def test_the_condition_is_prepared_once_and_kept(case, monkeypatch):
    adapter = case.moved()
    prepare, count = adapter.prepare, []

    def counted(condition):
        count.append(1)
        return prepare(condition)

    monkeypatch.setattr(adapter, "prepare", counted)
    with case.backbone.host.attached([case.card(adapter)]) as adapted:
        outs = [case.backbone.run(adapted) for _ in range(3)]
    assert len(count) == 1 and torch.equal(outs[0], outs[2])


def test_training_moves_the_adapter_alone_and_prepares_anew_as_attached(case):
    adapter, network = case.moved(), case.backbone.network
    attached = case.run(case.card(adapter))
    with training(network, adapter) as trainee:
        assert isinstance(trainee, Trainee)
        prepared = adapter.prepare(case.condition)
        out = case.backbone.call(_Bare(trainee, prepared), case.backbone.tensors, case.backbone.rest)
        out.square().mean().backward()
        names = {name for name, _ in trainee.named_parameters()}
        assert names and all(name.startswith("adapter.") for name in names)
        assert not any(parameter.requires_grad for parameter in network.parameters())
    torch.testing.assert_close(out.detach(), attached, rtol=1e-4, atol=1e-4)  # with gradients, other kernels
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    lost = [name for name, p in adapter.named_parameters() if p.grad is None or not p.grad.any()]
    # What the last copied block of a joint stream tells the words, nobody reads.
    unread = ("add_q_proj", "norm_added_q", "to_add_out", "ff_context")
    assert not [name for name in lost if not any(part in name for part in unread)], lost
    assert hooks_of(network) == 0


class _Bare(torch.nn.Module):
    """The trainee as its base is called: diffusers' networks have signatures of their own."""

    def __init__(self, trainee: Trainee, prepared: dict[str, Tensor]) -> None:
        super().__init__()
        self.trainee, self.prepared = trainee, prepared

    def forward(self, *args, **kwargs):
        return self.trainee.adapted(self.prepared, *args, **kwargs)


# ------------------------------------------------------------------------------------------------------------- modes


def test_modes_weigh_layers_and_branches_as_they_say(case):
    adapter = case.moved()
    names = adapter.sites(case.backbone.host)
    balanced = case.run(case.card(adapter, **MODES["balanced"]))
    assert torch.equal(balanced, case.run(case.card(adapter)))
    weights = case.card(adapter, **MODES["prompt"]).weights(names)
    assert math.isclose(weights[names[-1]], 1.0)
    if len(names) > 1:
        assert math.isclose(weights[names[0]], 0.825**12)
    assert MODES["control"] == {"branches": "cond"}
    with pytest.raises(UserError, match="fit none of the adapter's"):
        case.run(case.card(adapter, **MODES["style"]))
