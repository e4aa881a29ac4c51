"""The shape model learns, resumes to the bit, and the shipped weights do what captions and edges ask."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from domains.image.control.evaluate import rates
from domains.image.control.model import (
    CONTROL_WEIGHTS,
    NETWORK,
    SIDE,
    WEIGHTS,
    ShapeModel,
    denoiser,
    pictures,
    process,
    values,
)
from domains.image.control.proof import answers, compared, not_above_floor, questions, shifted
from domains.image.control.train import (
    EdgeBatches,
    ShapeBatches,
    logit_normal_times,
    new_network,
    shape_loss,
)
from domains.image.shapes.annotations import edges
from domains.image.shapes.captions import ROLES
from domains.image.shapes.sampling import allowed_in_training, sample_scenes
from shared.adapters.controlnet import HINT, ControlNet, ControlNetConfig
from shared.adapters.host import host_of
from shared.adapters.train import training
from shared.errors import Cancelled, UserError
from shared.training.loop import TrainReport, TrainSettings, fit

TINY = replace(NETWORK, width=32, layers=2, heads=2)
ASKED = 64


@pytest.fixture(scope="module")
def shipped() -> ShapeModel:
    return ShapeModel.from_pretrained()


def moved(module: nn.Module, seed: int = 0, by: float = 0.05) -> nn.Module:
    """Weights away from their zeros, so that everything acts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.parameters():
            value.add_(by * torch.randn(value.shape, generator=generator))
    return module


def tiny_model(control: bool = True) -> ShapeModel:
    network = moved(new_network(TINY))
    beside = moved(ControlNet(host_of(network), ControlNetConfig(channels=1)), 1) if control else None
    return ShapeModel(network, {}, control=beside)


# ------------------------------------------------------------------------------------------------------------ training


def test_a_batch_is_a_function_of_its_step() -> None:
    batches = EdgeBatches(4)
    first, again, other = batches(3), batches(3), batches(4)
    assert first.keys() == {"x0", "text", HINT}
    for name, value in first.items():
        assert torch.equal(torch.nan_to_num(value, -7), torch.nan_to_num(again[name], -7)), name
    assert not torch.equal(first["x0"], other["x0"])
    assert first["x0"].shape == (4, 3, SIDE, SIDE) and first["text"].shape == (4, ROLES)
    assert first["x0"].min() >= -1 and first["x0"].max() <= 1


def test_captions_and_edges_are_left_away_as_often_as_they_should() -> None:
    plain, control = ShapeBatches(256)(0), EdgeBatches(256)(0)
    assert 0.04 < (~plain["text"].bool().any(1)).float().mean() < 0.18
    assert 0.2 < (~control["text"].bool().any(1)).float().mean() < 0.4
    assert 0.08 < control[HINT].flatten(1).isnan().all(1).float().mean() < 0.24
    assert allowed_in_training(sample_scenes(0, 256, "train", batch=0)).all()


def test_the_edges_of_a_batch_are_those_of_its_pictures() -> None:
    batch, scenes = EdgeBatches(8, seed=5)(2), sample_scenes(5, 8, "train", batch=2)
    given = ~batch[HINT].flatten(1).isnan().any(1)
    assert given.any() and np.array_equal(batch[HINT][given, 0].numpy(), edges(scenes)[given.numpy()])


def test_thirty_steps_lower_the_loss(tmp_path: Path) -> None:
    network, fixed = new_network(TINY), ShapeBatches(32, seed=9)(0)

    def loss_now() -> float:
        with torch.no_grad():
            return float(shape_loss(network, fixed, torch.Generator().manual_seed(0)).mean())

    before = loss_now()
    fit(network, shape_loss, ShapeBatches(8), settings=TrainSettings(steps=30, lr=3e-3, warmup=5), out=tmp_path)
    assert loss_now() < 0.8 * before


