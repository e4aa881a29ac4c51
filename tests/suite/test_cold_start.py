"""What a command may import in a fresh process: what it uses, and nothing that only costs the visitor seconds."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.packaging.test_imports import HEAVY, loaded_by

COMPILER = {"sympy", "torch._dynamo", "torch._inductor"}  # seconds of a CPU, and nothing here compiles
COMMANDS = {
    "image shapes generate --caption 'a red circle' --count 1 --steps 2": {"matplotlib", "skimage", "scipy"},
    "image shapes scene --caption 'a red circle'": {"torch", "matplotlib", "skimage", "scipy"},
    "laboratory run --steps 2 --samples 20 --no-convergence": {"scipy", "skimage"},
}


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_imports_no_compiler_and_no_library_that_it_does_not_use(words: str, tmp_path: Path) -> None:
    arguments = ["suite", *shlex.split(words), "--out", str(tmp_path / "out")]
    loaded = loaded_by(f"import sys; sys.argv = {arguments!r}; from suite.cli import main; sys.exit(main())")
    assert "numpy" in loaded  # the probe did see the work
    assert not loaded & {*HEAVY, *COMPILER, *COMMANDS[words]}
