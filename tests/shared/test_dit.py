"""The transformer: every dimension and sets, conditions and their nulls, positions, names of its sites, compilation."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import nn

from shared.checkpoints import load, save
from shared.errors import UserError
from shared.networks.dit import DiT, DiTConfig
from shared.networks.text import TextConfig
from shared.networks.tokens import rotary, rotate, sincos
from shared.training.objectives import drop

torch.set_num_threads(1)

SMALL = {"width": 24, "layers": 2, "heads": 2, "time_features": 16}
SET = {"dims": 1, "patch": 1, "positions": "none"}
TEXT = TextConfig(vocabulary=9, length=5, layers=1, heads=2)


def make(dims: int = 2, **options) -> DiT:
    torch.manual_seed(0)
    return DiT(DiTConfig(**{"dims": dims, "in_channels": 1, "out_channels": 1, **SMALL, **options}))


def stirred(network: DiT) -> DiT:
    """The network with no parameter at zero, as after some training."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def everything() -> tuple[DiT, dict[str, torch.Tensor]]:
    """A network with every kind of condition, and one full condition for two rows of (1, 4, 6)."""
    network = stirred(
        make(
            patch=(2, 3),
            vectors={"style": 3},
            classes={"kind": 4},
            images={"edge": 2},
            text=TEXT,
            present="there",
        )
    )
    there = torch.ones(2, 1, 4, 6)
    there[1, :, 2:] = 0
    cond = {
        "style": torch.rand(2, 3),
        "kind": torch.tensor([3, 0]),
        "edge": torch.rand(2, 2, 4, 6),
        "text": torch.tensor([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]]),
        "there": there,
    }
    return network, cond


def both_ways() -> tuple[DiT, dict[str, torch.Tensor]]:
    """A network with a way at x's own resolution beside its tokens, and a full condition for two rows of (1, 4, 6)."""
    network = stirred(make(patch=(2, 3), local=4, images={"edge": 2}, text=TEXT))
    return network, {"edge": torch.rand(2, 2, 4, 6), "text": torch.tensor([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]])}


def rows(cond: dict[str, torch.Tensor], index: list[int]) -> dict[str, torch.Tensor]:
    return {name: value[index] for name, value in cond.items()}


# ------------------------------------------------------------------------------------------------------------- shapes


@pytest.mark.parametrize("positions", ["rotary", "sincos", "learned", "none"])
@pytest.mark.parametrize(
    ("dims", "sizes", "patch"), [(1, (6,), 2), (2, (4, 6), (1, 3)), (3, (2, 4, 4), (1, 2, 2)), (3, (2, 2, 2), 1)]
)
def test_the_output_has_the_size_of_the_input_in_every_dimension_and_position(dims, sizes, patch, positions):
    size = sizes if positions == "learned" else None
    network = stirred(make(dims, in_channels=2, out_channels=3, patch=patch, positions=positions, size=size, heads=3))
    x = torch.randn(2, 2, *sizes)
    out = network(x, torch.rand(2), {})
    assert out.shape == (2, 3, *sizes) and out.is_contiguous()
    moved = x.clone()
    moved[:, :, -1] += 1  # the far end of the first axis reaches the near end
    assert (network(moved, torch.zeros(2), {}) - network(x, torch.zeros(2), {}))[:, :, 0].abs().max() > 1e-4


def test_a_patch_reads_and_writes_its_own_place():
    network = stirred(make(patch=(1, 2), positions="none", layers=0))
    x = torch.randn(1, 1, 2, 4)
    moved = x.clone()
    moved[0, 0, 1, 2] += 1
    changed = (network(moved, torch.zeros(1), {}) - network(x, torch.zeros(1), {}))[0, 0].abs() > 1e-6
    assert changed.tolist() == [[False] * 4, [False, False, True, True]]


