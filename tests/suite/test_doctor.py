"""The doctor: every part ok, warn or fail, and a remedy whenever it is not ok."""

from __future__ import annotations

import json
import socket

import pytest

from suite import doctor
from suite.cli import main
from suite.doctor import Finding, findings


def test_every_part_is_looked_at_and_a_trouble_has_a_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    found = [Finding(**row) for row in json.loads(capsys.readouterr().out)]
    parts = {finding.part for finding in found}
    assert {"python", "torch", "gradio", "mcp", "device", "threads", "memory", "bf16", "port", "disk"} <= parts
    for finding in found:
        assert finding.level in ("ok", "warn", "fail") and finding.message
        assert bool(finding.remedy) == (finding.level != "ok"), finding
    assert code == (1 if any(finding.level == "fail" for finding in found) else 0)


@pytest.mark.parametrize(
    ("speed", "used", "level", "said"),
    [
        (0.0435, False, "ok", "bfloat16 is emulated: 23 times slower than float32; recipes and apps use float32"),
        (0.97, False, "ok", "bfloat16 is there: 1.0 times as fast as float32; recipes and apps use float32"),
        (1.5, False, "ok", "bfloat16 is there: 1.5 times as fast as float32; recipes and apps use float32"),
        (6.25, True, "ok", "bfloat16 is 6.2 times as fast as float32; recipes and apps use it"),
        (0.5, True, "warn", "bfloat16 is 2.0 times slower than float32, and recipes and apps use it"),
    ],
)
def test_bfloat16_is_judged_by_what_recipes_do_with_it(speed: float, used: bool, level: str, said: str) -> None:
    finding = doctor.bf16(speed, used=used)
    assert (finding.level, finding.message) == (level, said)
    assert bool(finding.remedy) == (level == "warn")


def test_a_port_in_use_is_seen() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        (finding,) = doctor._port(port)
    assert finding.level == "warn" and f"--port {port + 1}" in finding.remedy


def test_a_check_that_breaks_is_a_failed_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("no such device")

    monkeypatch.setattr(doctor, "_device", broken)
    monkeypatch.setattr(doctor, "_bf16", lambda: iter(()))
    finding = next(finding for finding in findings() if finding.part == "device")
    assert finding.level == "fail" and "no such device" in finding.message and finding.remedy


def test_every_shipped_checkpoint_is_found_good() -> None:
    found = list(doctor._checkpoints())
    names = {finding.part.rpartition("/")[2] for finding in found}
    assert names >= {"lesions.safetensors", "shapes.safetensors", "edges.safetensors"}
    assert [finding for finding in found if finding.level != "ok"] == []
