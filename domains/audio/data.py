"""Recordings in: WAV, FLAC, OGG, MP3 (AIFF, CAF, AU) of 8 to 192 kHz and 1 to 8 channels become one wave, with notes.

A file is decoded block by block, mixed down (mean of the channels; where they cancel each other, the loudest alone)
and resampled by soxr, so memory holds one block of the file and the finished wave. What was done, and what is odd about
the recording, is said in notes. Refused: what is empty, silent, no sound, damaged, NaN, too short or too long.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.controls.checks import LONGEST
from domains.audio.controls.frames import RATE
from domains.audio.recording import OFF_CENTRE, Measures
from shared.errors import UserError

RATES: Final = (8_000, 192_000)  # Hz
CHANNELS: Final = 8
SHORTEST: Final = 0.1  # seconds
BLOCK: Final = 2**17  # samples of every channel that are decoded at once; a whole number of spectra
OPEN_LENGTH: Final = 2**31 - 2**16  # bytes of sound; from here on, a WAV header leaves the length open
BEYOND: Final = 100.0  # samples this far above full scale are not scaled as sound is
_REMEDY: Final = "give a WAV, FLAC, OGG or MP3 file"
_AGAIN: Final = "export or download the recording again"
_FOREIGN: Final = {b"ftyp": "an MP4 or M4A file", b"webm": "a WebM file", b"matroska": "a Matroska file"}


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording that was read.

    wave        (n,) float32, one channel, centred on 0; within +-1 unless the file goes beyond
    rate        Hz of the wave
    notes       what was done to it and what is odd about it, a few words each
    odd         of these, what is true of the file itself, whatever was made of it
    part        seconds of the file at which the wave begins, and that the file has
    source_rate, channels, bandwidth   of the file; bandwidth in Hz is what it holds, whatever its rate promises
    path, sha256                       the file it came from, and the hash of its bytes
    """

    wave: NDArray[np.float32]
    rate: int
    notes: tuple[str, ...]
    source_rate: int
    channels: int
    bandwidth: float
    path: Path
    sha256: str
    odd: tuple[str, ...] = ()
    part: tuple[float, float] = (0.0, 0.0)

    @property
    def seconds(self) -> float:
        return len(self.wave) / self.rate


def read_recording(
    path: str | Path,
    *,
    rate: int = RATE,
    start: float = 0.0,
    seconds: float | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Recording:
    """The recording in a file, or the part of it from `start` on that lasts `seconds` (None: to the end).

    rate   Hz of the wave that is wanted
    tell   called with samples decoded and to be decoded, from block to block
    Raises UserError that names the file.
    """
    path = Path(path)
    digest = _hash(path)
    first, total, frames, source_rate, channels = _plan(path, start, seconds)
    measures = Measures(source_rate, channels)
    mixed = _decode(path, first, total, rate, measures, None, tell)
    where = path.name
    if not np.isfinite(measures.peak) or measures.peak > BEYOND:
        raise UserError(
            f"its samples go up to {measures.peak:g}", where=where, remedy="save it with samples from -1 to 1"
        )
    if measures.silent:
        raise UserError("is silent", where=where, remedy="give a recording in which something sounds")
    odd = _odd(measures, total, rate)
    promised, held = _lengths(path)
    if held < promised:
        odd.append(f"it is cut short: its header promises {promised:.2f} s, the file holds {held:.2f} s")
    if total < frames:
        odd.append(f"{total / source_rate:.1f} of {frames / source_rate:.1f} s, from {first / source_rate:.1f} s")
    notes = [*_done(measures, rate), *odd]
    if measures.opposed:
        loudest = int(measures.level[:-1].argmax())
        mixed = _decode(path, first, total, rate, None, loudest, tell)
        notes[0] = f"{channels} channels cancel each other: channel {loudest + 1} alone was taken"
        offset = float(measures.offset[loudest])
    else:
        offset = float(measures.offset.mean())
    if abs(offset) > OFF_CENTRE:
        notes.append(f"it was off centre by {offset:+.3f}, which was taken out")
        mixed -= np.float32(offset)
    return Recording(
        mixed,
        rate,
        tuple(notes),
        source_rate,
        channels,
        measures.bandwidth,
        path,
        digest,
        tuple(odd),
        (first / source_rate, frames / source_rate),
    )


def read_channels(path: str | Path, *, rate: int, start: float, seconds: float) -> NDArray[np.float32]:
    """(n, channels) all channels of a part of a recording, or of what there is of it, at `rate`, block by block.

    Raises UserError that names the file.
    """
    path = Path(path)
    first, total, _, _, channels = _plan(path, start, seconds)
    return _decode(path, first, total, rate, None, range(channels), lambda done, of: None)


# ---------------------------------------------------------------------------------------------------------- one file


def _hash(path: Path) -> str:
    """sha256 of a file that is there, is no folder and is not empty."""
    if not path.is_file():
        what = "this is a folder, not a file" if path.is_dir() else "there is no such file"
        raise UserError(what, where=path.name, remedy=_REMEDY)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            head = file.read(4096)
            if not head:
                raise UserError("the file is empty", where=path.name, remedy=_REMEDY)
            for sign, name in _FOREIGN.items():
                if sign in head[:64]:
                    raise UserError(f"is {name}", where=path.name, remedy="convert it to WAV, FLAC, OGG or MP3 first")
            digest.update(head)
            while chunk := file.read(2**20):
                digest.update(chunk)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror or error})", where=path.name, remedy=_AGAIN) from None
    return digest.hexdigest()


