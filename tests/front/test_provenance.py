"""Provenance: enough to do it again, and nothing that names a place on the user's disk."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path

from shared.front.command import command, invoke
from shared.front.provenance import command_line, portable, provenance, sha256
from tests.front.sample_app import WALK, Walk


def make(tmp_path: Path) -> tuple[Walk, Path]:
    point = tmp_path / "patient Doe" / "point.csv"
    point.parent.mkdir()
    point.write_text("1,2")
    layers = {"T1": str(point), "": str(point)}
    values = {"start": str(point), "layers": layers, "out": str(tmp_path / "out"), "seed": 3, "title": "a b"}
    return Walk.build(values), point


def test_the_sidecar_records_what_a_replay_needs(tmp_path: Path) -> None:
    settings, point = make(tmp_path)
    weights = tmp_path / "net.safetensors"
    weights.write_bytes(b"weights")
    found = provenance(WALK, settings, threads=2, sources=[point], checkpoint=weights, packages=["gradio", "absent-x"])
    assert json.loads(json.dumps(found)) == found
    assert found["seed"] == 3 and found["threads"] == 2 and found["synthetic"] is True
    assert found["sources"] == [{"name": "point.csv", "sha256": hashlib.sha256(b"1,2").hexdigest()}]
    assert found["checkpoint"] == {"name": "net.safetensors", "sha256": sha256(weights)}
    assert {"python", "torch", "numpy", "gradio"} <= set(found["versions"]) and "absent-x" not in found["versions"]


def test_no_folder_of_the_user_stands_in_the_sidecar(tmp_path: Path) -> None:
    settings, point = make(tmp_path)
    assert "Doe" not in json.dumps(provenance(WALK, settings, threads=1, sources=[point]))
    assert portable(settings)["layers"] == {"T1": "point.csv", "": "point.csv"}


def test_the_recorded_command_does_the_same(tmp_path: Path, monkeypatch) -> None:
    settings, point = make(tmp_path)
    WALK.run(settings, lambda *_, **__: None)
    words = shlex.split(command_line(WALK, settings))
    assert words[:3] == ["suite", "sample", "walk"]
    monkeypatch.chdir(point.parent)
    again = [str(tmp_path / "again") if word == "NEW_OUT" else word for word in words[3:]]
    assert invoke(command(WALK), again, program="walk") == 0
    assert (tmp_path / "again" / "walk.csv").read_bytes() == (tmp_path / "out" / "walk.csv").read_bytes()
