"""What `make setup` costs a newcomer: a clone, an empty cache, the network; bytes, disk and minutes.

Needs the network and downloads everything once more. Writes docs/measured/set_up.json.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from shared.measured import ROOT, record


def received() -> int:
    """Bytes that came over the network so far, loopback left out; other programs of the machine count too."""
    return sum(card.bytes_recv for name, card in psutil.net_io_counters(pernic=True).items() if name != "lo")


def disk_of(folder: Path) -> int:
    """Bytes a folder takes; a file with two names counts once."""
    seen: dict[tuple[int, int], int] = {}
    for base, _, names in os.walk(folder):
        for name in names:
            stat = os.lstat(os.path.join(base, name))
            seen[stat.st_dev, stat.st_ino] = stat.st_blocks * 512
    return sum(seen.values())


def seconds_of(command: list[str], **options: object) -> float:
    """Wall seconds of a command that must succeed."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
    return time.perf_counter() - start


def main() -> None:
    """Clone, set up with empty caches, set up again, and record."""
    with tempfile.TemporaryDirectory() as name:
        clone, cache = Path(name) / "clone", Path(name) / "cache"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        environment = {**os.environ, "UV_CACHE_DIR": str(cache / "uv"), "PIP_CACHE_DIR": str(cache / "pip")}
        before = received()
        first = seconds_of(["make", "setup"], cwd=clone, env=environment)
        downloaded = received() - before
        again = seconds_of(["make", "setup"], cwd=clone, env=environment)
        environment_size = disk_of(clone / ".venv")
        clone_size = disk_of(clone) - environment_size
    record(
        "set_up",
        {
            "minutes": {"value": first / 60, "unit": "minutes", "digits": 2},
            "again": {"value": again, "unit": "s", "digits": 1},
            "download": {"value": downloaded / 1e9, "unit": "GB", "digits": 2},
            "disk": {"value": environment_size / 1e9, "unit": "GB", "digits": 2},
            "clone": {"value": clone_size / 1e6, "unit": "MB", "digits": 2},
        },
        command="make bench",
    )


if __name__ == "__main__":
    main()