@pytest.mark.parametrize(
    ("dims", "sizes", "patch"), [(1, (6,), 2), (2, (4, 6), (1, 3)), (3, (2, 4, 4), (1, 2, 2)), (3, (2, 2, 2), 1)]
)
def test_the_local_way_keeps_the_size_and_reads_across_the_borders_of_patches(dims, sizes, patch):
    network = stirred(make(dims, in_channels=2, out_channels=3, patch=patch, local=4, heads=3, layers=0))
    local = network.local
    assert local is not None
    for owner, name in ((local, "norm"), (local.up[0], "norm_in"), (local.up[0], "norm_out")):
        setattr(owner, name, nn.Identity())  # norms see the whole grid anyway
    first = network.config.patch_by_axis  # the first voxel of the second patch, and the last of the one before
    inside: tuple[Any, ...] = (..., *first)
    before: tuple[Any, ...] = (..., *(p - 1 for p in first))
    x, t = torch.randn(2, 2, *sizes), torch.rand(2)
    moved = x.clone()
    moved[inside] += 1
    out = network(x, t, {})
    assert out.shape == (2, 3, *sizes) and out.is_contiguous()
    assert (network(moved, t, {}) - out)[before].abs().max() > 1e-4


def test_the_local_way_can_join_a_network_that_is_trained_without_changing_what_it_says():
    options = {"patch": 2, "text": TEXT, "images": {"edge": 1}}
    for local in (8, (4, 6)):
        plain, wide = stirred(make(**options)), make(**options, local=local)
        missing, unexpected = wide.load_state_dict(plain.state_dict(), strict=False)
        assert not unexpected and all(name.startswith("local.") for name in missing)
        x, t, text = torch.randn(2, 1, 4, 4), torch.rand(2), {"text": torch.tensor([[1, 2], [3, 4]])}
        assert torch.equal(wide(x, t, text), plain(x, t, text))


