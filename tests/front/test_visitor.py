"""What a visitor of a server may name: uploads, examples and data URLs; never a path of the server."""

from __future__ import annotations

import base64
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from shared.errors import UserError
from shared.front import visitor
from shared.front.jobs import JobRunner
from shared.front.operation import Outcome
from shared.front.visitor import delivering, discard, submit
from tests.front.sample_app import WALK


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setattr(visitor, "_uploads", lambda: folder.resolve())
    return folder


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of results that no server of another test shares."""
    folder = tmp_path / "results"
    folder.mkdir()
    monkeypatch.setattr(visitor, "_results", lambda: folder.resolve())


def ask(start: Any, **more: Any) -> Outcome:
    return submit(WALK, {"start": start, "steps": 2, **more}, JobRunner()).outcome()


def left_over() -> list[Path]:
    return list(visitor._results().iterdir())


def test_uploads_examples_and_data_urls_are_taken(uploads: Path) -> None:
    (uploads / "p.csv").write_text("1,2")
    data = "data:text/csv;name=q.csv;base64," + base64.b64encode(b"1,2").decode()
    unnamed = "data:text/csv;base64," + base64.b64encode(b"1,2").decode()
    given = ["example:corner", "corner", str(uploads / "p.csv"), {"path": str(uploads / "p.csv")}, data, unnamed]
    for start in given:
        outcome = ask(start)
        assert outcome.files[0].is_file()
        discard(outcome)
    assert left_over() == []


def test_a_path_of_the_server_is_refused_in_any_disguise(uploads: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("1,2")
    (uploads / "link.csv").symlink_to(secret)
    disguises = [
        str(secret),
        {"path": str(secret), "meta": {"_type": "gradio.FileData"}},
        str(uploads / ".." / "secret.csv"),
        str(uploads / "link.csv"),
        "secret.csv",
        "http://127.0.0.1/secret.csv",
        "file://" + str(secret),
        {"path": None},
        {"path": 3},
        "",
        7,
        "data:text/csv;base64,####",
        "data:text/csv;name=../../x.csv;base64,MSwy",
        str(secret) + "\0.csv",
    ]
    for start in disguises:
        with pytest.raises(UserError, match=r"upload|data: URL"):
            ask(start)
    with pytest.raises(UserError, match="names no uploaded file"):
        ask("example:origin", layers={"a": str(secret)})
    assert left_over() == []


def test_the_folder_for_results_is_the_servers_choice(tmp_path: Path) -> None:
    outcome = ask("example:origin", out=str(tmp_path / "mine"))
    assert not (tmp_path / "mine").exists() and visitor._results() in outcome.files[0].parents
    discard(outcome)


def test_a_failed_run_leaves_no_files(uploads: Path) -> None:
    (uploads / "bad.csv").write_text("no numbers")
    with pytest.raises(UserError, match=r"bad.csv: is not a point"):
        ask(str(uploads / "bad.csv"))
    assert left_over() == []


def test_files_are_removed_though_the_visitor_left_before_they_were_all_taken() -> None:
    outcome = ask("example:origin")

    def handler() -> Generator[Path]:
        with delivering(outcome):
            yield outcome.files[0]

    held = handler()
    assert next(held).is_file()
    held.close()  # as the server does with what nobody follows any more
    assert left_over() == []


def test_files_that_are_no_results_of_a_visitor_are_never_removed(tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.touch()
    discard(Outcome("", (mine,)))
    assert mine.exists()
