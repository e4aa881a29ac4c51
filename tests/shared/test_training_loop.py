"""The training loop: it learns, keeps its schedule and budget, averages weights, and stops at numbers that are none."""

from __future__ import annotations

import io
import itertools
import json
import math

import pytest
import torch
from torch import nn

from shared.errors import UserError
from shared.training import ema, journal
from shared.training.loop import TrainSettings, fit

torch.set_num_threads(1)


class Line(nn.Module):
    """y = w x + b."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.w * x + self.b


def batch_at(step: int) -> dict[str, torch.Tensor]:
    x = torch.randn(8, generator=torch.Generator().manual_seed(step))
    return {"x": x, "y": 3 * x - 1}


def squares(network, batch, generator):
    return (network(batch["x"]) - batch["y"]).square()


def test_a_run_finds_the_line_and_says_how_it_went(tmp_path):
    network = Line()
    report = fit(network, squares, batch_at, settings=TrainSettings(300, lr=0.05, warmup=10, ema=0.9), out=tmp_path)
    assert report.finished and (report.step, report.rows) == (300, 2400)
    assert abs(network.w.item() - 3) < 0.02 and abs(network.b.item() + 1) < 0.02
    assert abs(report.ema["w"].item() - 3) < 0.02
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(10, 301, 10))
    assert lines[-1]["loss"] < 1e-3 * lines[0]["loss"]
    assert {"loss", "grad_norm", "lr", "seconds", "samples_per_second"} < lines[0].keys()


def test_the_rate_rises_then_falls_to_zero_or_stays():
    cosine, constant = TrainSettings(100, lr=1.0, warmup=10), TrainSettings(100, lr=1.0, warmup=10, schedule="constant")
    assert [round(cosine.lr_at(step, 100), 6) for step in (0, 4, 9, 10, 55, 100)] == [0.1, 0.5, 1.0, 1.0, 0.5, 0.0]
    assert [constant.lr_at(step, 100) for step in (0, 9, 99)] == [0.1, 1.0, 1.0]


def test_the_average_of_weights_is_the_recursion_with_its_warm_up():
    network, kept = Line(), None
    kept, expected = ema.start(network), 0.0
    for step in range(50):
        with torch.no_grad():
            network.w.fill_(float(step))
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        ema.update(kept, network, ema.decay_at(step, 0.9))
    assert kept["w"].item() == pytest.approx(expected, rel=1e-5)
    assert not kept["w"].requires_grad


def test_rows_weigh_what_the_batch_says(tmp_path):
    def two(step):
        return {"x": torch.ones(2), "y": torch.tensor([1.0, 5.0]), "row_weight": torch.tensor([3.0, 0.0])}

    settings = TrainSettings(200, lr=0.05, warmup=1, weight_decay=0)
    network = Line()
    fit(network, squares, two, settings=settings, out=tmp_path)
    assert network(torch.ones(())).item() == pytest.approx(1.0, abs=0.01)


def test_a_loss_that_is_not_one_number_a_row_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"shape \(B,\), not \(\)"):
        fit(Line(), lambda n, b, g: squares(n, b, g).mean(), batch_at, settings=TrainSettings(3), out=tmp_path)


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_loss_that_is_no_number_names_the_step_and_leaves_the_weights_alone(tmp_path, poison):
    def loss(network, batch, generator):
        return squares(network, batch, generator) * batch["scale"]

    def poisoned(step):
        return batch_at(step) | {"scale": torch.full((8,), poison if step == 5 else 1.0)}

    network = Line()
    with pytest.raises(UserError, match=r"at step 5 the loss is (nan|inf).*learning rate below 0.01"):
        fit(network, loss, poisoned, settings=TrainSettings(9, lr=0.01, warmup=1), out=tmp_path)
    assert math.isfinite(network.w.item())


def test_large_gradients_are_clipped(tmp_path):
    norms = []

    def huge(network, batch, generator):
        return squares(network, batch, generator) * 1e6

    network = Line()
    settings = TrainSettings(3, lr=1e-3, warmup=1, clip=0.5)
    fit(network, huge, batch_at, settings=settings, out=tmp_path, observers=[lambda _: norms.append(norm(network))])
    assert all(n == pytest.approx(0.5, rel=1e-4) for n in norms) and len(norms) == 3
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["grad_norm"] > 1e4


def norm(network: nn.Module) -> float:
    return math.sqrt(sum(float(p.grad.square().sum()) for p in network.parameters() if p.grad is not None))


def test_a_run_of_minutes_fits_its_schedule_into_them(tmp_path, monkeypatch):
    """With a clock that advances 0.1 s a look, the number of steps is fixed once and the run ends before its budget."""
    ticks = itertools.count()
    monkeypatch.setattr("shared.training.loop.time.monotonic", lambda: next(ticks) * 0.1)
    seen = []
    settings = TrainSettings(None, minutes=1.0, warmup=5)
    report = fit(Line(), squares, batch_at, settings=settings, out=tmp_path, observers=[lambda r: seen.append(r.steps)])
    assert report.finished and 40 < report.seconds <= 63
    assert seen[:20] == [0] * 20 and set(seen[20:]) == {report.steps}
    rates = [json.loads(line)["lr"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rates[-1] < 0.02 * max(rates)


def test_a_budget_that_ends_first_says_that_the_run_is_not_finished(tmp_path, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr("shared.training.loop.time.monotonic", lambda: next(ticks) * 1.0)
    settings = TrainSettings(1000, minutes=0.5)
    report = fit(Line(), squares, batch_at, settings=settings, out=tmp_path)
    assert not report.finished and 0 < report.step < 40
    monkeypatch.undo()
    more = TrainSettings(**vars(settings) | {"minutes": 30.0})
    report = fit(Line(), squares, batch_at, settings=more, out=tmp_path, resume=True)
    assert report.finished and report.step == 1000


@pytest.mark.parametrize(
    "options", [{"steps": None}, {"steps": 0}, {"steps": 5, "lr": -1.0}, {"steps": 5, "minutes": math.nan}]
)
def test_settings_that_cannot_work_are_refused(options):
    with pytest.raises(UserError, match="give"):
        TrainSettings(**options)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_shows_the_time_left_and_a_cut_line_is_dropped(tmp_path, monkeypatch):
    (tmp_path / journal.FILE).write_text('{"step": 1, "loss": 1}\n{"step": 2, "loss": 1}\n{"step": 3, "lo')
    now = [100.0]
    monkeypatch.setattr("shared.training.journal.time.monotonic", lambda: now[0])
    stream = Terminal()
    log = journal.Journal(tmp_path, after=1, stream=stream)
    now[0] = 110.0
    log.write(2, 12, loss=0.5)
    log.saved()
    assert "step 2/12  loss 0.5000  1 min 40 s left" in stream.getvalue()
    assert [json.loads(line)["step"] for line in (tmp_path / journal.FILE).read_text().splitlines()] == [1, 2]


def test_a_log_has_the_first_step_at_once(tmp_path, monkeypatch):
    now, stream = [0.0], io.StringIO()
    monkeypatch.setattr("shared.training.journal.time.monotonic", lambda: now[0])
    log = journal.Journal(tmp_path, after=7, stream=stream)
    now[0] = 1.5
    log.began(0.25)
    assert stream.getvalue() == "step 8  loss 0.2500  after 1.5 s\n"
    assert not (tmp_path / journal.FILE).read_text(), "metrics.jsonl has lines of log_every steps alone"


def test_the_time_left_of_a_run_of_so_many_minutes_is_never_more_than_they_leave(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("shared.training.journal.time.monotonic", lambda: now[0])
    log = journal.Journal(tmp_path, after=0, stream=io.StringIO())
    now[0] = 10.0
    log.write(10, 10**7, budget=90.0, loss=1.0)  # a million times ten seconds, were it not for the budget
    assert log.words == "step 10/?  loss 1.0000  1 min 30 s left"
    log.write(10, 20, budget=90.0, loss=1.0)
    assert log.words == "step 10/20  loss 1.0000  10 s left"
