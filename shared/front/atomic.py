"""Writing that is whole or not at all.

A file is written under a temporary name in its own folder and then renamed (``os.replace``), so that a full disk, a
limit or a stop never leaves half a file under its final name. Results of several files are staged in a hidden folder
and appear together.
What a killed process left behind is swept up by the next write into the same folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from shared.errors import UserError

PREFIX = ".partial-"  # .partial-<machine>-<process id>-<token>-<final name>


def write_atomic(path: Path | str, content: bytes | str | Callable[[Path], object]) -> Path:
    """Write a file whole or not at all; an existing file is replaced in one step.

    path      the final name; its folder must exist
    content   bytes, text (UTF-8), or a function that writes the temporary path it is given (same ending as ``path``)
    Returns the path. Whatever is raised on the way, the folder is as it was.
    """
    path = Path(path)
    temporary = _temporary(path)
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        _flush(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def untaken(path: Path | str) -> Path:
    """A place for results: absent, or an empty folder. UserError for any other, so that nothing is overwritten."""
    path = Path(path)
    if path.is_file():
        raise UserError("exists already and is not an empty folder", where=str(path), remedy="choose a new name")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(
            "exists and is not an empty folder", where=str(path), remedy="choose a new folder for the results"
        )
    return path


@contextlib.contextmanager
def staged_folder(path: Path | str) -> Iterator[Path]:
    """A folder to fill: the body writes into the hidden folder it is given, which takes the final name at the end.

    Raises UserError at the start when the final folder exists and holds anything, so that nothing is overwritten.
    What the body raises about the hidden folder or a full disk names the final folder instead.
    """
    path = untaken(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = _temporary(path)
    except OSError as error:
        raise _not_made(path, error) from None
    try:
        try:
            staging.mkdir()
        except OSError as error:
            raise _not_made(path, error) from None
        yield staging
        for file in staging.rglob("*"):
            if file.is_file():
                _flush(file)
        os.replace(staging, path)
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        if isinstance(error, UserError) and staging.name in error.where:
            raise UserError(error.what, where=str(path), remedy=error.remedy) from error
        if isinstance(error, OSError) and _names(error, staging):
            error.filename, error.filename2 = str(path), None
        raise


def _names(error: OSError, staging: Path) -> bool:
    """Whether an error speaks of the hidden folder, or of no file, as that of a write to a full disk."""
    if error.filename is None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return staging.name in str(error.filename)


def _not_made(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot be made ({error.strerror})", where=str(path), remedy="choose another folder")


def sweep(folder: Path) -> None:
    """Remove what writers that no longer run left behind in a folder."""
    for left in folder.glob(f"{PREFIX}{_machine()}-*"):
        owner = left.name.removeprefix(f"{PREFIX}{_machine()}-").partition("-")[0]
        if owner.isdigit() and not _runs(int(owner)):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    sweep(path.parent)
    return path.with_name(f"{PREFIX}{_machine()}-{os.getpid()}-{secrets.token_hex(4)}-{path.name}")


def _machine() -> str:
    """This machine's name: on a shared disk, a process number means nothing elsewhere."""
    return "".join(c for c in platform.node() if c.isalnum()) or "here"


def _flush(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