def test_a_run_that_is_cut_in_two_ends_in_the_same_bits(tmp_path: Path) -> None:
    settings = TrainSettings(steps=6, lr=1e-3, warmup=2, schedule="constant")
    whole = new_network(TINY)
    fit(whole, shape_loss, ShapeBatches(4), settings=settings, out=tmp_path / "whole")
    cut = new_network(TINY)

    def halfway(report: TrainReport) -> None:
        if report.step == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        fit(cut, shape_loss, ShapeBatches(4), settings=settings, out=tmp_path / "cut", observers=[halfway])
    fresh = new_network(TINY, seed=1)
    fit(fresh, shape_loss, ShapeBatches(4), settings=settings, out=tmp_path / "cut", resume=True)
    for (name, a), b in zip(whole.state_dict().items(), fresh.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_the_loss_is_that_of_what_the_network_says_at_every_level() -> None:
    """The target has unit size at every level, so a network that says 0 has a loss near 1 from noise to picture."""

    class Silent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(()))

        def forward(self, x: Tensor, time: Tensor, cond: object) -> Tensor:
            return 0 * x

    batch = ShapeBatches(64)(0)
    losses = shape_loss(Silent(), batch, torch.Generator().manual_seed(0))
    assert losses.shape == (64,) and 0.7 < float(losses.mean()) < 1.2 and float(losses.min()) > 0.3


def test_times_are_logit_normal_and_spread_over_the_batch() -> None:
    t = logit_normal_times(process(), 512, torch.Generator().manual_seed(0))
    z = torch.logit(t)
    assert float(z.mean()) == pytest.approx(-0.2, abs=0.05) and float(z.std()) == pytest.approx(1.2, abs=0.08)
    assert float(t.min()) > 0 and float(t.max()) < 1


def test_a_control_learns_beside_a_base_that_stays_as_it_is(tmp_path: Path) -> None:
    base = moved(new_network(TINY))
    before = {name: value.clone() for name, value in base.state_dict().items()}
    control = ControlNet(host_of(base), ControlNetConfig(channels=1, width=8))
    with training(base, control) as trainee:
        fit(trainee, shape_loss, EdgeBatches(4), settings=TrainSettings(steps=3, lr=1e-3, warmup=1), out=tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
    assert any(bool(layer.get_parameter("weight").any()) for layer in control.zeros)


# ---------------------------------------------------------------------------------------------------------- the model


def test_a_picture_depends_on_its_own_caption_and_seed_alone() -> None:
    model = tiny_model(control=False)
    both = model.generate(["a red star", "a blue circle"], steps=3, seeds=[5, 6])
    alone = model.generate(["a blue circle"], steps=3, seeds=[6])
    assert both.shape == (2, SIDE, SIDE, 3) and both.dtype == np.uint8
    assert np.abs(both[1].astype(int) - alone[0]).max() <= 1  # float kernels differ by batch
    assert not np.array_equal(both[1], model.generate(["a red circle"], steps=3, seeds=[6])[0])


def test_pictures_and_values_are_inverse() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.uint8)
    assert np.array_equal(pictures(values(rgb)), rgb)


@pytest.mark.parametrize(("sampler", "guidance"), [("dpmpp_2m", 3.0), ("heun", 2.0), ("ddim", 1.0)])
def test_calls_are_said_before_and_counted_alike(sampler: str, guidance: float) -> None:
    model = tiny_model(control=False)
    seen: list[tuple[int, int]] = []
    believed: list[np.ndarray] = []
    model.generate(
        ["a star"],
        steps=4,
        guidance=guidance,
        sampler=sampler,
        seeds=[0],
        progress=lambda done, total: seen.append((done, total)),
        preview=believed.append,
    )
    total = model.calls(4, guidance, sampler)
    assert seen[-1] == (total, total) and len(seen) == len(believed) == 4
    assert believed[0].shape == (1, SIDE, SIDE, 3)


