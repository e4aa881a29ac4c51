"""What an import or a --help may load, asserted on sys.modules of a fresh process and never on the clock."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT

HEAVY = (
    "accelerate",
    "diffusers",
    "gradio",
    "librosa",
    "monai",
    "nibabel",
    "nilearn",
    "pandas",
    "ray",
    "sklearn",
    "transformers",
)
NEVER_IN_BASE = {"diffusers", "librosa", "monai", "nibabel", "nilearn", "ray", "transformers"}
PACKAGES = ("shared", "suite", "domains")


def loaded_by(code: str) -> set[str]:
    """Names in sys.modules after a fresh interpreter ran `code` (a SystemExit of 0 counts as done)."""
    program = (
        "import sys\n"
        f"try:\n{textwrap.indent(code, '    ')}\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print('\\n'.join(['MODULES', *sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split("MODULES\n", 1)[1].split())


def modules_of_shared() -> list[str]:
    """Every module of the core that a researcher may import."""
    names = [path.relative_to(ROOT).with_suffix("").parts for path in sorted((ROOT / "shared").rglob("*.py"))]
    return [".".join(parts).removesuffix(".__init__") for parts in names]


def test_core_imports_nothing_heavy() -> None:
    loaded = loaded_by("\n".join(f"import {name}" for name in modules_of_shared()))
    assert "torch" in loaded  # the probe did see the core
    assert not loaded & {*HEAVY, "scipy.signal", "matplotlib.pyplot"}


def test_probe_sees_a_heavy_import_inside_a_function() -> None:
    assert "scipy.signal" in loaded_by("def f():\n    import scipy.signal\nf()")


@pytest.mark.parametrize("arguments", [[], ["hub"], ["doctor"], ["papers"], ["train"], ["batch"], ["medical"]])
def test_help_loads_neither_torch_nor_gradio(arguments: list[str]) -> None:
    loaded = loaded_by(
        f"import sys; sys.argv = {['suite', *arguments, '--help']!r}; from suite.cli import main; main()"
    )
    assert "suite.cli" in loaded
    assert not loaded & {*HEAVY, "torch", "numpy", "scipy", "matplotlib"}


# -- what the project declares is what it imports --------------------------------------------------


def declared(extra: str | None = None) -> set[str]:
    """Distributions named by the base (extra=None) or by one extra, in normal form."""
    names = set()
    for line in metadata.requires("diffusion-suite") or []:
        requirement = Requirement(line)
        of_base = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        of_extra = requirement.marker is not None and requirement.marker.evaluate({"extra": extra or ""})
        if of_base if extra is None else of_extra and not of_base:
            names.add(normal(requirement.name))
    return names


def normal(name: str) -> str:
    """One spelling for a distribution: lower case, hyphens."""
    return name.lower().replace("_", "-").replace(".", "-")


def closure(names: Iterable[str]) -> set[str]:
    """Distributions that come with `names` in this environment, extras of the requirements included."""
    found: set[str] = set()
    waiting = [Requirement(line) for line in names]
    while waiting:
        wanted = waiting.pop()
        key = f"{normal(wanted.name)}[{','.join(sorted(wanted.extras))}]"
        if key in found:
            continue
        found.add(key)
        try:
            lines = metadata.requires(wanted.name) or []
        except metadata.PackageNotFoundError:  # wanted elsewhere only, such as on another platform
            continue
        for requirement in map(Requirement, lines):
            extras = wanted.extras or {""}
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in {*extras, ""}):
                waiting.append(requirement)
    return {key.split("[")[0] for key in found}


def imports_of(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere, also inside functions; type-only imports included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - set(PACKAGES)


# What no extra can declare, by domain: tinysoundfont asks for PortAudio, which it needs only to play aloud, so that it
# would keep the lock from being installed. Its absence is a sentence that says how to install it.
BY_HAND = {"audio": {"tinysoundfont"}}


def undeclared(folder: Path, allowed: set[str]) -> dict[str, set[str]]:
    """File -> imported packages that no allowed distribution provides."""
    providers = metadata.packages_distributions()
    found = {}
    for path in sorted(folder.rglob("*.py")):
        unknown = {name for name in imports_of(path) if not {normal(d) for d in providers.get(name, [name])} & allowed}
        if unknown:
            found[path.relative_to(ROOT).as_posix()] = unknown
    return found


def test_base_install_is_free_of_the_libraries_of_the_domains() -> None:
    lines = [line for line in metadata.requires("diffusion-suite") or [] if "extra ==" not in line]
    assert len(lines) >= 5
    assert not closure(lines) & NEVER_IN_BASE


@pytest.mark.parametrize("package", ["shared", "suite"])
def test_base_imports_only_what_the_base_declares(package: str) -> None:
    folder = ROOT / package
    # shared/interop and the launcher, inside functions
    optional = {"diffusers", "monai", "ray"} if package == "shared" else set()
    assert not undeclared(folder, declared() | optional)


@pytest.mark.parametrize("domain", sorted(p.name for p in (ROOT / "domains").iterdir() if (p / "__init__.py").exists()))
def test_domain_imports_only_what_its_extra_declares(domain: str) -> None:
    assert not undeclared(ROOT / "domains" / domain, declared() | declared(domain) | BY_HAND.get(domain, set()))


# What an extra brings without an import: data of nilearn, parts that diffusers' and MONAI's networks import themselves,
# and the companions of torch, whose versions must fit to it wherever something else brings them.
UNIMPORTED = {"nilearn", "einops", "torchaudio", "torchvision"}
USERS = {
    **{name: (f"domains/{name}",) for name in ("medical", "audio", "motion", "driving", "image")},
    "interop": ("shared", "tests"),
    "scale": ("shared",),
    "bench": ("benchmarks",),
}


@pytest.mark.parametrize("extra", USERS)
def test_an_extra_brings_only_what_the_code_that_it_is_for_imports(extra: str) -> None:
    providers = metadata.packages_distributions()
    files = [path for folder in USERS[extra] for path in (ROOT / folder).rglob("*.py")]
    used = {normal(name) for path in files for module in imports_of(path) for name in providers.get(module, [module])}
    assert declared(extra) - used <= UNIMPORTED


def test_tests_and_benchmarks_import_only_what_some_extra_declares() -> None:
    extras = {"all", "bench", "dev", "interop", "scale", "medical", "audio", "motion", "driving", "image"}
    allowed = declared().union(*map(declared, extras)) | {"tests", "benchmarks"}
    assert not undeclared(ROOT / "tests", allowed) | undeclared(ROOT / "benchmarks", allowed)


def test_undeclared_import_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "x.py").write_text("import os\nimport torch\n\ndef f():\n    from monai.transforms import Resize\n")
    assert undeclared(tmp_path, declared()) == {"x.py": {"monai"}}
