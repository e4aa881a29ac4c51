"""The two recipes from start to card: a stop anywhere, a resume, and weights that the app loads."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from domains.image.control import proof, train
from domains.image.control.model import NETWORK, ShapeModel, values
from domains.image.shapes.annotations import KINDS, semantics
from domains.image.shapes.captions import ROLES, VOCABULARY
from domains.image.shapes.render import render
from domains.image.shapes.sampling import sample_scenes
from shared.errors import Cancelled
from shared.networks.text import TextConfig
from shared.training.state import read

torch.set_num_threads(1)
MINUTES = 0.15
TINY = replace(
    NETWORK, width=16, layers=2, heads=2, local=(8, 8), text=TextConfig(VOCABULARY, ROLES, layers=1, heads=2)
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network and a proof that take seconds."""
    monkeypatch.setattr(train, "NETWORK", TINY)
    for name in ("caption_metrics", "edge_metrics"):
        few = functools.partial(getattr(proof, name), count=4)
        monkeypatch.setattr(train, name, few)
    monkeypatch.setattr(proof, "answers", functools.partial(proof.answers, steps=2))


def test_a_stop_and_a_resume_end_in_weights_with_a_measured_card(small, tmp_path, monkeypatch):
    usual = train.fit

    def fit(*arguments, **options):
        """The loop, stopped at its third step."""

        def stop(report):
            if report.step == 3:
                raise Cancelled

        return usual(*arguments, **options, observers=[stop])

    monkeypatch.setattr(train, "fit", fit)
    with pytest.raises(Cancelled):
        train.train(minutes=MINUTES, out=tmp_path)
    monkeypatch.setattr(train, "fit", usual)
    path = train.train(minutes=MINUTES, out=tmp_path, resume=True)
    card, progress = json.loads(path.with_suffix(".json").read_text()), read(tmp_path).progress
    assert progress.step > 3 and (card["steps"], card["pictures"]) == (progress.step, progress.rows)
    entry = card["metrics"]["caption: colour"]
    assert {"value", "low", "high", "floor", "ceiling", "cases"} <= entry.keys()
    assert card["not above its floor"] == proof.not_above_floor(card["metrics"])
    model = ShapeModel.from_pretrained(path, control=None)
    averaged = read(tmp_path).parts["ema"]
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, averaged[f"network.{name}"].half().float()), name

    monkeypatch.setattr(train, "WEIGHTS", path)
    beside = train.train_edges(minutes=MINUTES, out=tmp_path / "edges")
    assert ShapeModel.from_pretrained(path, beside).control is not None
    assert "edges: F1 at 1 pixel" in json.loads(beside.with_suffix(".json").read_text())["metrics"]


def test_labels_are_those_of_the_pictures_and_only_train_the_blocks_before_they_are_read():
    batch = train.ShapeBatches(rows=4)(7)
    scenes = sample_scenes(0, 4, "train", batch=7)
    assert torch.equal(batch["x0"], values(render(scenes)))
    assert np.array_equal(batch[train.LABEL].numpy(), semantics(scenes))
    reader = train.Reader(train.new_network(TINY))
    network = reader.network
    said, labels = reader(batch["x0"], torch.full((4,), 0.5), {"text": batch["text"]})
    assert torch.equal(said, network(batch["x0"], torch.full((4,), 0.5), {"text": batch["text"]}))
    assert labels.shape == (4, KINDS, 32, 32)
    labels.square().sum().backward()
    learns = {index for index, block in enumerate(network.blocks) for p in block.parameters() if p.grad is not None}
    assert learns == {0, 1}  # of TINY's two, both come before
    assert network.head.weight.grad is None


def test_every_pixel_is_read_from_the_token_that_covers_it():
    reader = train.Reader(train.new_network(TINY))
    with torch.no_grad():
        reader.labels.weight.normal_()
    x = torch.zeros(1, 3, 32, 32)
    seen = []
    reader.network.blocks[train.READ].register_forward_hook(lambda m, i, out: seen.append(out))
    _, labels = reader(x, torch.full((1,), 0.5), {})
    tokens = torch.nn.functional.layer_norm(seen[0][0, :64], (16,))
    row, column = 13, 22
    here = reader.labels(tokens[(row // 4) * 8 + column // 4]).reshape(KINDS, 4, 4)[:, row % 4, column % 4]
    assert torch.allclose(labels[0, :, row, column], here, atol=1e-6)


def test_reading_labels_adds_its_share_to_the_loss_of_every_row():
    batch = train.ShapeBatches(rows=3)(1)
    reader = train.Reader(train.new_network(TINY))
    with torch.no_grad():
        reader.labels.weight.zero_()
        reader.labels.bias.zero_()
    both = train.labelled_loss(reader, batch, torch.Generator().manual_seed(0))
    alone = train.shape_loss(reader.network, batch, torch.Generator().manual_seed(0))
    ground = (batch[train.LABEL] == 0).float().mean((1, 2))
    weight = train.GROUND * ground + 1 - ground
    assert torch.allclose(both - alone, train.LABELS * math.log(KINDS) * weight, atol=1e-5)
