"""The public signatures of the core are a promise: a change shows up here, and is made on purpose.

After such a change write the listing again:

    python -m tests.shared.test_contract_signatures
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from functools import cached_property
from pathlib import Path

import pytest

LISTING = Path(__file__).with_name("signatures.txt")
MODULES = (
    "shared.point",
    "shared.process",
    "shared.heads",
    "shared.denoiser",
    "shared.grid",
    "shared.noise",
    "shared.run",
    "shared.particles",
    "shared.ask",
    "shared.check",
    "shared.sample",
    "shared.capabilities",
    "shared.oracle",
    "shared.operators",
    "shared.testing",
    "shared.samplers.ddim",
    "shared.samplers.heun",
    "shared.samplers.euler",
    "shared.samplers.langevin",
    "shared.samplers.named",
    "shared.samplers.single_step",
    "shared.samplers.unipc",
    "shared.guidance.classifier_free",
    "shared.guidance.known_region",
    "shared.guidance.posterior",
    "shared.guidance.steering",
    "shared.guidance.histogram",
    "shared.guidance.window",
)


def described(value: object) -> str:
    """A default as its source would say it, without addresses."""
    if callable(value) and hasattr(value, "__name__"):
        return value.__name__
    if dataclasses.is_dataclass(value):
        return f"{type(value).__name__}()"
    return repr(value)


def signature(function: object) -> str:
    """(name: annotation = default, ...) -> annotation"""
    found = inspect.signature(function)
    terms, starred = [], False
    for parameter in found.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            terms.append("*")
            starred = True
        term = "**" * (parameter.kind is parameter.VAR_KEYWORD) + parameter.name
        if parameter.annotation is not parameter.empty:
            term += f": {parameter.annotation}"
        if parameter.default is not parameter.empty:
            term += f" = {described(parameter.default)}"
        terms.append(term)
        starred = starred or parameter.kind is parameter.VAR_POSITIONAL
    returns = "" if found.return_annotation is found.empty else f" -> {found.return_annotation}"
    return f"({', '.join(terms)}){returns}"


def public(module: str) -> list[str]:
    """One line for every public function, class, method and property that the module itself defines."""
    loaded, lines = importlib.import_module(module), []
    for name, value in sorted(vars(loaded).items()):
        if name.startswith("_") or getattr(value, "__module__", None) != module:
            continue
        if inspect.isfunction(value):
            lines.append(f"{module}.{name}{signature(value)}")
        elif inspect.isclass(value) and issubclass(value, Exception):
            lines.append(f"{module}.{name}({value.__mro__[1].__name__})")
        elif inspect.isclass(value):
            lines.append(f"{module}.{name}{signature(value)}")
            for member, inner in sorted(vars(value).items()):
                if member.startswith("_") and member != "__call__":
                    continue
                plain = inner.__func__ if isinstance(inner, classmethod | staticmethod) else inner
                if inspect.isfunction(plain):
                    lines.append(f"{module}.{name}.{member}{signature(plain)}")
                elif isinstance(inner, property | cached_property):
                    lines.append(f"{module}.{name}.{member}")
    return lines


@pytest.mark.parametrize("module", MODULES)
def test_public_signatures_are_as_listed(module: str) -> None:
    listed = [line for line in LISTING.read_text(encoding="utf-8").splitlines() if line.startswith(f"{module}.")]
    mine = [line for line in listed if not any(line.startswith(f"{m}.") for m in MODULES if m.startswith(f"{module}."))]
    assert public(module) == mine


def test_a_changed_signature_would_be_seen() -> None:
    def sample(denoiser: int, *, noise: str = "x") -> None: ...

    def other(denoiser: int, *, noise: str = "y") -> None: ...

    assert signature(sample) == "(denoiser: int, *, noise: str = 'x') -> None"
    assert signature(sample) != signature(other)


if __name__ == "__main__":
    LISTING.write_text("\n".join(line for module in MODULES for line in public(module)) + "\n", encoding="utf-8")
