"""The wheel holds the three packages and the checkpoints, never the tests, and runs in an empty environment."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.house.rules import files_of_the_tree


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


def test_wheel_runs_in_an_environment_without_the_source_tree(wheel: Path, tmp_path: Path) -> None:
    """Only the wheel is installed; its dependencies are lent by this environment, its source tree is not."""
    home = tmp_path / "empty"
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(home)], check=True, cwd=tmp_path)
    python = str(home / "bin" / "python")
    install = [uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", python, str(wheel)]
    subprocess.run(install, check=True, cwd=tmp_path)
    (site,) = home.glob("lib/python*/site-packages")
    dependencies = next(p for p in map(Path, sys.path) if p.name == "site-packages" and (p / "torch").is_dir())
    # A plain folder of links: .pth files in it are not read, so the editable source tree stays out.
    links = tmp_path / "lent"
    links.mkdir()
    for entry in dependencies.iterdir():
        if not entry.name.startswith("diffusion_suite") and entry.suffix != ".pth":
            (links / entry.name).symlink_to(entry)
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(links), "HOME": str(tmp_path)}
    suite = subprocess.run(
        [home / "bin" / "suite", "--version"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert suite.returncode == 0, suite.stderr
    assert metadata.version("diffusion-suite") in suite.stdout
    where = subprocess.run(
        [python, "-c", "import suite, shared; print(suite.__file__, shared.__file__)"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(Path(file).is_relative_to(site) for file in where.stdout.split())
