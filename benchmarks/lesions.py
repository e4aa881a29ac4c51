"""What a 32 mm lesion costs: calls, time a call, sampling, end to end, cold command and warm server.

The floor is the sum of the network's calls timed inside the same run; overhead is what the run takes beyond it. A
request draws a lesion again that fails the quality report, so it may take more calls than one sampling: `once` is the
same request where nothing is drawn again.
Scan: a phantom of 182 x 218 x 182 voxels (FLAIR, T1, T2), one ball of 32 mm. Writes docs/measured/lesions.json.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from domains.medical.data import Volume, read_contrasts, read_mask
from domains.medical.export import write_label, write_volume
from domains.medical.lesions import add as adding
from domains.medical.lesions.model import LesionModel
from domains.medical.lesions.operations import ADD, AddLesions
from domains.medical.lesions.presets import load_presets
from domains.medical.synthesis import brain_phantom
from shared.measured import record

RUNS = 3
RADIUS_MM = 16.0


class Clock:
    """Seconds spent in the calls of a network."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.seconds, self._call = 0.0, network.forward
        network.forward = self._timed

    def _timed(self, *inputs: object) -> torch.Tensor:
        start = time.perf_counter()
        out: torch.Tensor = self._call(*inputs)
        self.seconds += time.perf_counter() - start
        return out


def files(folder: Path) -> tuple[dict[str, str], str]:
    """The scan and its mask on disk."""
    made = brain_phantom(3)
    volumes = made.volumes()
    deep = np.argwhere(made.tissue == 3)
    centre = deep[np.linalg.norm(deep - np.array([60, 110, 95]), axis=1).argmin()]
    ball = np.linalg.norm(np.indices(made.tissue.shape).T - centre, axis=-1).T <= RADIUS_MM
    mask = ball & (made.tissue > 0)
    paths = {
        n: str(write_volume(v, v.values, folder / f"{n}.nii.gz", synthetic=False).path) for n, v in volumes.items()
    }
    return paths, str(write_label(volumes["FLAIR"], mask, folder / "mask.nii.gz", synthetic=False).path)


def main() -> None:
    """Measure and record."""
    model = LesionModel.from_pretrained()
    clock = Clock(model.denoiser.network)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, mask = files(folder)
        settings = AddLesions(image=images, mask=mask, out=str(folder / "first"), outside_training=True)
        ADD.run(settings, silent)  # imports, weights and disk are warm from here on
        for k in range(RUNS):
            start = time.perf_counter()
            settings = AddLesions(image=images, mask=mask, out=str(folder / f"warm{k}"), outside_training=True)
            asked = ADD.run(settings, silent).report["calls"]
            warm = time.perf_counter() - start
            prepared = adding.prepare(*_read(images, mask))
            clock.seconds, start = 0.0, time.perf_counter()
            adding.vary(prepared, model, load_presets()["typical"], seed=k)
            sampling, floor = time.perf_counter() - start, clock.seconds
            start = time.perf_counter()
            words = [
                "medical",
                "lesions",
                "add",
                "--mask",
                mask,
                "--out",
                str(folder / f"cold{k}"),
                "--outside-training",
            ]
            words += [word for n, path in images.items() for word in ("--image", f"{n}={path}")]
            subprocess.run([sys.executable, "-m", "suite.cli", *words], check=True, capture_output=True)
            rows.append((warm, sampling, floor, time.perf_counter() - start))
        once = []
        adding.REDRAWS = 0
        for k in range(RUNS):
            start = time.perf_counter()
            settings = AddLesions(image=images, mask=mask, out=str(folder / f"once{k}"), outside_training=True)
            ADD.run(settings, silent)
            once.append((time.perf_counter() - start,))
    warm, sampling, floor, cold = (statistics.median(column) for column in zip(*rows, strict=True))
    calls = model.calls()
    record(
        "lesions",
        {
            "calls": {"value": calls},
            "request_calls": {"value": asked},
            "call": {"value": 1000 * floor / calls, "unit": "ms", "digits": 3},
            "sampling": {"value": sampling, "unit": "s", "digits": 3},
            "overhead": {"value": 100 * (sampling - floor) / floor, "unit": "%", "digits": 2},
            "warm": {"value": warm, "unit": "s", "digits": 3, **_range(rows, 0)},
            "cold": {"value": cold, "unit": "s", "digits": 3, **_range(rows, 3)},
            "threads": {"value": torch.get_num_threads()},
            "once": {
                "value": statistics.median(value for (value,) in once),
                "unit": "s",
                "digits": 3,
                **_range(once, 0),
            },
        },
        command="make bench",
    )


def silent(done: int, total: int, note: str = "", preview: object = None) -> None:
    """A report that nobody reads."""


def _read(images: dict[str, str], mask: str) -> tuple[dict[str, Volume], NDArray]:
    volumes = read_contrasts(images)
    return volumes, read_mask(mask, next(iter(volumes.values())))


def _range(rows: Sequence[tuple[float, ...]], column: int) -> dict[str, float]:
    return {"low": min(row[column] for row in rows), "high": max(row[column] for row in rows)}


if __name__ == "__main__":
    main()
