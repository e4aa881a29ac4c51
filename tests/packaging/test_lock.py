"""The lock is complete, hashed, free of addresses, and keeps the versions that belong together."""

from __future__ import annotations

import re
import tomllib

from packaging.requirements import Requirement

from tests.conftest import ROOT

LOCK = (ROOT / "requirements" / "lock.txt").read_text()
ENTRY = re.compile(
    r"^(?P<name>[a-z0-9][a-z0-9.\-]*)(\[[\w,]+\])?==(?P<version>[^\s;]+)(?P<rest>(?:.*\\\n)+.*)", re.MULTILINE
)
LOCKED = {match["name"]: match for match in ENTRY.finditer(LOCK)}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_torch_and_its_companions_are_the_versions_that_belong_together() -> None:
    versions = {name: LOCKED[name]["version"] for name in ("torch", "torchaudio", "torchvision")}
    assert versions == {"torch": "2.11.0", "torchaudio": "2.11.0", "torchvision": "0.26.0"}


def test_every_locked_distribution_has_hashes_and_there_is_no_address() -> None:
    lines = [line for line in LOCK.splitlines() if re.match(r"[a-z0-9]", line)]
    assert len(lines) == len(LOCKED) > 50
    assert all(len(re.findall(r"--hash=sha256:[0-9a-f]{64}", match[0])) >= 1 for match in LOCKED.values())
    assert "://" not in LOCK and "index" not in LOCK.replace("importlib", "")


def test_every_declared_dependency_is_locked_at_a_version_it_allows() -> None:
    extras = PROJECT["optional-dependencies"]
    groups = [PROJECT["dependencies"], *(extras[name] for name in extras if name not in {"all", "smpl"})]
    own = PROJECT["name"]  # extras that name extras
    for requirement in (Requirement(line) for group in groups for line in group if not line.startswith(own)):
        assert requirement.specifier.contains(LOCKED[requirement.name.lower()]["version"]), str(requirement)


def test_body_model_with_a_non_commercial_licence_is_not_locked() -> None:
    assert "smplx" not in LOCKED and "smplx" in PROJECT["optional-dependencies"]["smpl"][0]


def test_extra_all_names_every_domain_and_the_networks_of_others_and_nothing_else() -> None:
    extras = set(PROJECT["optional-dependencies"]) - {"all", "smpl", "scale", "bench", "dev"}
    named = re.fullmatch(r"diffusion-suite\[(.*)\]", PROJECT["optional-dependencies"]["all"][0])
    assert named is not None and set(named[1].split(",")) == extras


def test_bootstrap_installs_the_locked_uv() -> None:
    bootstrap = (ROOT / "requirements" / "uv.txt").read_text()
    assert f"uv=={LOCKED['uv']['version']} " in bootstrap and "--hash=sha256:" in bootstrap