def _plan(path: Path, start: float, seconds: float | None) -> tuple[int, int, int, int, int]:
    """First sample and number of samples to read, number of all, rate and channels of a file that can be read."""
    where = path.name
    with _opened(path) as file:
        rate, channels, frames = int(file.samplerate), int(file.channels), int(file.frames)
    if not RATES[0] <= rate <= RATES[1]:
        raise UserError(f"has a sample rate of {rate} Hz", where=where, remedy="resample it to 8 to 192 kHz")
    if not 1 <= channels <= CHANNELS:
        raise UserError(f"has {channels} channels", where=where, remedy=f"mix it down to at most {CHANNELS}")
    if frames < 1:
        raise UserError("holds no sound", where=where, remedy=_AGAIN)
    first = round(start * rate)
    if first >= frames:
        raise UserError(
            f"lasts {frames / rate:.2f} s, the part begins at {start:g} s", where=where, remedy="begin inside it"
        )
    total = frames - first if seconds is None else min(frames - first, round(seconds * rate))
    if total < SHORTEST * rate:
        raise UserError(f"lasts {1000 * total / rate:.0f} ms", where=where, remedy=f"give {SHORTEST:g} s or more")
    if total > LONGEST * rate:
        raise UserError(
            f"lasts {total / rate / 60:.1f} minutes", where=where, remedy="choose a part of at most 30 minutes"
        )
    return first, total, frames, rate, channels


def _lengths(path: Path) -> tuple[float, float]:
    """Seconds of sound that the header of a WAV promises and that its file holds; (0, 0) where it promises none.

    A header may leave its length open (what writes into a pipe cannot come back to it): 0, or the largest numbers.
    """
    with path.open("rb") as file:
        kind, _, form = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
        pace = 0  # bytes a second
        while (kind, form) == (b"RIFF", b"WAVE") and len(head := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            begin = file.tell()
            if name == b"data":
                promised = size if size < OPEN_LENGTH and pace else 0
                return promised / max(pace, 1), min(promised, path.stat().st_size - begin) / max(pace, 1)
            if name == b"fmt ":
                pace = struct.unpack("<8xI", file.read(12).ljust(12, b"\0"))[0]
            file.seek(begin + size + size % 2)  # chunks begin at even places
    return 0.0, 0.0


def _opened(path: Path) -> Any:
    import soundfile

    try:
        return soundfile.SoundFile(str(path))
    except (soundfile.LibsndfileError, TypeError, ValueError):
        raise UserError("is no sound that can be read", where=path.name, remedy=_REMEDY) from None


def _decode(
    path: Path,
    first: int,
    total: int,
    rate: int,
    measures: Measures | None,
    channel: int | range | None,
    tell: Callable[[int, int], None],
) -> NDArray[np.float32]:
    """(n,) one channel, or the mean of all, at `rate`, or (n, channels) of a range of them; the blocks go through
    `measures` on the way."""
    import soundfile
    import soxr

    with _opened(path) as file:
        wanted = round(total * rate / file.samplerate)
        width = len(channel) if isinstance(channel, range) else 1
        wave = np.zeros((wanted, width) if isinstance(channel, range) else wanted, dtype=np.float32)
        stream = soxr.ResampleStream(file.samplerate, rate, width, dtype="float32", quality="HQ")
        written, read = 0, 0
        try:
            for block in _blocks(file, first, total):
                if not np.isfinite(block).all():
                    bad = int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
                    raise UserError(
                        f"holds a sample that is no number at {(first + read + bad) / file.samplerate:.2f} s",
                        where=path.name,
                        remedy=_AGAIN,
                    )
                read += len(block)
                if measures is not None:
                    measures.add(block)
                taken = block.mean(axis=1) if channel is None else np.ascontiguousarray(block[:, channel])
                if rate != file.samplerate:
                    taken = stream.resample_chunk(taken, last=read == total)
                piece = taken[: wanted - written]
                wave[written : written + len(piece)] = piece
                written += len(piece)
                tell(read, total)
        except soundfile.LibsndfileError:
            raise UserError("is cut short or damaged", where=path.name, remedy=_AGAIN) from None
        if read < total:
            raise UserError(
                f"is cut short: {read / file.samplerate:.2f} s of {total / file.samplerate:.2f} s can be read",
                where=path.name,
                remedy=_AGAIN,
            )
    return wave


def _blocks(file: Any, first: int, total: int) -> Iterator[NDArray[np.float32]]:
    """(n, channels) float32."""
    file.seek(first)
    left = total
    while left:
        block = file.read(min(BLOCK, left), dtype="float32", always_2d=True)
        if not len(block):
            return
        left -= len(block)
        yield block


def _done(measures: Measures, rate: int) -> list[str]:
    """What becomes of a recording on the way to one channel at `rate`; of its channels first."""
    source = measures.rate
    notes = ["one channel" if measures.channels == 1 else f"{measures.channels} channels, their mean was taken"]
    if source != rate:
        notes.append(f"{source / 1000:g} kHz resampled to {rate / 1000:g} kHz")
    if measures.bandwidth > rate / 2:
        notes.append(f"what lies above {rate / 2000:g} kHz is not used")
    return notes


def _odd(measures: Measures, total: int, rate: int) -> list[str]:
    """What is odd about a recording itself."""
    notes = []
    if measures.bandwidth < 0.45 * min(measures.rate, rate):
        notes.append(f"it holds sound up to {measures.bandwidth / 1000:.1f} kHz only, less than its rate promises")
    if measures.peak > 1.001:
        notes.append(f"it goes {20 * np.log10(measures.peak):.1f} dB above full scale")
    if measures.clipped:
        share = 100 * measures.clipped / (total * measures.channels)
        notes.append(f"it is clipped: {share:.2g} % of its samples stay at the limit")
    return notes
