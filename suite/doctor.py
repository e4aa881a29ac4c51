"""``suite doctor``: each part of this installation as ok, warn or fail, with the remedy."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from shared.front.provenance import sha256
from suite.apps import ROOT, built_apps
from suite.models import card, checkpoints

PORT = 7860
LEAST_FREE_DISK = 2 * 2**30  # bytes; results and uploads of one session fit well


@dataclass(frozen=True)
class Finding:
    """One checked part: ``level`` is ok, warn or fail; ``remedy`` says what to do and is empty when all is well."""

    level: str
    part: str
    message: str
    remedy: str = ""


def findings(port: int = PORT) -> Iterator[Finding]:
    """All checks, in order; a check that breaks is itself a failed finding."""
    checks: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("python", _python),
        ("packages", _packages),
        ("device", _device),
        ("bf16", _bf16),
        ("port", lambda: _port(port)),
        ("disk", _disk),
        ("apps", _apps),
        ("checkpoints", _checkpoints),
    )
    for part, check in checks:
        try:
            yield from check()
        except Exception as error:  # a broken installation must not break its doctor
            yield Finding("fail", part, f"{type(error).__name__}: {error}", "install again with: make setup")


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--port", type=click.IntRange(1, 65535), default=PORT, metavar="N", help=f"Port to look at ({PORT}).")
@click.pass_context
def command(ctx: click.Context, as_json: bool, port: int) -> None:
    """Check this installation: each part ok, warn or fail, with the remedy. Exit code 1 when a part fails."""
    found = list(findings(port))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found], indent=1))
    else:
        for finding in found:
            click.echo(f"{finding.level:<4}  {finding.part}: {finding.message}")
            if finding.remedy:
                click.echo(f"      -> {finding.remedy}")
    ctx.exit(1 if any(finding.level == "fail" for finding in found) else 0)


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info[:2] == (3, 11)
    yield Finding(
        "ok" if good else "warn", "python", version, "" if good else "use Python 3.11, the version that is tested"
    )


def _packages() -> Iterator[Finding]:
    for name, module in (("torch", "torch"), ("numpy", "numpy"), ("gradio", "gradio"), ("mcp", "mcp")):
        if importlib.util.find_spec(module) is None:
            yield Finding("fail", name, "is not installed", "install again with: make setup")
        else:
            yield Finding("ok", name, importlib.metadata.version(name))


def _device() -> Iterator[Finding]:
    import psutil
    import torch

    cores = len(os.sched_getaffinity(0))
    threads = torch.get_num_threads()
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    yield Finding("ok", "device", f"{device}; {cores} cores")
    many = threads > cores
    yield Finding(
        "warn" if many else "ok",
        "threads",
        f"torch uses {threads}",
        f"set OMP_NUM_THREADS={cores}: more threads than cores slow each other down" if many else "",
    )
    free = psutil.virtual_memory().available
    short = free < 2 * 2**30
    yield Finding(
        "warn" if short else "ok", "memory", f"{free / 2**30:.1f} GiB free", "close other programs" if short else ""
    )


def _bf16() -> Iterator[Finding]:
    import torch

    from shared.precision import fast_dtype

    device = "cuda" if torch.cuda.is_available() else "cpu"
    yield bf16(_time(torch.float32, device) / _time(torch.bfloat16, device), used=fast_dtype(device) is not None)


def bf16(speed: float, *, used: bool) -> Finding:
    """What bfloat16 is worth here.

    speed   how many times as fast as in float32 a 512 x 512 product is;  used  whether recipes and apps choose it
    """
    slower = speed < 0.95  # a busy machine measures to some percent
    if not used:
        word = "emulated" if slower else "there"
        times = f"{_times(1 / speed)} slower than" if slower else f"{_times(speed)} as fast as"
        return Finding("ok", "bf16", f"bfloat16 is {word}: {times} float32; recipes and apps use float32")
    if not slower:
        return Finding("ok", "bf16", f"bfloat16 is {_times(speed)} as fast as float32; recipes and apps use it")
    what = f"bfloat16 is {_times(1 / speed)} slower than float32, and recipes and apps use it"
    return Finding("warn", "bf16", what, "ask again when nothing else runs here: a busy machine measures wrongly")


def _times(factor: float) -> str:
    return f"{factor:.0f} times" if factor >= 10 else f"{factor:.1f} times"


def _time(dtype: Any, device: str) -> float:
    """Seconds of one product of 512 x 512 matrices: the best of five rounds of eight."""
    import torch

    a = torch.ones(512, 512, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(8):
            b = a @ a
        b.sum().item()  # waits for an accelerator
        best = min(best, (time.perf_counter() - start) / 8)
    return best


def _port(port: int) -> Iterator[Finding]:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            yield Finding("warn", "port", f"{port} is in use", f"start the hub elsewhere: suite hub --port {port + 1}")
        else:
            yield Finding("ok", "port", f"{port} is free")


def _disk() -> Iterator[Finding]:
    place = Path(tempfile.gettempdir())
    free = shutil.disk_usage(place).free
    short = free < LEAST_FREE_DISK
    yield Finding(
        "warn" if short else "ok",
        "disk",
        f"{free / 2**30:.1f} GiB free in {place}",
        "free some space, or set TMPDIR to a roomier folder" if short else "",
    )


def _apps() -> Iterator[Finding]:
    for app in built_apps():
        ready = app.status == "ready"
        yield Finding("ok" if ready else "warn", app.slug, app.status, app.remedy)


def _checkpoints() -> Iterator[Finding]:
    from shared.checkpoints import verify

    for file in checkpoints():
        facts = card(file)
        if "network" in facts:
            report = verify(file)
            good, message = report.ok, report.message
        else:  # measured tables beside a network: nothing to load, but the file must be the one of its card
            good = sha256(file) == facts.get("sha256")
            message = "sha256 as in its card" if good else "is not the file that its card describes"
        remedy = "" if good else "restore the file, or make it again with: suite train"
        yield Finding("ok" if good else "fail", str(file.relative_to(ROOT)), message, remedy)
