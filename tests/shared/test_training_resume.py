"""A run that is killed with SIGKILL at any step and resumed ends with the weights of one that was left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from shared.errors import Cancelled, UserError
from shared.networks.unet import UNet, UNetConfig
from shared.training import state
from shared.training.loop import TrainReport, TrainSettings, fit

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[2]

# Dropout, noise in the loss, weights of rows and bfloat16: everything that could make a second run differ. The state is
# saved about every 60 ms, so that a kill falls between two saves or into one.
SETTINGS = TrainSettings(steps=40, warmup=5, lr=1e-2, bf16=True, save_minutes=0.001, log_every=1, seed=3)


def network() -> UNet:
    torch.manual_seed(0)
    return UNet(UNetConfig(2, 1, 1, channels=(8, 16), blocks=1, vectors={"size": 1}, attention=(1,), dropout=0.2))


def batch_at(step: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    size = torch.rand(4, 1, generator=generator)
    x = torch.randn(4, 1, 16, 16, generator=generator) * size[:, :, None, None]
    return {"x": x, "size": size, "row_weight": torch.rand(4, generator=generator)}


def loss(net: torch.nn.Module, batch: dict[str, torch.Tensor], generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(batch["x"].shape, generator=generator)
    said = net(batch["x"] + noise, torch.ones(4), {"size": batch["size"]})
    return (said.float() - noise).abs().flatten(1).mean(1)


def run(out: Path, **options) -> tuple[UNet, TrainReport]:
    net = network()
    return net, fit(net, loss, batch_at, settings=SETTINGS, out=out, **options)


def said(report: TrainReport) -> None:
    print(report.step, flush=True)


def test_a_killed_run_resumes_to_the_bit(tmp_path):
    straight, whole = run(tmp_path / "straight")
    fatal = random.SystemRandom().randrange(4, 38)
    child = subprocess.Popen(
        [sys.executable, __file__, str(tmp_path / "killed")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) >= fatal:
            child.send_signal(signal.SIGKILL)
            break
    child.wait()
    child.stdout.close()
    assert child.returncode == -signal.SIGKILL, fatal
    left = {file.name for file in (tmp_path / "killed").iterdir() if not file.name.startswith(".partial-")}
    assert left == {state.FILE, "metrics.jsonl"}, fatal  # the state is whole whenever the kill fell
    resumed, report = run(tmp_path / "killed", resume=True)
    assert report.finished and report.rows == whole.rows == 160
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), (name, fatal)
        assert torch.equal(whole.ema[name], report.ema[name]), (name, fatal)
    lines = [json.loads(line) for line in (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()]
    other = [json.loads(line) for line in (tmp_path / "straight" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 41))
    for key in ("loss", "grad_norm", "lr"):
        assert [line[key] for line in lines] == [line[key] for line in other]
    assert sorted(os.listdir(tmp_path / "killed")) == ["metrics.jsonl", state.FILE]  # what the kill left is swept


def test_a_cancelled_run_saves_where_it_stands_and_resumes_to_the_bit(tmp_path):
    def stop(report: TrainReport) -> None:
        if report.step == 7:
            raise Cancelled

    with pytest.raises(Cancelled):
        run(tmp_path / "stopped", observers=[stop])
    steps = []
    resumed, _ = run(tmp_path / "stopped", resume=True, observers=[lambda report: steps.append(report.step)])
    assert steps == list(range(8, 41))
    straight, _ = run(tmp_path / "straight")
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))


def test_another_seed_gives_other_weights(tmp_path):
    """The negative control: the equality above is not that of a run that ignores its batches and noise."""
    one, _ = run(tmp_path / "one")
    two = network()
    fit(two, loss, batch_at, settings=TrainSettings(**vars(SETTINGS) | {"seed": 4}), out=tmp_path / "two")
    assert not torch.equal(one.head.weight, two.head.weight)


def test_resuming_refuses_other_settings_and_names_them(tmp_path):
    run(tmp_path)
    changed = TrainSettings(**vars(SETTINGS) | {"lr": 0.5, "minutes": 3.0, "log_every": 7})
    with pytest.raises(UserError, match=r"other settings \(lr was 0.01, is 0.5\)"):
        fit(network(), loss, batch_at, settings=changed, out=tmp_path, resume=True)


def test_a_state_of_another_network_is_refused_and_changes_nothing(tmp_path):
    run(tmp_path)
    other = UNet(UNetConfig(2, 1, 1, channels=(8, 24), blocks=1))
    before = [p.clone() for p in other.parameters()]
    with pytest.raises(UserError, match="does not fit the network"):
        fit(other, loss, batch_at, settings=SETTINGS, out=tmp_path, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(before, other.parameters(), strict=True))


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_damaged_state_is_one_sentence(tmp_path, content):
    (tmp_path / state.FILE).write_bytes(content)
    with pytest.raises(UserError, match="is no training state"):
        run(tmp_path, resume=True)


def test_resuming_nothing_and_overwriting_something_are_refused(tmp_path):
    with pytest.raises(UserError, match="no training state to resume"):
        run(tmp_path, resume=True)
    run(tmp_path)
    with pytest.raises(UserError, match="holds a training run already"):
        run(tmp_path)


if __name__ == "__main__":
    run(Path(sys.argv[1]), observers=[said])
