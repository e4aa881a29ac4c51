"""The paper ledger: fifty entries, honest statuses, experiments found by slug."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from suite import papers as ledger
from suite.apps import ROOT
from suite.cli import main
from suite.papers import papers, run_experiment

KEYS = (
    "slug title gives module claim status threshold rule measured baseline ci_low ci_high seeds negative_control "
    "seconds date machine commit command"
)


def test_all_fifty_papers_are_listed_once_with_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["papers", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["number"] for row in rows] == list(range(1, 51))
    assert len({row["slug"] for row in rows}) == 50
    for row in rows:
        assert set(KEYS.split()) <= set(row) and row["gives"] and row["claim"] and row["title"]


def test_what_is_not_built_claims_nothing() -> None:
    for paper in papers():
        if paper.status == "not built":
            assert paper.module is None and paper.measured is None and paper.date is None
        else:
            assert (ROOT / str(paper.module)).exists(), f"{paper.slug}: {paper.module} is absent"


def test_a_verdict_needs_numbers_seeds_and_a_control() -> None:
    for paper in papers():
        if paper.status in ledger.VERDICTS:
            assert paper.measured is not None and paper.threshold is not None and paper.rule
            assert len(paper.seeds) >= 5 and paper.negative_control is not None and paper.command


def test_a_paper_without_an_experiment_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    slug = next(paper.slug for paper in papers() if paper.status == "not built")
    assert main(["papers", "run", slug, "--out", str(tmp_path / "r")]) == 2
    assert f"{slug} has no experiment yet (status: not built)" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.fixture
def experiment(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A stand-in for the experiment of one paper, so that the runner is tested whatever is built."""
    module = types.ModuleType("suite.experiments.direct_inversion")

    def run(seed: int, out: Path) -> dict[str, Any]:
        (out / "direct-inversion.png").write_bytes(b"plot")
        return {"status": "held", "measured": 0.1 * seed, "baseline": 1.0, "negative_control": 2.0}

    module.run = run  # type: ignore[attr-defined]
    module.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_a_file_as_the_folder_of_results_is_refused_before_the_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ledger, "run_experiment", lambda *_, **__: pytest.fail("the experiment was begun"))
    taken = tmp_path / "results"
    taken.touch()
    assert main(["papers", "run", "bdia", "--out", str(taken)]) == 2
    told = capsys.readouterr().err
    assert "is a file" in told and told.count("\n") == 1


def test_an_experiment_gives_json_plot_and_verdict(
    experiment: types.ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["papers", "run", "direct-inversion", "--seed", "3", "--out", str(tmp_path / "r")]) == 0
    assert "direct-inversion: held" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["direct-inversion.json", "direct-inversion.png"]
    result = json.loads((tmp_path / "r" / "direct-inversion.json").read_text())
    assert result["seeds"] == [3] and result["command"] == "suite papers run direct-inversion --seed 3"
    assert result["measured"] == pytest.approx(0.3) and result["versions"]["torch"]


def test_a_verdict_that_is_no_word_of_the_ledger_is_refused(
    experiment: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "run", lambda seed, out: {"status": "great"})
    with pytest.raises(ValueError, match="the verdict 'great'"):
        run_experiment("direct-inversion", seed=0, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"extra": 1}, "missing or unknown"),
        ({"status": "fine"}, "status 'fine'"),
        ({"module": "x"}, "exclude each other"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, said: str) -> None:
    entry = json.loads((ledger.LEDGER / "gdss.json").read_text())
    (tmp_path / "gdss.json").write_text(json.dumps({**entry, "module": None, "status": "not built", **change}))
    monkeypatch.setattr(ledger, "LEDGER", tmp_path)
    with pytest.raises(ValueError, match=said):
        papers()
