"""The proof of the lesions' quality goes on where it was stopped, and mixes nothing of other weights into its table."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.proof import lesion_quality
from shared.errors import UserError

FILES = {"weights": "WEIGHTS", "presets": "PRESETS_FILE", "reference": "REFERENCE"}


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The cases that are measured: a stand-in for hours of sampling, with files of its own."""
    made: list[int] = []

    def measured(index: int, guidance: float, model: Any, reference: Any) -> dict[str, Any]:
        made.append(index)
        return {"diameter": 3, "preset": "faint", "redraws": 0, "reasons": [], "passed": True}

    monkeypatch.setattr(lesion_quality, "measured", measured)
    monkeypatch.setattr(lesion_quality.LesionModel, "from_pretrained", lambda: None)
    monkeypatch.setattr(lesion_quality.Reference, "load", lambda: None)
    monkeypatch.setattr(lesion_quality, "DIAMETERS", (3, 5))
    for name in FILES.values():
        shipped = getattr(lesion_quality, name)
        for file in {shipped, shipped.with_suffix(".json")}:
            shutil.copy(file, tmp_path)
        monkeypatch.setattr(lesion_quality, name, tmp_path / shipped.name)
    return made


def test_a_stopped_proof_measures_only_what_is_left(asked: list[int], tmp_path: Path) -> None:
    said: list[str] = []
    first = lesion_quality.all_cases(tmp_path / "out", said.append)
    assert len(asked) == len(said) == 2 * len(lesion_quality.ARMS) * lesion_quality.EACH
    (tmp_path / "out" / "3-1.json").unlink()
    assert lesion_quality.all_cases(tmp_path / "out", said.append) == first
    assert asked[-1] == 3 and len(asked) == len(said) == 2 * len(lesion_quality.ARMS) * lesion_quality.EACH + 1


@pytest.mark.parametrize("what", FILES)
def test_cases_of_other_files_are_refused_by_what_differs(what: str, asked: list[int], tmp_path: Path) -> None:
    lesion_quality.all_cases(tmp_path / "out", lambda line: None)
    with getattr(lesion_quality, FILES[what]).open("ab") as file:
        file.write(b" ")
    before = len(asked)
    with pytest.raises(UserError, match=f"0-0.json: was made with another {what}; choose another folder, or remove it"):
        lesion_quality.all_cases(tmp_path / "out", lambda line: None)
    assert len(asked) == before


@pytest.mark.parametrize(("name", "what"), [("FIRST_SEED", "plan"), ("CODE", "code")])
def test_cases_of_another_plan_or_other_code_are_refused(
    name: str, what: str, asked: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lesion_quality.all_cases(tmp_path / "out", lambda line: None)
    (tmp_path / "add.py").write_text("changed = True\n")
    other = {"FIRST_SEED": 7, "CODE": (*lesion_quality.CODE[1:], tmp_path / "add.py")}
    monkeypatch.setattr(lesion_quality, name, other[name])
    with pytest.raises(UserError, match=f"was made with another {what}; "):
        lesion_quality.all_cases(tmp_path / "out", lambda line: None)
