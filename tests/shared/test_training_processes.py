"""Two processes train as one does with all the rows, in copies and in shards; killed, they resume to the bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from shared.errors import UserError
from shared.training.loop import TrainSettings, fit
from tests.conftest import ROOT
from tests.shared.training_processes import EQUAL, LONG, Stack, joined, noisy, plain
from tests.shared.training_processes import batch_at as one_batch

PROGRAM = ROOT / "tests" / "shared" / "training_processes.py"
CONFIGS = ROOT / "shared" / "training" / "configs"


def launched(folder: Path, plan: str) -> list[str]:
    """The command that starts two processes on this machine's CPU."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return [*launcher, str(PROGRAM), plan, str(folder)]


def environment(shards: bool) -> dict[str, str]:
    """What `accelerate launch` sets for processes of a configuration, and one thread each."""
    own = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return {**own, **configured("fsdp.yaml", "--fsdp_transformer_layer_cls_to_wrap", "Layer")} if shards else own


def configured(name: str, *options: str) -> dict[str, str]:
    """The variables by which `accelerate launch --config_file NAME` tells its processes what to do."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    words = ["--config_file", str(CONFIGS / name), *options, "--num_processes", "2", str(PROGRAM)]
    args, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    found = prepare_multi_gpu_env(args)
    return {key: value for key, value in found.items() if key.startswith(("ACCELERATE_USE_FSDP", "FSDP_"))}


def started(folder: Path, plan: str, shards: bool = False) -> subprocess.Popen:
    return subprocess.Popen(
        launched(folder, plan),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(shards),
        cwd=ROOT,
    )


def done(folder: Path, plan: str, shards: bool = False) -> Path:
    child = started(folder, plan, shards)
    said, _ = child.communicate()
    assert child.returncode == 0, said
    return folder


@pytest.fixture(scope="module", params=["copies", "shards"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which two processes have done all the runs of the plan `together`."""
    return done(tmp_path_factory.mktemp(request.param), "together", request.param == "shards")


def test_a_step_of_two_processes_is_that_of_one_with_all_the_rows(both: Path, tmp_path: Path) -> None:
    alone = Stack(dropout=False)
    report = fit(alone, plain, joined, settings=EQUAL, out=tmp_path)
    found = load_file(both / "equal.safetensors")
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(found[f"ema/{name}"], report.ema[name], rtol=1e-9, atol=1e-12)
    grads = {name: p.grad for name, p in alone.named_parameters() if f"grad/{name}" in found}
    assert bool(grads) == both.name.startswith("copies")  # shards are of a copy of the network
    for name, grad in grads.items():
        assert grad is not None
        torch.testing.assert_close(found[f"grad/{name}"], grad, rtol=1e-6, atol=1e-9)
    for theirs, mine in zip(lines(both / "equal"), lines(tmp_path), strict=True):
        for key in ("loss", "grad_norm"):
            assert theirs[key] == pytest.approx(mine[key], rel=1e-9)
        assert theirs["lr"] == mine["lr"]


def test_the_saved_state_of_two_processes_is_whole(both: Path) -> None:
    saved = load_file(both / "equal" / "training.safetensors")
    wanted = Stack().state_dict()
    for name, value in wanted.items():
        for key in (f"network/{name}", f"ema/{name}", f"optimizer/{name}/exp_avg", f"optimizer/{name}/exp_avg_sq"):
            assert saved[key].shape == value.shape
    assert report_rows(both / "equal") == sum(len(joined(step)["x"]) for step in range(4))


def test_one_process_that_is_told_to_stop_stops_both_and_they_resume_to_the_bit(both: Path) -> None:
    found, whole = load_file(both / "stopped.safetensors"), load_file(both / "straight.safetensors")
    assert int(found.pop("first")) == 8
    assert found.keys() == whole.keys() and all(torch.equal(found[name], whole[name]) for name in whole)


@pytest.mark.parametrize("both", ["copies"], indirect=True)
def test_two_processes_that_are_killed_resume_to_the_bit(both: Path, tmp_path: Path) -> None:
    whole = load_file(both / "straight.safetensors")
    fatal = random.SystemRandom().randrange(4, 27)
    child = started(tmp_path, "killed")
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip() == f"step {fatal}":
            workers = psutil.Process(child.pid).children(recursive=True)
            for process in (*workers, psutil.Process(child.pid)):
                process.send_signal(signal.SIGKILL)
            psutil.wait_procs(workers, timeout=30)
            break
    child.wait()
    child.stdout.close()
    assert child.returncode == -signal.SIGKILL, fatal
    done(tmp_path, "resumed")
    found = load_file(tmp_path / "killed.safetensors")
    assert 1 < int(found.pop("first")) <= fatal + 1
    for name, value in whole.items():
        assert torch.equal(found[name], value), (name, fatal)
    assert [line["loss"] for line in lines(tmp_path / "killed")] == [line["loss"] for line in lines(both / "straight")]


def test_a_run_of_two_processes_is_not_resumed_by_one(both: Path) -> None:
    with pytest.raises(UserError, match="processes was 2, is 1"):
        fit(Stack(), noisy, one_batch, settings=LONG, out=both / "straight", resume=True)


def test_the_configurations_are_ones_that_accelerate_takes() -> None:
    assert configured("ddp.yaml") == {}
    found = configured("fsdp.yaml")
    assert found["ACCELERATE_USE_FSDP"] == "true" and found["FSDP_VERSION"] == "2"
    assert "DiTBlock" in found["FSDP_TRANSFORMER_CLS_TO_WRAP"].split(",")
    assert found["FSDP_RESHARD_AFTER_FORWARD"] == "true"


def test_shards_of_a_class_that_the_network_lacks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from shared.training import processes

    monkeypatch.setenv("FSDP_TRANSFORMER_CLS_TO_WRAP", "BertLayer")
    monkeypatch.setattr("torch.distributed.device_mesh.init_device_mesh", lambda *a: None)
    with pytest.raises(UserError, match=r"the network has no BertLayer.*Layer, Linear"):
        processes._sharded(Stack(), torch.device("cpu"), 2)


def test_a_state_from_before_processes_were_counted_is_one_of_one(tmp_path: Path) -> None:
    settings = TrainSettings(steps=2, warmup=1, log_every=1)
    from safetensors import safe_open
    from safetensors.torch import save_file

    fit(Stack(), noisy, one_batch, settings=settings, out=tmp_path)
    path = tmp_path / "training.safetensors"
    with safe_open(path, framework="pt") as file:
        header, tensors = json.loads(file.metadata()["training"]), {name: file.get_tensor(name) for name in file.keys()}
    del header["settings"]["processes"]
    save_file(tensors, path, metadata={"training": json.dumps(header)})
    assert fit(Stack(), noisy, one_batch, settings=settings, out=tmp_path, resume=True).finished


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def report_rows(folder: Path) -> int:
    from shared.training import state

    return state.read(folder).progress.rows
