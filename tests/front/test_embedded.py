"""A result picture alone is enough to make the result again, and a foreign picture can do no harm."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from shared.errors import UserError
from shared.front.command import command, invoke
from shared.front.embedded import SIDECAR, carried, sidecar_text, with_text
from shared.front.settings import read_json
from tests.front.sample_app import WALK


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (5, 4), (1, 2, 3)).save(buffer, "PNG")
    return buffer.getvalue()


def holding(sidecar: Mapping[str, object]) -> bytes:
    return with_text(picture(), {SIDECAR: json.dumps(sidecar, ensure_ascii=False), "Description": "SYNTHETIC"})


def test_what_is_put_in_is_read_back_here_and_by_pillow() -> None:
    body = holding({"seed": 7, "caption": "ein Kreis – ○"})
    assert json.loads(str(sidecar_text(body))) == {"seed": 7, "caption": "ein Kreis – ○"}
    image = Image.open(io.BytesIO(body))
    image.load()
    assert isinstance(image, PngImageFile)
    assert image.text["Description"] == "SYNTHETIC" and json.loads(image.text[SIDECAR])["seed"] == 7
    assert image.tobytes() == Image.open(io.BytesIO(picture())).tobytes()


@pytest.mark.parametrize("cut", [0, 5, 12, 33, 40, 60, 70])
def test_a_cut_or_foreign_file_has_no_sidecar_and_raises_nothing(cut: int) -> None:
    assert sidecar_text(holding({"seed": 7})[:cut]) is None
    assert sidecar_text(b"\xff\xd8" + bytes(200)) is None


def test_a_picture_without_settings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain.png"
    path.write_bytes(picture())
    with pytest.raises(UserError, match="is a picture without settings"):
        read_json(path)


def test_one_picture_with_its_input_is_enough_to_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("point.csv").write_text("9,9")  # another file of that name where the user happens to stand
    sidecar = {
        "operation": "sample_walk",
        "settings": {"start": "point.csv", "steps": 2, "version": 1},
        "files": {"point.csv": base64.b64encode(b"3,4").decode()},
    }
    (tmp_path / "made.png").write_bytes(holding(sidecar))
    arguments = ["--settings", str(tmp_path / "made.png"), "--out", str(tmp_path / "out")]
    assert invoke(command(WALK), arguments, program="walk") == 0
    assert (tmp_path / "out" / "walk.csv").read_text().startswith("3.0,4.0")


@pytest.mark.parametrize("name", ["../escape", "/etc/escape", "", ".", "a\0b", "x" * 400])
def test_a_carried_file_is_written_nowhere_else(name: str) -> None:
    assert carried({"files": {name: base64.b64encode(b"x").decode()}}, name) is None


def test_a_carried_file_that_is_no_base64_is_left_out() -> None:
    assert carried({"files": {"a.csv": "???"}}, "a.csv") is None
    assert carried({"files": ["a.csv"]}, "a.csv") is None
