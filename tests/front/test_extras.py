"""A library that is not installed is one sentence with the command that brings it; any other absence is a bug."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import FunctionType

import click
import pytest

from shared.front.command import invoke
from shared.front.extras import absent, extras_of
from suite import batch
from tests.conftest import ROOT


def bring() -> None:
    """Import what the module that this function is lent to calls `library`."""
    importlib.import_module(library)  # type: ignore[name-defined]  # noqa: F821


def importing(library: str, within: str) -> Callable[[], None]:
    """A function of the module `within` that imports a library."""
    return FunctionType(bring.__code__, {"__name__": within, "importlib": importlib, "library": library})


def said(work: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = invoke(click.Command("work", callback=work), [], program="suite work")
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("library", "within", "extra"),
    [
        ("nibabel", "domains.medical.data", "medical"),
        ("skimage.feature", "domains.image.data", "image"),
        ("mir_eval", "domains.audio.evaluate", "audio"),
        ("scipy.signal", "domains.medical.planes", "medical"),
        ("scipy.signal", "domains.audio.extract", "audio"),
        ("diffusers", "shared.interop.denoisers", "interop"),
        ("ray", "shared.launch", "scale"),
    ],
)
def test_an_absent_library_names_the_extra_of_the_domain_that_needs_it(
    library: str, within: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    top = library.partition(".")[0]
    for name in [name for name in sys.modules if name.partition(".")[0] == top]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Hidden(top), *sys.meta_path])
    sentence = f"{top} is not installed; pip install 'diffusion-suite[{extra}]'\n"
    assert said(importing(library, within), capsys) == (2, sentence)


class Hidden:
    """A finder that hides one library, as if it were not installed."""

    def __init__(self, library: str) -> None:
        self.library = library

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] == self.library:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize("library", ["no_such_library", "domains.no_such_domain"])
def test_a_module_that_no_extra_declares_stays_an_error(library: str) -> None:
    with pytest.raises(ModuleNotFoundError):
        invoke(click.Command("work", callback=importing(library, "domains.medical.data")), [], program="suite work")


def test_an_item_of_a_batch_says_the_same_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shared.errors import UserError
    from shared.front.settings import Settings
    from tests.front.sample_app import WALK

    def run(settings: Settings, report: object) -> None:
        raise ModuleNotFoundError("No module named 'nibabel'", name="nibabel")

    monkeypatch.setattr(batch, "_operation", lambda table, name: type(WALK)(**{**vars(WALK), "run": run}))
    job = {
        "operation": WALK.name,
        "table": "",
        "settings": {"start": "example:origin"},
        "folder": "out",
        "place": str(tmp_path / "00001"),
    }
    with pytest.raises(UserError, match=r"nibabel is not installed; pip install 'diffusion-suite\[medical\]'"):
        batch.make(job)


def test_every_library_that_the_domains_import_is_found_in_an_extra_or_in_the_base() -> None:
    base = {line for line in metadata.requires("diffusion-suite") or [] if "extra ==" not in line}
    names = {line.split("[")[0].split("<")[0].split(">")[0].split("~")[0] for line in base}
    names |= {"PIL", "tinysoundfont"}  # pillow; the other is installed by hand and says so
    imported = set()
    for path in (ROOT / "domains").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            imported |= {name.partition(".")[0] for name in found}
    libraries = imported - set(sys.stdlib_module_names) - {"suite", "domains", "shared"} - names
    assert {"nibabel", "skimage", "librosa"} <= libraries
    assert not {name for name in libraries if not extras_of(name)}
    assert absent(ModuleNotFoundError("unnamed")) is None
