"""What a cell's numbers depend on, as digests: results of one plan or source are never mixed with those of another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.measured import digest

HERE = Path(__file__).parent
REPORTS = ("__init__.py", "__main__.py", "origin.py", "statistics.py", "tables.py")  # they read cells, and make none
MEDICAL = HERE.parent.parent
SOURCE = (
    *(file for file in sorted(HERE.glob("*.py")) if file.name not in REPORTS),
    MEDICAL / "lung2d.py",
    HERE.parent / "conditioning.py",
    HERE.parent / "patches.py",
)


def made_by(plan: Mapping[str, Any]) -> dict[str, str]:
    """Digests of a plan (plain numbers) and of the source that makes its cells."""
    return {"plan": hashlib.sha256(json.dumps(plan).encode()).hexdigest(), "source": digest(SOURCE)}


def model_name(stem: str, plan: Mapping[str, Any]) -> str:
    """Name of a lesion model's folder: a training that was stopped under another plan or source is not gone on with."""
    both = json.dumps(made_by(plan), sort_keys=True)
    return f"{stem}-model-{hashlib.sha256(both.encode()).hexdigest()[:12]}"
