"""A page never says another number than the one that was measured."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from shared.errors import UserError
from shared.measured import digest, kept, load, number, record
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


def test_part_of_a_stopped_measurement_is_made_once_and_read_again(tmp_path: Path) -> None:
    made_by = {"weights": "ab", "code": "cd"}
    assert kept(tmp_path / "a.json", made_by, lambda: {"value": 1.5})["value"] == 1.5
    again = kept(tmp_path / "a.json", made_by, lambda: pytest.fail("it was there"))
    assert again["value"] == 1.5 and again["made_by"] == made_by


@pytest.mark.parametrize(
    ("made_by", "sentence"),
    [
        ({"weights": "other", "code": "cd"}, "was made with another weights; choose another folder, or remove it"),
        ({"weights": "ab", "code": "cd", "plan": "new"}, "was made with another plan; "),
        ({"weights": "x", "code": "y"}, "was made with another weights and another code; "),
        ({"code": "cd"}, "was made with another weights; "),
    ],
)
def test_part_that_something_else_made_is_refused(tmp_path: Path, made_by: dict[str, str], sentence: str) -> None:
    path = tmp_path / "a.json"
    kept(path, {"weights": "ab", "code": "cd"}, lambda: {"value": 1.5})
    with pytest.raises(UserError, match=f"a.json: {sentence}"):
        kept(path, made_by, lambda: pytest.fail("a part of something else is in its place"))


def test_part_that_does_not_say_what_made_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"value": 1.5}')
    with pytest.raises(UserError, match="was made with another code"):
        kept(tmp_path / "a.json", {"code": "cd"}, dict)


def test_digest_of_files_knows_each_name_and_each_byte(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("ab")
    two.write_text("c")
    first = digest([one, two])
    assert first == digest([two, one])
    one.write_text("a")
    two.write_text("bc")
    assert digest([one, two]) != first
    assert digest([one]) != digest([one.rename(tmp_path / "three")])


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed repository with a file of code and a recorded page, in the place of this one."""
    folder = tmp_path / "checkout"
    (folder / "docs" / "measured").mkdir(parents=True)
    (folder / "code.py").write_text("x = 1\n")
    (folder / "docs" / "measured" / "old.json").write_text("{}")
    who = ["-c", "user.name=Nobody", "-c", "user.email=nobody@localhost"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "Begin"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    monkeypatch.setattr("shared.measured.ROOT", folder)
    return folder


def test_record_says_loudly_what_the_commit_does_not_hold(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "code.py").write_text("x = 2\n")
    (checkout / "new.py").write_text("y = 1\n")
    path = record("speed", {"call": {"value": 1}}, command="x", folder=checkout / "docs" / "measured")
    assert json.loads(path.read_text())["commit"].endswith("-dirty")
    said = capsys.readouterr().err
    assert said.startswith("WARNING: ") and said.count("\n") == 1
    assert (
        "code.py" in said and "new.py" in said and "docs/measured" not in said.replace("docs/measured/speed.json", "")
    )


def test_record_is_quiet_where_only_measured_numbers_differ(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "docs" / "measured" / "old.json").write_text("{ }")
    (checkout / "docs" / "measured" / "new.json").write_text("{}")
    path = record("speed", {"call": {"value": 1}}, command="x", folder=checkout / "docs" / "measured")
    assert capsys.readouterr().err == ""
    assert re.fullmatch("[0-9a-f]+", json.loads(path.read_text())["commit"])


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
