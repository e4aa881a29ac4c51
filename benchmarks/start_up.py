"""How long a person waits before anything happens: `import shared` beyond torch's own time, and `suite --help`.

Cold processes, warm disk; the median of seven, with the range. Writes docs/measured/start_up.json.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from shared.measured import ROOT, record

RUNS = 7


def seconds(command: list[str]) -> list[float]:
    """Wall seconds of `RUNS` fresh processes, after one that warms the disk."""
    times = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return times[1:]


def modules_of_the_core() -> list[str]:
    """Everything in shared that a researcher may import."""
    names = (path.relative_to(ROOT).with_suffix("").parts for path in sorted((ROOT / "shared").rglob("*.py")))
    return [".".join(parts).removesuffix(".__init__") for parts in names]


def entry(times: list[float]) -> dict[str, Any]:
    """Median with the smallest and the largest."""
    return {"value": statistics.median(times), "low": min(times), "high": max(times), "unit": "s", "digits": 2}


def main() -> None:
    """Time torch alone, the core, and the help of the command, and record."""
    torch_alone = seconds([sys.executable, "-c", "import torch"])
    core = seconds([sys.executable, "-c", f"import torch, {', '.join(modules_of_the_core())}"])
    command_help = seconds([str(Path(sys.executable).with_name("suite")), "--help"])
    beyond = statistics.median(core) - statistics.median(torch_alone)
    record(
        "start_up",
        {
            "torch": entry(torch_alone),
            "core_beyond_torch": {"value": max(beyond, 0.0), "unit": "s", "digits": 2},
            "help": entry(command_help),
        },
        command="make bench",
    )


if __name__ == "__main__":
    main()
