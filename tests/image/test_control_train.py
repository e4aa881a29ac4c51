"""The two recipes from start to card: a stop anywhere, a resume, and weights that the app loads."""

from __future__ import annotations

import functools
import json
from dataclasses import replace

import pytest
import torch

from domains.image.control import proof, train
from domains.image.control.model import NETWORK, ShapeModel
from domains.image.shapes.captions import ROLES, VOCABULARY
from shared.errors import Cancelled
from shared.networks.text import TextConfig
from shared.training.state import read

torch.set_num_threads(1)
MINUTES = 0.15
TINY = replace(
    NETWORK, width=16, layers=1, heads=2, local=(8, 8), text=TextConfig(VOCABULARY, ROLES, layers=1, heads=2)
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
        assert torch.equal(value, averaged[name].half().float()), name

    monkeypatch.setattr(train, "WEIGHTS", path)
    beside = train.train_edges(minutes=MINUTES, out=tmp_path / "edges")
    assert ShapeModel.from_pretrained(path, beside).control is not None
    assert "edges: F1 at 1 pixel" in json.loads(beside.with_suffix(".json").read_text())["metrics"]
