"""A page never says another number than the one that was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.errors import UserError
from shared.measured import load, number, record
from suite import measured
from suite.apps import APPS
from tests.conftest import ROOT


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small repository: one recorded file, one page that quotes it and has not been filled yet."""
    record(
        "speed",
        {
            "call": {"value": 0.10987, "unit": "s", "digits": 2, "low": 0.101, "high": 0.121},
            "calls": {"value": 120},
            "arms": {"columns": ["arm", "Dice"], "rows": [["real", 0.61234], ["none", None]]},
        },
        command="make bench",
        folder=tmp_path / "docs" / "measured",
    )
    (tmp_path / "README.md").write_text(
        "A call takes <!-- measured speed.call --><!-- / -->, <!-- measured speed.calls -->7<!-- / --> of them.\n"
        "<!-- measured speed.arms -->\n<!-- / -->\n"
    )
    return tmp_path


def test_filled_page_shows_value_unit_and_interval(tree: Path) -> None:
    assert measured.main([], root=tree) == 0
    text = (tree / "README.md").read_text()
    assert "takes <!-- measured speed.call -->0.11 s (0.10 to 0.12)<!-- / -->," in text
    assert "-->120<!-- / --> of them" in text
    assert "\n| arm | Dice |\n| --- | --- |\n| real | 0.612 |\n| none | - |\n<!-- / -->" in text


def test_filling_twice_changes_nothing(tree: Path) -> None:
    measured.main([], root=tree)
    once = (tree / "README.md").read_text()
    measured.main([], root=tree)
    assert (tree / "README.md").read_text() == once


def test_check_fails_on_drift_and_leaves_the_page_alone(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (tree / "README.md").read_text()
    assert measured.main(["--check"], root=tree) == 1
    assert "README.md" in capsys.readouterr().err
    assert (tree / "README.md").read_text() == before
    measured.main([], root=tree)
    assert measured.main(["--check"], root=tree) == 0


def test_check_fails_when_one_digit_was_typed_by_hand(tree: Path) -> None:
    measured.main([], root=tree)
    page = tree / "README.md"
    page.write_text(page.read_text().replace("0.11 s", "0.10 s"))
    assert measured.main(["--check"], root=tree) == 1


@pytest.mark.parametrize("marker", ["speed.nothing", "nothing.call"])
def test_marker_of_a_number_that_was_never_measured_is_refused(
    tree: Path, marker: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "README.md").write_text(f"<!-- measured {marker} -->1<!-- / -->\n")
    assert measured.main(["--check"], root=tree) == 2
    assert "nothing" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "<!-- measured speed.calls -->1\n",
        "<!-- measured speed.calls -->1 <!-- measured speed.call -->2<!-- / -->\n",
    ],
)
def test_marker_that_is_not_closed_is_refused(tree: Path, text: str) -> None:
    (tree / "README.md").write_text(text)
    assert measured.main([], root=tree) == 2
    assert (tree / "README.md").read_text() == text


def test_every_bad_marker_and_every_drifted_page_is_said_at_once(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "docs" / "a.md").write_text(
        "<!-- measured speed.nothing -->1<!-- / --> <!-- measured no.call --><!-- / -->\n"
    )
    (tree / "docs" / "b.md").write_text("<!-- measured speed.calls -->120\n")
    assert measured.main(["--check"], root=tree) == 2
    said = capsys.readouterr().err
    for words in ("docs/a.md: speed.nothing: ", "docs/a.md: no.call: ", "docs/b.md: speed.calls: ", "in README.md; "):
        assert words in said
    assert len(said.splitlines()) == 4


def test_good_markers_beside_a_bad_one_are_filled(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tree / "README.md"
    page.write_text("<!-- measured speed.nothing -->1<!-- / --> <!-- measured speed.calls -->7<!-- / -->\n")
    assert measured.main([], root=tree) == 2
    assert page.read_text() == "<!-- measured speed.nothing -->1<!-- / --> <!-- measured speed.calls -->120<!-- / -->\n"
    assert "speed.nothing" in capsys.readouterr().err


def test_markers_inside_a_code_block_stay_as_they_are(tree: Path) -> None:
    text = "```\n<!-- measured speed.nothing -->1<!-- / -->\n```\n"
    assert measured.fill(text, {}, []) == text


def test_record_says_where_the_numbers_come_from(tree: Path) -> None:
    page = load(tree / "docs" / "measured")["speed"]
    assert page["command"] == "make bench" and page["machine"] and page["commit"] and page["load"] >= 0
    assert "make bench" in measured.fill("<!-- measured speed --><!-- / -->", {"speed": page}, [])


def test_file_without_its_origin_is_refused(tree: Path) -> None:
    (tree / "docs" / "measured" / "typed.json").write_text('{"entries": {}}')
    with pytest.raises(UserError, match="lacks command"):
        load(tree / "docs" / "measured")


def test_entry_that_no_page_could_show_is_refused_when_recorded(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a value nor columns"):
        record("empty", {"x": {"unit": "s"}}, command="x", folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_numbers_are_rounded_to_significant_digits() -> None:
    shown = [number(value, 3) for value in (1234.5, 0.00123456, 99.96, -2.5, 0.0, 7, None, "text")]
    assert shown == ["1230", "0.00123", "100", "-2.50", "0", "7", "-", "text"]


def test_what_a_card_says_is_quoted_like_a_measured_number(tree: Path) -> None:
    weights = [ROOT / path for app in APPS if app.slug == "image/shapes" for path in app.checkpoints]
    assert len(weights) == 2
    mib = sum(file.stat().st_size for file in weights) / 2**20
    minutes = sum(json.loads(file.with_suffix(".json").read_text())["minutes"] for file in weights)
    page = tree / "README.md"
    page.write_text(
        "| <!-- measured cards.image/shapes.mib -->7<!-- / --> "
        "| <!-- measured cards.image/shapes.minutes --><!-- / --> "
        "| <!-- measured cards.laboratory/experiment.mib --><!-- / --> |\n"
    )
    assert measured.main([], root=tree) == 0
    assert [cell["body"] for cell in measured.MARKED.finditer(page.read_text())] == [
        number(mib, 2),
        number(minutes, 2),
        "-",
    ]


@pytest.mark.parametrize("key", ["cards", "cards.medical/hearts.mib"])
def test_marker_of_a_card_that_is_not_there_is_refused(
    tree: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "README.md").write_text(f"<!-- measured {key} --><!-- / -->\n")
    assert measured.main(["--check"], root=tree) == 2
    assert f"README.md: {key}: " in capsys.readouterr().err


def test_pages_of_this_repository_agree_with_their_measurements() -> None:
    assert measured.main(["--check"]) == 0
