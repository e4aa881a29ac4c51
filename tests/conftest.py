"""What every test stands on: one torch thread, fixed seeds, libraries that stay offline, and the real data's place."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import torch

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"  # small real inputs beside the checkout, never inside it


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Start every test from the same global random state, whatever ran before it in the same process."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real input files; the test is skipped where the folder is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data at {SHARED_DATA.name}: the folder ../shared/data is absent")
    return SHARED_DATA