@pytest.mark.parametrize(("dims", "sizes", "patch"), [(1, (8,), 4), (2, (8, 8), (4, 8)), (3, (4, 4, 8), 4)])
def test_a_local_way_of_several_levels_sees_further_than_one_of_one_without_the_tokens(dims, sizes, patch):
    """How far a voxel reaches, where nothing passes through the tokens and no norm sees the whole grid."""

    def reached(local):
        network = stirred(make(dims, patch=patch, local=local, heads=3, layers=0))
        assert network.local is not None
        for module in network.local.modules():
            for name in ("norm", "norm_in", "norm_out"):
                if hasattr(module, name):
                    setattr(module, name, nn.Identity())
        network.local.write.weight.data.zero_()
        x, t = torch.randn(1, 1, *sizes), torch.zeros(1)
        moved = x.clone()
        moved[(0, 0, *([0] * dims))] += 1
        maps = [network.local.maps(each, network.time(t)) for each in (x, moved)]
        h, cells = torch.zeros(1, math.prod(sizes) // math.prod(network.config.patch_by_axis), 24), ()
        cells = tuple(s // p for s, p in zip(sizes, network.config.patch_by_axis, strict=True))
        near, far = (network.local(each, h, cells, network.time(t)) for each in maps)
        return int(((far - near).abs() > 1e-6).sum())

    assert reached((3,)) < reached((3, 4))


@pytest.mark.parametrize(("local", "patch"), [((), 2), ((4, 4), 3), ((4, 4, 4), 2), ((4, 0), 2), (0, 2)])
def test_levels_of_a_local_way_that_do_not_fit_the_patch_are_refused(local, patch):
    with pytest.raises(UserError, match="local"):
        make(patch=patch, local=local)


def test_a_set_has_no_order():
    network = stirred(make(**SET, in_channels=2, vectors={"style": 3}))
    x, t, order = torch.randn(2, 2, 7), torch.rand(2), torch.randperm(7)
    cond = {"style": torch.rand(2, 3)}
    torch.testing.assert_close(network(x, t, cond)[:, :, order], network(x[:, :, order], t, cond))


def test_absent_entries_are_not_read_and_not_written():
    network = stirred(make(**SET, in_channels=2, present="there"))
    x, t = torch.randn(1, 2, 5), torch.rand(1)
    there = torch.tensor([[[1.0, 1, 1, 0, 0]]])
    out = network(x, t, {"there": there})
    assert not out[:, :, 3:].any()
    torch.testing.assert_close(out[:, :, :3], network(x[:, :, :3], t, {}))
    garbage = x.clone()
    garbage[:, :, 3:] = math.nan
    assert torch.equal(network(garbage, t, {"there": there}), out)
    everything_there = network(x, t, {"there": torch.full_like(there, math.nan)})
    torch.testing.assert_close(everything_there, network(x, t, {}))


def test_positions_tell_places_apart_and_their_absence_does_not():
    x = torch.randn(1, 1, 6)
    for positions in ("rotary", "sincos", "none"):
        network = stirred(make(1, positions=positions))
        with torch.no_grad():
            swapped = network(x.flip(2), torch.zeros(1), {}).flip(2)
            same = torch.allclose(swapped, network(x, torch.zeros(1), {}), atol=1e-5)
        assert same == (positions == "none"), positions


def test_rotary_positions_see_differences_of_places_only():
    turn = rotary((4, 5), 8, 100.0, 0, torch.zeros(1))
    q, k = (torch.randn(8).expand(1, 20, 1, 8) for _ in range(2))
    scores = (rotate(q, turn)[0, :, 0] @ rotate(k, turn)[0, :, 0].T).reshape(4, 5, 4, 5)
    torch.testing.assert_close(scores[0, 0, 2, 3], scores[1, 1, 3, 4])
    assert (scores[0, 0, 2, 3] - scores[0, 0, 3, 2]).abs() > 1e-4
    assert torch.equal(rotate(q, rotary((4,), 8, 100.0, 16, torch.zeros(1)))[0, 4:], q[0, 4:])


def test_the_two_ways_to_turn_agree():
    x, turn = torch.randn(2, 12, 3, 10), rotary((3, 4), 10, 100.0, 0, torch.zeros(1))
    compiled = torch.compile(rotate, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, turn), rotate(x, turn))
    assert (rotate(x.bfloat16(), turn).float() - rotate(x, turn)).abs().max() < 0.05


def test_sincos_positions_are_the_published_ones():
    table = sincos((2, 3), 8, torch.zeros(1))
    assert table.shape == (6, 8)
    column = 2.0 * torch.tensor([1.0, 0.01])  # place (1, 2): the last axis first, speeds 10000^(-k / 2)
    row = torch.tensor([1.0, 0.01])
    torch.testing.assert_close(table[5], torch.cat([column.sin(), column.cos(), row.sin(), row.cos()]))
    assert not sincos((2, 2, 2), 8, torch.zeros(1))[:, 6:].any()  # 8 channels, three axes: two are left over


# --------------------------------------------------------------------------------------------------------- conditions


def test_every_condition_changes_the_output():
    network, cond = everything()
    x, t = torch.randn(2, 1, 4, 6), torch.rand(2)
    base = network(x, t, cond)
    other = {
        "style": cond["style"] + 1,
        "kind": cond["kind"].flip(0),
        "edge": cond["edge"] + 1,
        "text": cond["text"].flip(0),
        "there": cond["there"].flip(0),
    }
    assert all((network(x, t, cond | {name: other[name]}) - base).abs().max() > 1e-3 for name in cond)
    assert (network(x, t + 0.1, cond) - base).abs().max() > 1e-3


def test_a_label_that_is_not_given_is_none_of_the_labels():
    network = stirred(make(patch=2, classes={"kind": 3}))
    x, t = torch.randn(1, 1, 4, 4), torch.rand(1)
    nothing = network(x, t, {"kind": torch.tensor([-1])})
    assert torch.equal(nothing, network(x, t, {}))
    assert all((network(x, t, {"kind": torch.tensor([k])}) - nothing).abs().max() > 1e-3 for k in range(3))


def test_the_order_of_words_matters_and_padding_does_not():
    network = stirred(make(text=TEXT, patch=2))
    x, t = torch.randn(1, 1, 4, 4), torch.rand(1)
    base = network(x, t, {"text": torch.tensor([[3, 4]])})
    torch.testing.assert_close(network(x, t, {"text": torch.tensor([[3, 4, 0, -1]])}), base)
    assert (network(x, t, {"text": torch.tensor([[4, 3]])}) - base).abs().max() > 1e-4


def test_words_reach_the_patches_through_the_sequence_not_only_through_their_mean():
    network = stirred(make(text=TEXT, patch=2))
    assert network.pooled is not None
    with torch.no_grad():
        network.pooled.weight.zero_()
    x, t = torch.randn(1, 1, 4, 4), torch.rand(1)
    one, two = (network(x, t, {"text": torch.tensor([[word, 1]])}) for word in (3, 4))
    assert (one - two).abs().max() > 1e-4


def test_a_missing_condition_is_the_null_and_null_rows_share_a_batch_with_full_ones():
    network, cond = everything()
    network = network.double()
    cond = {name: value.double() if value.is_floating_point() else value for name, value in cond.items()}
    x, t = torch.randn(2, 1, 4, 6).double(), torch.rand(2)
    null = network.null(x)
    assert {name: (value.shape, value.dtype) for name, value in null.items()} == {
        name: (value.shape, value.dtype) for name, value in cond.items()
    }
    exactly = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(network(x, t, {}), network(x, t, null), **exactly)
    for name in cond:
        rest = {other: value for other, value in cond.items() if other != name}
        torch.testing.assert_close(network(x, t, rest), network(x, t, cond | {name: null[name]}), **exactly)
    mixed = {name: torch.stack([cond[name][0], null[name][1]]) for name in cond}
    apart = torch.stack([network(x, t, cond)[0], network(x, t, {})[1]])
    torch.testing.assert_close(network(x, t, mixed), apart, **exactly)


def test_guidance_in_one_batch_equals_two_calls():
    network, cond = everything()
    x, t = torch.randn(2, 1, 4, 6), torch.rand(2)
    both = {name: torch.cat([cond[name], value]) for name, value in network.null(x).items()}
    joint = network(torch.cat([x, x]), torch.cat([t, t]), both)
    torch.testing.assert_close(joint, torch.cat([network(x, t, cond), network(x, t, {})]), rtol=1e-5, atol=1e-5)


def test_batches_may_be_split():
    network, cond = everything()
    x, t = torch.randn(2, 1, 4, 6), torch.rand(2)
    parts = [network(x[i : i + 1], t[i : i + 1], rows(cond, [i])) for i in range(2)]
    torch.testing.assert_close(torch.cat(parts), network(x, t, cond), rtol=1e-5, atol=1e-5)


def test_conditions_dropped_in_training_are_the_null_whatever_their_type():
    network, cond = everything()
    x, t = torch.randn(2, 1, 4, 6), torch.rand(2)
    dropped = drop(cond, 1.0, torch.Generator())
    assert {name: value.dtype for name, value in dropped.items()} == {name: v.dtype for name, v in cond.items()}
    assert torch.equal(network(x, t, dropped), network(x, t, network.null(x)))


def test_a_condition_with_a_hole_is_not_taken_for_a_missing_one():
    network, cond = everything()
    cond["style"][0, 1] = math.nan
    out = network(torch.randn(2, 1, 4, 6), torch.rand(2), cond)
    assert out[0].isnan().all() and not out[1].isnan().any()


# ----------------------------------------------------------------------------------------------------------- learning


def test_a_fresh_network_says_zero_and_its_blocks_are_the_identity():
    for local in (None, 4, (4, 6)):
        network = make(patch=2, text=TEXT, local=local)
        x, said = torch.randn(2, 1, 4, 4), {"text": torch.ones(2, 3, dtype=torch.int64)}
        assert torch.equal(network(x, torch.rand(2), said), torch.zeros_like(x))
    tokens, embedding = torch.randn(2, 7, 24), torch.randn(2, 24)
    assert torch.equal(network.blocks[0](tokens, embedding), tokens)


@pytest.mark.parametrize("kind", [everything, both_ways])
def test_gradients_reach_every_parameter_once_the_zeros_have_moved(kind):
    network, cond = kind()
    null = network.null(torch.zeros(2, 1, 4, 6))
    mixed = {name: torch.stack([cond[name][0], null[name][1]]) for name in cond}
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        network(torch.randn(2, 1, 4, 6), torch.rand(2), mixed).square().mean().backward()
        optimizer.step()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_three_steps_lower_the_loss_of_a_batch():
    network = make(patch=2, text=TEXT)
    x, t, text = torch.randn(4, 1, 4, 4), torch.rand(4), {"text": torch.tensor([[1], [2], [3], [4]])}
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    losses = []
    for _ in range(4):
        loss = (network(x, t, text) - x).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.9 * losses[0]


# ------------------------------------------------------------------------------------------------------------ numbers


def test_a_bfloat16_network_and_autocast_agree_with_float32():
    network, cond = everything()
    x, t = torch.randn(2, 1, 4, 6), torch.tensor([3.0, 900.0])
    with torch.no_grad():
        exact = network(x, t, cond)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = network(x, t, cond).float()
        half = network.bfloat16()(x.bfloat16(), t, cond)
    assert half.dtype == torch.bfloat16
    for other in (mixed, half.float()):
        assert (other - exact).norm() / exact.norm() < 0.05


def test_autocast_trains():
    network, cond = everything()
    with torch.autocast("cpu", torch.bfloat16):
        loss = network(torch.randn(2, 1, 4, 6), torch.rand(2), cond).float().square().mean()
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_the_time_stays_float32_when_the_weights_are_bfloat16():
    network = stirred(make(patch=2)).bfloat16()
    x = torch.randn(1, 1, 4, 4).bfloat16()
    one, two = (network.time(torch.tensor([t])) for t in (998.0, 999.0))
    assert not torch.equal(one, two)
    assert not torch.equal(network(x, torch.tensor([998.0]), {}), network(x, torch.tensor([999.0]), {}))


@pytest.mark.parametrize("kind", [everything, both_ways])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_it_compiles_whole_and_once_with_gradients_and_once_without(backend, kind):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    network, cond = kind()
    fast = torch.compile(network, backend=backend, fullgraph=True)
    x, t = torch.randn(2, 1, 4, 6), torch.rand(2)
    for seed in range(3):  # other values and other rows that are null, the same graphs
        torch.manual_seed(seed)
        x, full = torch.randn_like(x), cond if seed else network.null(x)
        torch.testing.assert_close(fast(x, t, full), network(x, t, full), rtol=1e-5, atol=1e-5)
        fast(x, t, full).sum().backward()
        with torch.no_grad():
            torch.testing.assert_close(fast(x, t, full), network(x, t, full), rtol=1e-5, atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2
    assert not torch._dynamo.utils.counters["graph_break"]


# -------------------------------------------------------------------------------------------------------- sites, cards


def test_the_names_of_the_sites_are_stable_and_complete():
    network = make(patch=2)
    block = ["", ".attention", ".attention.q", ".attention.k", ".attention.v", ".attention.out"]
    block += [".mlp", ".mlp.enter", ".mlp.out"]
    names = ["input", *(f"block.{k}{part}" for k in range(2) for part in block), "head"]
    assert list(network.sites()) == names
    linears = [name for name, site in network.sites().items() if isinstance(site, nn.Linear)]
    assert len(linears) == 2 + 2 * 6
    local = list(make(patch=2, local=4).sites())
    ends = ["local.enter", "local.read"], ["local.write", "local.up.0", "local.leave"]
    assert local == [names[0], *ends[0], *names[1:], *ends[1]]


@pytest.mark.parametrize("local", [None, 4, (4, 6)])
def test_every_site_is_passed_in_the_order_of_its_name(local):
    network = stirred(make(patch=2, text=TEXT, local=local))
    passed: list[str] = []
    for name, site in network.sites().items():
        site.register_forward_pre_hook(lambda *_, name=name: passed.append(name))
    network(torch.randn(1, 1, 4, 4), torch.rand(1), {})
    assert passed == list(network.sites())


def test_a_checkpoint_brings_network_and_card_back(tmp_path):
    network, cond = everything()
    card = {
        "name": "tiny",
        "recipe": "test/dit",
        "data": [{"name": "noise", "licence": "CC0-1.0", "attribution": "none"}],
        "licence": "Apache-2.0",
        "minutes": 0.1,
        "metrics": {"loss": 1.0},
    }
    save(tmp_path / "tiny.safetensors", network, card, dtype=torch.float32)
    again, finished = load(tmp_path / "tiny.safetensors", recipe="test/dit")
    x, t = torch.randn(2, 1, 4, 6), torch.rand(2)
    assert finished["network"]["kind"] == "dit" and again.config == network.config
    assert torch.equal(again(x, t, cond), network(x, t, cond))


def test_a_configuration_survives_json():
    for network in (everything()[0], both_ways()[0], make(positions="learned", size=(4, 4))):
        assert DiTConfig(**json.loads(json.dumps(asdict(network.config)))) == network.config


def test_a_configuration_from_before_the_local_way_is_a_network_without_it():
    older = {name: value for name, value in asdict(make().config).items() if name != "local"}
    assert DiTConfig(**older) == make().config and make().config.local is None


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"dims": 4}, "dims: a DiT has 1, 2 or 3 dimensions, not 4"),
        ({"patch": (2, 2, 2)}, r"patch: \(2, 2, 2\) for 2 axes"),
        ({"heads": 5}, r"width: 24 is not divisible by 5 \(heads\)"),
        ({"text": {"vocabulary": 5, "length": 3, "heads": 5}}, r"width: 24 is not divisible by 10 \(heads\)"),
        ({"text": {"vocabulary": 1, "length": 3}}, "text.vocabulary: vocabulary is 1"),
        ({"heads": 12}, "heads: heads 2 wide cannot turn along 2 axes"),
        ({"positions": "absolute"}, "positions: 'absolute' is unknown"),
        ({"positions": "learned"}, "size: positions 'learned' with size None"),
        ({"size": (4, 4)}, r"size: positions 'rotary' with size \(4, 4\)"),
        ({"positions": "learned", "size": (4, 5), "patch": 2}, r"size: \(4, 5\) is not divisible by \(2, 2\)"),
        ({"local": 0}, "local: 0 channels with positions 'rotary'"),
        ({"local": 4, "positions": "none"}, "local: 4 channels with positions 'none'"),
        ({"local": 4, "present": "there"}, "local: 4 channels .* and present 'there'; .* every entry is there"),
        ({"vectors": {"text": 3}, "text": {"vocabulary": 5, "length": 3}}, r"\['text'\] are declared twice"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(options, sentence):
    with pytest.raises(UserError, match=sentence):
        make(**options)


@pytest.mark.parametrize(
    ("x", "cond", "sentence"),
    [
        ((2, 1, 4), {}, r"x: x has shape \(2, 1, 4\); pass \(batch, 1, and 2 spatial axes\)"),
        ((2, 1, 4, 5), {}, r"x: size \(4, 5\) is not divisible by \(2, 3\); pad to \(4, 6\), then crop"),
        ((2, 1, 4, 6), {"word": torch.zeros(2)}, "condition 'word' was not declared; use .*'edge'.*'text'"),
        ((2, 1, 4, 6), {"style": torch.zeros(2, 4)}, r"condition 'style' has shape \(2, 4\); pass \(2, 3\)"),
        ((2, 1, 4, 6), {"kind": torch.zeros(2)}, "condition 'kind' is torch.float32; pass whole numbers"),
        ((2, 1, 4, 6), {"text": torch.ones(2, 6).long()}, r"condition 'text' has shape \(2, 6\); pass \(2, 5\)"),
        ((2, 1, 4, 6), {"edge": torch.zeros(2, 2, 4, 4)}, r"condition 'edge' has shape .*; pass \(2, 2, 4, 6\)"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(x, cond, sentence):
    with pytest.raises(UserError, match=sentence):
        everything()[0](torch.zeros(x), torch.zeros(2), cond)


def test_learned_positions_refuse_another_size():
    with pytest.raises(UserError, match=r"size \(4, 6\), the learned positions are for \(4, 4\)"):
        make(positions="learned", size=(4, 4))(torch.zeros(1, 1, 4, 6), torch.zeros(1), {})
