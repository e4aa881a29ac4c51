"""A soundfont plays the same parts through the same mixer: each note at its own sample, each part on its own."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from domains.audio.synth.render import Part, play
from domains.audio.synth.soundfont import SoundFont
from shared.errors import UserError


class Organ:
    """Stands in for the package: a held key is a constant of its velocity / 127 on both sides."""

    def __init__(self, gain: float, samplerate: int) -> None:
        self.held: dict[int, int] = {}
        self.log: list[tuple] = []

    def sfload(self, path: str) -> int:
        if Path(path).read_bytes() != b"font":
            raise RuntimeError("not a font")
        return 7

    def program_select(self, *choice: object) -> None:
        self.log.append(choice)

    def noteon(self, channel: int, key: int, velocity: int) -> None:
        self.held[key] = velocity

    def noteoff(self, channel: int, key: int) -> None:
        self.held.pop(key, None)

    def notes_off(self) -> None:
        self.held.clear()

    sounds_off = notes_off

    def generate(self, samples: int) -> memoryview:
        level = sum(self.held.values()) / 127
        return memoryview(np.full(2 * samples, level, np.float32))


@pytest.fixture
def font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = ModuleType("tinysoundfont")
    package.Synth = Organ  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tinysoundfont", package)
    path = tmp_path / "small.sf2"
    path.write_bytes(b"font")
    return path


def test_notes_of_a_soundfont_begin_and_end_at_their_samples(font: Path) -> None:
    notes = Part(np.array([0.1, 0.2]), np.array([0.3, 0.3]), np.array([60, 64]), np.array([127, 64]), gain=-6.0)
    sound = play([notes], 0.5, 22_050, room=0, player=SoundFont(font, 22_050)).mix[0]
    level = sound * 2**0.5 / 10 ** (-6 / 20)
    assert np.flatnonzero(sound)[[0, -1]].tolist() == [2205, 6614]
    assert level[2205:4410] == pytest.approx(1.0, abs=1e-5)
    assert level[4410:6615] == pytest.approx(1 + 64 / 127, abs=1e-5)


def test_a_key_that_is_struck_again_is_released_first(font: Path) -> None:
    notes = Part(np.array([0.1, 0.2]), np.array([0.25, 0.3]), np.array([60, 60]), np.array([127, 127]))
    sound = play([notes], 0.4, 22_050, room=0, player=SoundFont(font, 22_050)).mix[0]
    assert np.flatnonzero(sound)[[0, -1]].tolist() == [2205, 6614]
    assert np.ptp(sound[2205:6615]) < 1e-6  # never twice, and no gap


def test_programs_and_drums_choose_their_banks_and_stems_add_up(font: Path) -> None:
    player = SoundFont(font, 22_050)
    one = np.array([0.0]), np.array([0.2]), np.array([60]), np.array([90])
    result = play([Part(*one, program=24), Part(*one, drums=True, pan=0.5)], 0.3, 22_050, player=player)
    assert player._synth.log == [(0, 7, 0, 24, False), (9, 7, 128, 0, True)]
    assert result.stems is not None and np.abs(result.stems.sum(0) - result.mix).max() < 1e-6


def test_an_absent_package_or_file_and_a_wrong_rate_are_refused(font: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no such file"):
        SoundFont(font.with_name("none.sf2"), 22_050)
    bad = font.with_name("bad.sf2")
    bad.write_bytes(b"text")
    with pytest.raises(UserError, match="is no soundfont"):
        SoundFont(bad, 22_050)
    one = Part(np.array([0.0]), np.array([0.2]), np.array([60]), np.array([90]))
    with pytest.raises(UserError, match="loaded for 22050"):
        play([one], 0.3, 44_100, player=SoundFont(font, 22_050))
    monkeypatch.setitem(sys.modules, "tinysoundfont", None)
    with pytest.raises(UserError, match="not installed"):
        SoundFont(font, 22_050)
