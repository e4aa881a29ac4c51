"""The wheel holds the three packages and the checkpoints, never the tests, and runs in an empty environment."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

from suite.apps import APPS
from tests.conftest import ROOT
from tests.house.rules import files_of_the_tree
from tests.packaging.test_imports import NEVER_IN_BASE, closure

SERVER = """
from fastapi.testclient import TestClient
from shared.front.jobs import JobRunner
from suite.apps import built_apps
from suite.hub import build_server
from suite.security import rules

answer = TestClient(build_server(built_apps(), JobRunner(1), rules("127.0.0.1")), "http://127.0.0.1").get("/")
print(answer.status_code, answer.text)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network by the backend of the environment."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


def names_in(wheel: Path) -> set[str]:
    """Every path inside the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_wheel_holds_every_file_of_the_three_packages(wheel: Path) -> None:
    packaged = {
        name
        for path in files_of_the_tree()
        if (name := path.relative_to(ROOT).as_posix()).startswith(("suite/", "domains/", "shared/"))
    }
    assert "shared/errors.py" in packaged
    assert packaged <= names_in(wheel)


def test_wheel_holds_nothing_but_the_three_packages_and_its_own_record(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in names_in(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"suite", "domains", "shared"}
    assert not [name for name in names_in(wheel) if "/tests/" in name or name.endswith((".pyc", "conftest.py"))]


def test_wheel_carries_the_licence_and_the_notice(wheel: Path) -> None:
    licences = {name.rsplit("/", 1)[1] for name in names_in(wheel) if "/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}


@dataclass(frozen=True)
class Lean:
    """An environment that holds the wheel and what its base requires, and nothing else."""

    home: Path
    lent: Path

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A program of the environment, in a folder without the source tree."""
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(self.lent), "HOME": str(self.home)}
        return subprocess.run(
            [str(self.home / "bin" / words[0]), *words[1:]],
            cwd=self.home,
            env=environment | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )


@pytest.fixture(scope="module")
def lean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Lean:
    """The wheel is installed; the dependencies of its base are lent by this environment, file by file of each."""
    home, lent = tmp_path_factory.mktemp("lean"), tmp_path_factory.mktemp("lent")
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, "--allow-existing", str(home)], check=True)
    install = [uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", str(home / "bin" / "python")]
    subprocess.run([*install, str(wheel)], check=True, cwd=home)
    base = [line for line in metadata.requires("diffusion-suite") or [] if "extra ==" not in line]
    for name in closure(base):
        lend(name, lent)
    return Lean(home, lent)


def lend(name: str, folder: Path) -> None:
    """Link every file of a distribution; folders are made, so that none brings what another distribution put there.

    .pth files are left out: they are not read there, and the editable source tree stays out.
    """
    try:
        files = metadata.distribution(name).files or []
    except metadata.PackageNotFoundError:  # of another platform
        return
    for file in files:
        if ".." not in file.parts and file.suffix != ".pth" and "__pycache__" not in file.parts:
            link = folder / file
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(file.locate())


def test_wheel_runs_in_an_environment_without_the_source_tree(lean: Lean) -> None:
    version = lean.run("suite", "--version")
    assert version.returncode == 0, version.stderr
    assert metadata.version("diffusion-suite") in version.stdout
    where = lean.run("python", "-c", "import suite, shared; print(suite.__file__, shared.__file__)")
    assert len(where.stdout.split()) == 2, where.stderr
    assert all(Path(file).is_relative_to(lean.home) for file in where.stdout.split())


def test_lean_environment_holds_none_of_the_libraries_of_the_domains(lean: Lean) -> None:
    find = f"import importlib.util as u; print([n for n in {sorted(NEVER_IN_BASE)} if u.find_spec(n)])"
    assert lean.run("python", "-c", find).stdout.strip() == "[]"


def test_base_lists_every_app_with_the_command_that_adds_what_it_needs(lean: Lean) -> None:
    apps = lean.run("suite", "apps")
    assert apps.returncode == 0, apps.stderr
    for extra in {app.extra for app in APPS if app.extra}:
        assert f"pip install 'diffusion-suite[{extra}]'" in apps.stdout
    assert "laboratory/experiment" in apps.stdout and "ready" in apps.stdout


def test_command_whose_extra_is_missing_says_in_one_sentence_how_to_add_it(lean: Lean) -> None:
    add = lean.run(
        "suite", "medical", "lesions", "add", "--image", "example:brain", "--mask", "example:brain", "--out", "made"
    )
    assert (add.returncode, add.stdout) == (2, ""), add.stderr
    assert add.stderr == "nibabel is not installed; pip install 'diffusion-suite[medical]'\n"
    assert not (lean.home / "made").exists()


def test_base_builds_the_server_of_the_hub_and_its_page(lean: Lean) -> None:
    served = lean.run("python", "-c", SERVER)
    assert served.returncode == 0, served.stderr[-3000:]
    assert "200" in served.stdout and "pip install &#x27;diffusion-suite[medical]&#x27;" in served.stdout
