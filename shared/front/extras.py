"""A library that is not installed, as the sentence that says which extra brings it.

    except ModuleNotFoundError as error:
        told = absent(error)             # UserError: nibabel is not installed; pip install 'diffusion-suite[medical]'

What belongs to which extra is read from the metadata of the installation, which pip writes from pyproject.toml.
"""

from __future__ import annotations

import importlib.metadata
import re
from types import TracebackType

from shared.errors import UserError
from shared.front.provenance import DISTRIBUTION

SPELLED = {"skimage": "scikit-image"}  # modules that are named unlike their distribution
GATHERED = ("all", "dev", "bench")  # extras that repeat what another one names
_OF_EXTRA = re.compile(r"([A-Za-z0-9._-]+).*extra == ['\"]([\w-]+)['\"]")


def install(extra: str) -> str:
    """The one command that adds an extra."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def absent(error: ModuleNotFoundError) -> UserError | None:
    """The sentence for a declared library that is not there; None when no extra declares it, which is a bug.

    Where several extras do, it is the one that an importing module is named after (domains.audio, shared.interop).
    """
    module = (error.name or "").partition(".")[0]
    extras = extras_of(module)
    if not extras:
        return None
    near = [extra for extra in extras if extra in _rooms(error.__traceback__)]
    return UserError(f"{module} is not installed", remedy=install([*near, *extras][0]))


def extras_of(module: str) -> tuple[str, ...]:
    """The extras whose installation brings a top-level module, in the order of their names."""
    wanted = _normal(SPELLED.get(module, module))
    found = (_OF_EXTRA.match(line) for line in importlib.metadata.requires(DISTRIBUTION) or [])
    return tuple(m[2] for m in found if m is not None and _normal(m[1]) == wanted and m[2] not in GATHERED)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _rooms(trace: TracebackType | None) -> set[str]:
    """The second names of the modules that an error passed through: audio, interop, ..."""
    found: set[str] = set()
    while trace is not None:
        found.update(str(trace.tb_frame.f_globals.get("__name__", "")).split(".")[1:2])
        trace = trace.tb_next
    return found
