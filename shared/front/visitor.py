"""An operation asked for by a visitor of a server: uploads in, a private folder out, one job in the line.

A visitor names files only as uploads, examples or ``data:`` URLs; a path of the server is refused.
"""

from __future__ import annotations

import atexit
import base64
import binascii
import contextlib
import functools
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from shared.errors import UserError
from shared.front.jobs import Job, JobRunner
from shared.front.operation import Operation, Outcome, Report
from shared.front.option import EXAMPLE, Option

_DATA = re.compile(r"data:(?P<type>[\w.+/-]*)(?:;name=(?P<name>[\w. +-]{1,120}))?;base64,(?P<body>[A-Za-z0-9+/=\s]*)")
_REMEDY = "upload the file, give a data: URL with ;name=FILE, or name an example"


def submit(operation: Operation, values: Mapping[str, Any], jobs: JobRunner, owner: str = "") -> Job[Outcome]:
    """Check what a visitor asks for and put it in the line.

    values   by option name, as ``Settings.build`` takes them; files are uploads, examples or data URLs
    owner    the visitor's session
    Raises UserError for values out of range, files that are no uploads, or a full line.
    The files of the outcome lie in a folder of their own: hand them over inside ``delivering``.
    """
    folder = Path(tempfile.mkdtemp(dir=_results()))
    try:
        received = {
            option.name: _received(option, values[option.name], folder)
            for option in operation.settings.options()
            if option.name in values and not option.local
        }
        places = {option.name: str(folder / option.name) for option in operation.settings.options() if option.local}
        settings = operation.settings.build({**received, **places})

        def work(report: Report) -> Outcome:
            try:
                return operation.run(settings, report)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise

        return jobs.submit(work, label=operation.name, owner=owner)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextlib.contextmanager
def delivering(outcome: Outcome) -> Iterator[None]:
    """The files of an outcome are there inside and removed afterwards, also where the visitor has gone meanwhile."""
    try:
        yield
    finally:
        discard(outcome)


def discard(outcome: Outcome) -> None:
    """Remove the files of an outcome that were written for a visitor; files elsewhere are left alone."""
    root = _results()
    for file in outcome.files:
        if root in file.parents:
            shutil.rmtree(root / file.relative_to(root).parts[0], ignore_errors=True)


def _received(option: Option, value: Any, folder: Path) -> Any:
    if option.kind == "files" and isinstance(value, Mapping) and "path" not in value:
        return {name: _file(option, one, folder) for name, one in value.items()}
    if option.kind not in ("file", "files") or value is None:
        return value
    if option.many and isinstance(value, (list, tuple)):
        return [_file(option, one, folder) for one in value]
    return _file(option, value, folder)


def _file(option: Option, value: Any, folder: Path) -> str:
    """The path of an uploaded file, an example's name as it is, or a data URL written into the visitor's folder."""
    text = value.get("path") if isinstance(value, Mapping) else value
    if not isinstance(text, str) or not text or "\0" in text:
        raise UserError("is not an uploaded file", where=option.flag, remedy=_REMEDY)
    if text.startswith(EXAMPLE) or text in option.examples:
        return text
    if text.startswith("data:"):
        return str(_decode(option, text, folder))
    path = Path(text).resolve()
    if _uploads() not in path.parents or not path.is_file():
        raise UserError("names no uploaded file", where=option.flag, remedy=_REMEDY)
    return str(path)


def _decode(option: Option, text: str, folder: Path) -> Path:
    match = _DATA.fullmatch(text)
    try:
        body = base64.b64decode("".join(match["body"].split()), validate=True) if match else None
    except binascii.Error:
        body = None
    if match is None or body is None:
        raise UserError("is a data: URL that cannot be read", where=option.flag, remedy=_REMEDY)
    suffix = option.suffixes[0] if option.suffixes else ""
    inbox = Path(tempfile.mkdtemp(dir=folder))
    path = inbox / (Path(match["name"]).name if match["name"] else f"upload{suffix}")
    path.write_bytes(body)
    return path


@functools.cache
def _results() -> Path:
    """The folder of all visitors' results; removed when the server ends."""
    root = Path(tempfile.mkdtemp(prefix="suite-results-")).resolve()
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


def _uploads() -> Path:
    """Where the server keeps uploads."""
    from gradio.utils import get_upload_folder

    return Path(get_upload_folder()).resolve()
