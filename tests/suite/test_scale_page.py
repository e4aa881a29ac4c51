"""docs/scale.md says what works: its Python runs, its list and its commands are ones that programs take."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from shared.front.command import load
from suite import batch
from suite.apps import RECIPES, built_apps
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "scale.md").read_text()
BLOCKS = re.findall(r"```(\w+) ([^\n]+)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [
    shlex.split(line.replace("\\\n", " "), comments=True)
    for line in re.findall(
        r"^    ((?:[^\n]*\\\n)*[^\n]+)$", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL), re.MULTILINE
    )
]
LIST = next(text for _, name, text in BLOCKS if name == "list.jsonl")


@pytest.mark.parametrize("name", [name for kind, name, _ in BLOCKS if kind == "python"])
def test_the_python_of_the_page_runs(name: str, tmp_path: Path) -> None:
    program = tmp_path / "snippet.py"
    program.write_text(next(text for _, other, text in BLOCKS if other == name))
    done = subprocess.run(
        [sys.executable, program], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    if name == "one machine":
        assert "calls=40" in done.stdout and "batches=20" in done.stdout


@pytest.mark.parametrize("words", [c for c in COMMANDS if c[:2] == ["suite", "batch"]], ids=" ".join)
def test_every_batch_command_is_one_that_the_suite_takes(words: list[str], tmp_path: Path) -> None:
    context = batch.command.make_context("batch", words[2:])
    assert context.params["launcher"] in ("local", "ray")
    file = tmp_path / "list.jsonl"
    file.write_text(LIST)
    tables = {app.slug: app.operations for app in built_apps()}
    jobs = batch.jobs_of(context.params["operation"], tables, file, tmp_path / "out")
    assert [job["settings"]["seed"] for job in jobs] == [json.loads(line)["seed"] for line in LIST.splitlines()]


@pytest.mark.parametrize("words", [c for c in COMMANDS if "suite.cli" in c], ids=" ".join)
def test_every_training_command_is_one_that_launcher_and_suite_take(words: list[str]) -> None:
    own = words[words.index("suite.cli") + 1 :]
    train: click.Command = load("suite.train:command")
    assert own[0] == "train" and train.make_context("train", own[1:]).params["recipe"] in RECIPES
    before = [word for word in words[: words.index("suite.cli") - 1] if "=" not in word]
    if before[0] == "accelerate":
        from accelerate.commands.launch import launch_command_parser

        args = launch_command_parser().parse_args([*before[2:], "-m", "suite.cli"])
        assert (ROOT / args.config_file).is_file()
    else:
        from torch.distributed.run import get_args_parser

        assert get_args_parser().parse_args([*before[3:], "-m", "suite.cli"]).nproc_per_node == "2"


def test_no_command_of_the_page_is_left_untested() -> None:
    known = [c for c in COMMANDS if c[:2] in (["suite", "batch"], ["ray", "start"]) or "suite.cli" in c]
    assert known == COMMANDS and len(known) >= 9


@pytest.mark.prove
def test_the_batch_of_the_page_makes_its_lesions(tmp_path: Path) -> None:
    from shared.front.command import invoke

    file = tmp_path / "list.jsonl"
    file.write_text(LIST)
    words = ["medical_add_lesions", "--settings", str(file), "--out", str(tmp_path / "out"), "--workers", "2"]
    assert invoke(batch.command, words, program="suite batch") == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["done"] == 2 and summary["failed"] == {}
    assert list((tmp_path / "out" / "00002").glob("*.nii.gz"))
