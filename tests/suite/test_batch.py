"""One operation over a list of settings: items appear whole, are made once, and a killed batch goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from shared.front.command import invoke
from suite import batch
from tests.conftest import ROOT
from tests.front import sample_app

PROGRAM = """
import sys
from unittest.mock import patch
from shared.front.command import invoke
from tests.front.sample_app import APP

if __name__ == "__main__":
    with patch("suite.apps.built_apps", lambda: (APP,)):
        from suite.batch import command
        sys.exit(invoke(command, sys.argv[1:], program="suite batch"))
"""


@pytest.fixture(autouse=True)
def one_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.apps.built_apps", lambda: (sample_app.APP,))


def listed(folder: Path, *settings: object) -> Path:
    file = folder / "list.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in settings) + "\n")
    return file


def walks(count: int, **options) -> list[dict]:
    return [{"start": "origin", "steps": 4, "seed": seed, **options} for seed in range(count)]


def ask(*words: object) -> int:
    return invoke(batch.command, [str(word) for word in words], program="suite batch")


def test_each_line_becomes_an_item_with_its_settings_and_a_summary_lists_them(tmp_path, capsys) -> None:
    file = listed(tmp_path, *walks(2), "", {"start": "corner", "closed": True})
    assert ask("sample_walk", "--settings", file, "--out", tmp_path / "out") == 0
    assert "3 of 3 items" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["00001", "00002", "00003", "summary.json"]
    for number in ("00001", "00002", "00003"):
        folder = tmp_path / "out" / number
        assert sorted(p.name for p in folder.iterdir()) == ["item.json", "walk.csv", "walk.json"]
    item = json.loads((tmp_path / "out" / "00002" / "item.json").read_text())
    assert item["files"] == ["walk.csv", "walk.json"] and item["settings"]["seed"] == 1 and "far" in item["report"]
    sidecar = json.loads((tmp_path / "out" / "00002" / "walk.json").read_text())
    assert sidecar["settings"]["seed"] == 1
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["done"] == 3 and summary["sentences"]["00001"].startswith("4 steps")


def test_an_item_is_what_the_operation_alone_makes(tmp_path) -> None:
    (settings,) = walks(1, stride=2.0)
    assert ask("sample_walk", "--settings", listed(tmp_path, settings), "--out", tmp_path / "out") == 0
    alone = sample_app.Walk(**settings, out=str(tmp_path / "alone"))
    sample_app.walk(alone, lambda *_, **__: None)
    assert (tmp_path / "out" / "00001" / "walk.csv").read_bytes() == (tmp_path / "alone" / "walk.csv").read_bytes()


def test_a_failed_item_leaves_nothing_and_resuming_makes_it_alone(tmp_path, capsys) -> None:
    (tmp_path / "point.csv").write_text("not a point\n")
    file = listed(tmp_path, *walks(1), {"start": "point.csv"})  # found beside the list
    assert ask("sample_walk", "--settings", file, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "1 of 2 items failed (00002: point.csv: is not a point; give one line x,y)" in said and said.count("\n") == 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["00001", "summary.json"]
    before = (tmp_path / "out" / "00001" / "item.json").stat().st_mtime_ns
    (tmp_path / "point.csv").write_text("1,2\n")
    assert ask("sample_walk", "--settings", file, "--out", tmp_path / "out", "--resume") == 0
    assert (tmp_path / "out" / "00001" / "item.json").stat().st_mtime_ns == before
    assert (tmp_path / "out" / "00002" / "walk.csv").is_file()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["{"], "list.jsonl, line 1: is not JSON"),
        ([{"start": "origin"}, [1]], "line 2: is no object of settings"),
        ([{"start": "origin"}, "", {"start": "origin", "steps": 0}], "line 3, --steps: 0 is out of range"),
        ([{"start": "origin", "stepps": 3}], "line 1, settings: unknown option 'stepps'"),
        ([{"steps": 3}], "line 1: missing --start"),
        ([{"start": "origin", "out": "x"}], "line 1: names 'out', which --out gives"),
        ([""], "holds no settings"),
    ],
)
def test_a_line_that_is_no_settings_is_refused_before_anything_is_made(tmp_path, capsys, lines, words) -> None:
    assert ask("sample_walk", "--settings", listed(tmp_path, *lines), "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_does_not_fit_together_is_refused(tmp_path, capsys) -> None:
    file = listed(tmp_path, *walks(2))
    for words, sentence in (
        (
            ("sample_jump", "--settings", file, "--out", tmp_path / "out"),
            "no operation 'sample_jump'; the operations are",
        ),
        (("sample_walk", "--out", tmp_path / "out"), "--settings and --out are needed"),
        (("sample_walk", "--settings", tmp_path / "none", "--out", tmp_path / "out"), "cannot be read"),
        (("sample_walk", "--settings", file, "--out", tmp_path / "out", "--address", "auto"), "--address is of Ray"),
        (("sample_walk", "--settings", file, "--out", tmp_path), "holds files already"),
    ):
        assert ask(*words) == 2
        assert sentence in capsys.readouterr().err
    assert ask("sample_walk", "--settings", file, "--out", tmp_path / "out") == 0
    other = listed(tmp_path, *walks(2, stride=3.0))
    assert ask("sample_walk", "--settings", other, "--out", tmp_path / "out", "--resume") == 2
    assert "00001: was made with other settings" in capsys.readouterr().err


def test_a_killed_batch_resumes_without_redoing_what_is_done(tmp_path) -> None:
    """Two workers, long items: the whole tree is killed once the first item is there, then resumed."""
    file = listed(tmp_path, *walks(2, steps=1), *walks(3, steps=200, pause=0.02))
    words = ["sample_walk", "--settings", str(file), "--out", str(tmp_path / "out"), "--workers", "2"]
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def start(*more: str) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, str(program), *words, *more], env=env, cwd=ROOT)

    child = start()
    while not (tmp_path / "out" / "00001").is_dir():
        assert child.poll() is None
        psutil.wait_procs([psutil.Process(child.pid)], timeout=0.05)
    workers = psutil.Process(child.pid).children(recursive=True)
    child.send_signal(signal.SIGKILL)  # the parent alone: its workers must notice
    child.wait()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
    there = {p.name: (p / "item.json").stat().st_mtime_ns for p in (tmp_path / "out").glob("0*")}
    assert "00001" in there and len(there) < 5
    assert start("--resume").wait() == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [*(f"0000{n}" for n in range(1, 6)), "summary.json"]
    for name, made in there.items():
        assert (tmp_path / "out" / name / "item.json").stat().st_mtime_ns == made
