"""The page about sound keeps its word: its Python runs."""

from __future__ import annotations

import pytest

from tests.packaging.test_pages import code_of, run_code


def test_the_example_of_the_page_runs(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = run_code(code_of("docs/audio.md", "audio"), "audio_page", tmp_path, monkeypatch)
    assert module.asked.length == 7.5 and module.curves.melody.any() and module.curves.bound("melody").sum() < 200
    assert module.again.melody == module.asked.melody and module.again.grid == module.asked.grid
