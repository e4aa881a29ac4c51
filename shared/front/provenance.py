"""What is written beside every result: enough to make it again, and to say when it cannot be the same to the bit.

    sidecar = provenance(ADD, settings, threads=torch.get_num_threads(), sources=[scan], checkpoint=weights)
    write_atomic(out / "syn_scan.json", json.dumps(sidecar, indent=1))

``suite ... --settings syn_scan.json`` reads ``settings`` from it and does the same again.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import shlex
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared.front.atomic import staged_folder, write_atomic
from shared.front.operation import Operation
from shared.front.option import EXAMPLE
from shared.front.settings import Settings

__all__ = [
    "command_line",
    "differences",
    "input_files",
    "portable",
    "provenance",
    "sha256",
    "staged_folder",
    "versions",
    "write_atomic",
]

DISTRIBUTION = "diffusion-suite"
ALWAYS = (DISTRIBUTION, "torch", "numpy")


def provenance(
    operation: Operation,
    settings: Settings,
    *,
    threads: int,
    device: str = "cpu",
    dtype: str = "float32",
    batch: int = 1,
    checkpoint: Path | None = None,
    sources: Iterable[Path] = (),
    packages: Iterable[str] = (),
    synthetic: bool = True,
) -> dict[str, Any]:
    """The sidecar of a result: plain JSON.

    threads, device, dtype, batch   what the numbers may depend on beside settings and versions
    checkpoint                      the weights used; their sha256 is recorded
    sources                         the input files; name and sha256 are recorded, not their folders
    packages                        further distributions whose versions matter (nibabel, ...)
    synthetic                       whether the result holds data that nobody measured
    """
    seed = next((getattr(settings, option.name) for option in settings.options() if option.kind == "seed"), None)
    return {
        "synthetic": synthetic,
        "operation": operation.name,
        "settings": portable(settings),
        "seed": seed,
        "command": command_line(operation, settings),
        "versions": versions(packages),
        "device": device,
        "dtype": dtype,
        "threads": threads,
        "batch": batch,
        "checkpoint": None if checkpoint is None else {"name": checkpoint.name, "sha256": sha256(checkpoint)},
        "sources": [{"name": Path(source).name, "sha256": sha256(source)} for source in sources],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def portable(settings: Settings) -> dict[str, Any]:
    """Settings as they may leave the machine: input files by name alone (a path may name a patient), no folder."""
    found = settings.to_json()
    for option in settings.options():
        value = found[option.name]
        if option.local:
            del found[option.name]
        elif option.kind == "files" and value:
            found[option.name] = {name: Path(path).name for name, path in value.items()}
        elif option.kind == "file" and value:
            found[option.name] = [Path(path).name for path in value] if option.many else Path(value).name
    return found


def command_line(operation: Operation, settings: Settings) -> str:
    """The command that does the same: only what differs from the defaults, quoted for a POSIX shell.

    Input files stand by name alone and the folder for results as a word to replace, as in ``portable``.
    """
    words = ["suite", *operation.command]
    plain = portable(settings)
    for option in settings.options():
        value = plain.get(option.name, f"NEW_{option.name.upper()}")
        if value is None or (not option.required and value == option.plain(option.default)):
            continue
        if option.kind == "bool":
            words.append(option.flag if value else f"--no-{option.flag[2:]}")
        elif isinstance(value, Mapping):
            words += [w for name, path in value.items() for w in (option.flag, f"{name}={path}" if name else path)]
        else:
            words += [w for item in (value if option.many else (value,)) for w in (option.flag, str(item))]
    return shlex.join(words)


def versions(packages: Iterable[str] = ()) -> dict[str, str]:
    """Versions by distribution name; Python's own under ``python``. A distribution that is absent is left out."""
    found = {"python": platform.python_version()}
    for name in dict.fromkeys((*ALWAYS, *packages)):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def sha256(path: Path | str) -> str:
    """The SHA-256 of a file, in hexadecimal; reads it in blocks."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def differences(sidecar: Mapping[str, Any], settings: Settings) -> tuple[str, ...]:
    """What has changed since a sidecar was written, one sentence each; empty when a replay has the same ground.

    Compared: versions, and the SHA-256 of the input files with the same names. Device, threads and batch are known only
    when the run is set up: its own sidecar shows them.
    """
    notes = []
    recorded = sidecar.get("versions")
    if isinstance(recorded, Mapping):
        now = versions(recorded)
        notes = [
            f"{name} was {then}, is {now.get(name, 'absent')}"
            for name, then in recorded.items()
            if now.get(name) != then
        ]
    hashes = {}
    for source in sidecar.get("sources") or ():
        if isinstance(source, Mapping) and isinstance(source.get("name"), str):
            hashes[source["name"]] = source.get("sha256")
    for path in input_files(settings):
        if path.name in hashes and path.is_file() and sha256(path) != hashes[path.name]:
            notes.append(f"{path.name} is another file than the one used then")
    return tuple(notes)


def input_files(settings: Settings) -> list[Path]:
    """The files that settings name, examples left out."""
    paths: list[str] = []
    for option in settings.options():
        value = getattr(settings, option.name)
        if option.kind == "files" and value:
            paths += value.values()
        elif option.kind == "file" and value:
            paths += value if option.many else (value,)
    return [Path(path) for path in paths if not path.startswith(EXAMPLE)]
