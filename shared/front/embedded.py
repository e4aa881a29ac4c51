"""A sidecar inside a picture: the settings and provenance of a result travel in the PNG itself, as text.

    body = with_text(body, {SIDECAR: json.dumps(sidecar), "Description": "SYNTHETIC picture"})
    sidecar = json.loads(sidecar_text(body))

Text goes into ``iTXt`` chunks (UTF-8, not compressed, so that no reader can be made to unfold it) after the header, as
the PNG specification, third edition, section 11.3.3.4, lays them out. A sidecar may carry small input files
(``files``: name -> base64), so that one picture is enough to make it again.
"""

from __future__ import annotations

import atexit
import base64
import binascii
import functools
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
SIDECAR: Final = "diffusion-suite"  # keyword of the chunk that holds the sidecar
_HEADER_END: Final = len(SIGNATURE) + 12 + 13  # IHDR comes first and has 13 bytes


def with_text(png: bytes, text: Mapping[str, str]) -> bytes:
    """A PNG with text chunks after its header; keywords are Latin-1 words of at most 79 characters."""
    chunks = b"".join(
        _chunk(b"iTXt", word.encode("latin-1") + b"\0\0\0\0\0" + said.encode()) for word, said in text.items()
    )
    return png[:_HEADER_END] + chunks + png[_HEADER_END:]


def sidecar_text(png: bytes) -> str | None:
    """The sidecar inside a PNG, None when it has none or the bytes are no PNG."""
    for kind, body in _chunks(png):
        word, _, rest = body.partition(b"\0")
        if kind == b"iTXt" and word == SIDECAR.encode() and rest[:1] == b"\0":
            parts = rest[2:].split(b"\0", 2)  # language, translated keyword, text
            if len(parts) == 3:
                return parts[2].decode("utf-8", "replace")
    return None


def carried(sidecar: Mapping[str, Any], name: str) -> Path | None:
    """An input file that a sidecar carries, written to a folder that lives as long as this process; None if absent."""
    files = sidecar.get("files")
    body = files.get(name) if isinstance(files, Mapping) else None
    if not isinstance(body, str) or not name or Path(name).name != name:
        return None
    try:
        path = Path(tempfile.mkdtemp(dir=_carried_folder())) / name
        path.write_bytes(base64.b64decode(body, validate=True))
    except (binascii.Error, OSError, ValueError):  # no base64, or a name that no file can have
        return None
    return path


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of every whole chunk."""
    if not png.startswith(SIGNATURE):
        return
    at = len(SIGNATURE)
    while at + 12 <= len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        if at + 12 + length > len(png):
            return
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += 12 + length


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@functools.cache
def _carried_folder() -> Path:
    root = Path(tempfile.mkdtemp(prefix="suite-carried-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root
