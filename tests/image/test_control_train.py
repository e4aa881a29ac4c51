"""The two recipes from start to card: a stop anywhere, a resume, and weights that the app loads."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path

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
TINY = replace(NETWORK, width=16, layers=1, heads=2, local=8, text=TextConfig(VOCABULARY, ROLES, layers=1, heads=2))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network and a proof that take seconds."""
    monkeypatch.setattr(train, "NETWORK", TINY)
    for name in ("caption_metrics", "edge_metrics"):
        few = functools.partial(getattr(proof, name), count=4)
        monkeypatch.setattr(train, name, few)
    monkeypatch.setattr(proof, "answers", functools.partial(proof.answers, steps=2))


def test_a_stop_in_either_part_and_a_resume_end_in_weights_with_a_measured_card(small, tmp_path, monkeypatch):
    usual, stopped_in = train.fit, []

    def fit(*arguments, out: Path, **options):
        """The loop, stopped at its third step the first time that each part is started."""

        def stop(report):
            if report.step == 3 and out.name not in stopped_in:
                stopped_in.append(out.name)
                raise Cancelled

        return usual(*arguments, out=out, **options, observers=[stop])

    monkeypatch.setattr(train, "fit", fit)
    with pytest.raises(Cancelled):
        train.train(minutes=MINUTES, out=tmp_path)
    assert stopped_in == ["steady"]
    with pytest.raises(Cancelled):
        train.train(minutes=MINUTES, out=tmp_path, resume=True)
    assert stopped_in == ["steady", "cooling"]
    steady = read(tmp_path / "steady").progress
    path = train.train(minutes=MINUTES, out=tmp_path, resume=True)
    assert read(tmp_path / "steady").progress.step == steady.step, "a part that ended is not trained on"
    parts = [read(tmp_path / part).parts["network"] for part in ("steady", "cooling")]
    assert [any(name.startswith("local.") for name in part) for part in parts] == [False, True]
    card = json.loads(path.with_suffix(".json").read_text())
    cooled = read(tmp_path / "cooling").progress
    assert card["steps"] == steady.step + cooled.step and card["pictures"] == steady.rows + cooled.rows
    entry = card["metrics"]["caption: colour"]
    assert {"value", "low", "high", "floor", "ceiling", "cases"} <= entry.keys()
    assert card["not above its floor"] == proof.not_above_floor(card["metrics"])
    model = ShapeModel.from_pretrained(path, control=None)
    averaged = read(tmp_path / "cooling").parts["ema"]
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, averaged[name].half().float()), name

    monkeypatch.setattr(train, "fit", usual)
    monkeypatch.setattr(train, "WEIGHTS", path)
    beside = train.train_edges(minutes=MINUTES, out=tmp_path / "edges")
    assert ShapeModel.from_pretrained(path, beside).control is not None
    assert "edges: F1 at 1 pixel" in json.loads(beside.with_suffix(".json").read_text())["metrics"]