def test_strength_zero_is_the_base_to_the_bit_and_a_window_is_part_of_a_run() -> None:
    model, asked = tiny_model(), {"captions": ["a red star", "a cross"], "steps": 4, "seeds": [1, 2]}
    hint = edges(sample_scenes(0, 2))
    base = model.generate(**asked)
    assert np.array_equal(model.generate(edges=hint, strength=0.0, **asked), base)
    made = {
        words: model.generate(edges=hint, **more, **asked)
        for words, more in {
            "whole": {},
            "early": {"window": (0.0, 0.4)},
            "late": {"window": (0.6, 1.0)},
            "half": {"strength": 0.5},
            "control": {"mode": "control"},
        }.items()
    }
    kinds = [base, *made.values()]
    assert all(not np.array_equal(a, b) for i, a in enumerate(kinds) for b in kinds[:i])


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"seeds": [1]}, "1 seeds"),
        ({"captions": ["a dragon", "a star"]}, "dragon"),
        ({"steps": 0}, "0 steps"),
        ({"sampler": "magic"}, "magic"),
        ({"edges": np.zeros((1, SIDE, SIDE), np.float32)}, "shape"),
        ({"edges": np.full((2, SIDE, SIDE), 2, np.float32)}, "within"),
        ({"edges": np.zeros((2, SIDE, SIDE), np.float32), "window": (0.5, 0.5)}, "window"),
        ({"edges": np.zeros((2, SIDE, SIDE), np.float32), "mode": "mine"}, "mode"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(wrong: dict[str, object], word: str) -> None:
    good: dict[str, object] = {"captions": ["a star", "a cross"], "seeds": [1, 2], "steps": 2}
    with pytest.raises(UserError, match=word):
        tiny_model().generate(**{**good, **wrong})


def test_edges_without_a_control_are_refused() -> None:
    with pytest.raises(UserError, match="no control"):
        tiny_model(control=False).generate(["a star"], edges=np.zeros((1, SIDE, SIDE)), seeds=[0], steps=2)


def test_nothing_asked_is_what_the_network_knows_as_the_null_caption() -> None:
    network = moved(new_network(TINY))
    known = denoiser(network)
    assert known.null is not None and not known.null["text"].any() and known.null["text"].shape == (1, ROLES)


# ---------------------------------------------------------------------------------------------------- what is shipped


def margin(share: float, count: int) -> float:
    """Three standard errors of a share."""
    return 3 * float(np.sqrt(max(share * (1 - share), 0.05) / count))


def test_shipped_pictures_keep_their_captions_and_not_those_of_others(shipped: ShapeModel) -> None:
    asked = questions(ASKED, seed=300)
    made = answers(shipped, asked.captions, asked.seeds, steps=16)
    own, others = (rates(compared(made, captions)) for captions in (asked.captions, shifted(asked.captions)))
    for attribute in ("colour", "background", "relation"):  # the card says what else stays near its floor
        rate = own[attribute]
        assert rate.value - margin(rate.value, rate.cases) > others[attribute].value, attribute
    assert others["colour"].value < 0.35  # chance: one of eight, and the best of up to three things


def test_shipped_edges_are_kept_and_those_of_others_are_not(shipped: ShapeModel) -> None:
    asked = questions(ASKED // 2, seed=301)
    made = answers(shipped, asked.captions, asked.seeds, asked.edges, steps=16)
    own = np.array([one.edge_f1 for one in compared(made, asked.captions, asked.edges)])
    others = np.array([one.edge_f1 for one in compared(made, asked.captions, shifted(asked.edges))])
    gain = own - others
    assert gain.mean() - 3 * gain.std() / np.sqrt(len(gain)) > 0.1


def test_shipped_cards_state_what_was_measured() -> None:
    for path, words in ((WEIGHTS, "caption: colour"), (CONTROL_WEIGHTS, "edges: F1 at 1 pixel")):
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        assert {"value", "low", "high", "floor", "ceiling"} <= card["metrics"][words].keys()
        assert card["not above its floor"] == not_above_floor(card["metrics"])
        assert path.stat().st_size < 15 * 2**20
