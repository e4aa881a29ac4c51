"""The page of the ledger says what the ledger says; a result changes numbers and never the claim."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from suite import ledger_page
from suite.papers import LEDGER, papers, record


def test_every_paper_stands_on_the_page_once() -> None:
    text = ledger_page.page()
    assert all(text.count(f"| `{entry.slug}` |") == 1 for entry in papers())


def test_drift_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_page, "PAGE", tmp_path / "papers.md")
    assert ledger_page.main(["--check"]) == 1
    assert ledger_page.main([]) == 0
    assert ledger_page.main(["--check"]) == 0
    (tmp_path / "papers.md").write_text(ledger_page.page().replace("not built", "held", 1))
    assert ledger_page.main(["--check"]) == 1


def test_a_result_never_touches_claim_threshold_or_rule(tmp_path: Path) -> None:
    before = json.loads((LEDGER / "lefusion.json").read_text())
    (tmp_path / "lefusion.json").write_text(json.dumps(before))
    record(
        {"slug": "lefusion", "claim": "easier", "threshold": 0.1, "rule": "any", "status": "held", "measured": 0.9,
         "seeds": [3], "seconds": 2.0},
        tmp_path,
    )  # fmt: skip
    after = json.loads((tmp_path / "lefusion.json").read_text())
    assert (after["claim"], after["threshold"], after["rule"]) == (before["claim"], before["threshold"], before["rule"])
    assert (after["status"], after["measured"], after["seeds"]) == ("held", 0.9, [3])
