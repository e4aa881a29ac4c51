"""Sound out: WAV and FLAC at 16, 24 and 32 bits, 22.05, 44.1 and 48 kHz, never clipped; loops to the sample.

A file carries what made it: the sidecar as JSON in its comment, and SYNTHETIC in its title. A wave that was made at
22.05 kHz holds nothing above 11 kHz at any sample rate, and `described` says so.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.loudness import limited
from shared.errors import UserError
from shared.front.atomic import write_atomic
from shared.front.provenance import DISTRIBUTION

SUBTYPES: Final = {"16": "PCM_16", "24": "PCM_24", "32f": "FLOAT"}
RATES: Final = (22_050, 44_100, 48_000)
FORMATS: Final = {".wav": "WAV", ".flac": "FLAC"}
SYNTHETIC: Final = "SYNTHETIC"


def write_sound(
    path: str | Path,
    wave: NDArray,
    rate: int,
    *,
    out_rate: int = 44_100,
    bits: str = "16",
    sidecar: Mapping[str, Any] | None = None,
    wrap: bool = False,
) -> Path:
    """Write (n,) or (n, channels) samples as WAV or FLAC, by the ending of the path, whole or not at all.

    rate       Hz of the wave;  out_rate  Hz of the file: 22050, 44100 or 48000
    bits       "16" (with triangular dither, the same every time), "24" or "32f" (WAV alone)
    wrap       the wave is a loop, whose start follows its end
    The true peak is held at -1 dBTP. The file has round(n * out_rate / rate) samples.
    """
    path = Path(path)
    where = path.name
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UserError("is neither .wav nor .flac", where=where, remedy="choose one of the two endings")
    if bits not in SUBTYPES or (kind == "FLAC" and bits == "32f"):
        raise UserError(f"{kind} does not hold {bits} bits", where=where, remedy="choose 16 or 24, or 32f in WAV")
    if out_rate not in RATES:
        raise UserError(
            f"a sample rate of {out_rate} Hz", where=where, remedy=f"choose one of {', '.join(map(str, RATES))}"
        )
    ready: NDArray = limited(resampled(_checked(wave, where), rate, out_rate), out_rate, wrap=wrap)
    if bits == "16":
        ready = _dithered(ready)

    def write(temporary: Path) -> None:
        import soundfile

        channels = 1 if ready.ndim == 1 else ready.shape[1]
        with soundfile.SoundFile(
            str(temporary), "w", samplerate=out_rate, channels=channels, subtype=SUBTYPES[bits], format=kind
        ) as file:
            if sidecar is not None:
                file.title = SYNTHETIC if sidecar.get("synthetic", True) else where
                file.software = DISTRIBUTION
                file.comment = json.dumps(sidecar, allow_nan=False)
            file.write(ready)

    return write_atomic(path, write)


def packed(path: Path, files: Sequence[Path]) -> Path:
    """One ZIP of files by their names, stored as they are: sound does not shrink. Same files, same bytes."""

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for file in sorted(files):
                entry = zipfile.ZipInfo(file.name)  # of 1980, whenever it is made
                entry.file_size = file.stat().st_size  # so that only a huge one is written as such
                with file.open("rb") as sound, archive.open(entry, "w") as place:
                    shutil.copyfileobj(sound, place)

    return write_atomic(path, write)


def read_sidecar(path: str | Path) -> dict[str, Any] | None:
    """The sidecar that a WAV or FLAC of this suite carries; None when there is none."""
    import soundfile

    try:
        with soundfile.SoundFile(str(path)) as file:
            found = json.loads(file.comment)
    except (soundfile.LibsndfileError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def resampled(wave: NDArray, rate: int, out_rate: int) -> NDArray[np.float32]:
    """The wave at another rate, round(n * out_rate / rate) samples of it."""
    import soxr

    wanted = round(len(wave) * out_rate / rate)
    found = np.asarray(wave, dtype=np.float32)
    if rate != out_rate:
        found = np.asarray(soxr.resample(found, rate, out_rate, quality="VHQ"), dtype=np.float32)[:wanted]
        missing = wanted - len(found)
        found = np.pad(found, [(0, missing), *[(0, 0)] * (found.ndim - 1)]) if missing else found
    return found


def loop(wave: NDArray, samples: int) -> NDArray[np.float32]:
    """Exactly `samples` samples that repeat without a seam: what rings beyond the end is added to the beginning."""
    if samples < 1:
        raise UserError(f"a loop of {samples} samples", where="loop", remedy="give one sample or more")
    folded = np.zeros((samples, *np.shape(wave)[1:]), dtype=np.float64)
    for first in range(0, len(wave), samples):
        piece = wave[first : first + samples]
        folded[: len(piece)] += piece
    return folded.astype(np.float32)


def described(rate: int, out_rate: int) -> str:
    """The true bandwidth of a file, in words."""
    if out_rate > rate:
        return (
            f"{out_rate / 1000:g} kHz file; the sound was made at {rate / 1000:g} kHz and reaches {rate / 2000:.4g} kHz"
        )
    return f"{out_rate / 1000:g} kHz file; the sound reaches {out_rate / 2000:.4g} kHz"


def _checked(wave: NDArray, where: str) -> NDArray:
    if np.ndim(wave) not in (1, 2) or not len(wave):
        raise UserError(f"samples of shape {np.shape(wave)}", where=where, remedy="give (n,) or (n, channels)")
    if not np.isfinite(wave).all():
        raise UserError("holds a sample that is no number", where=where, remedy="make it again with other settings")
    return wave


def _dithered(wave: NDArray[np.float32]) -> NDArray[np.int16]:
    """16-bit samples with triangular dither of one step, from a fixed seed."""
    rng = np.random.default_rng(0)
    noise = rng.random(wave.shape) - rng.random(wave.shape)
    noise = np.where(wave == 0, 0.0, noise)  # digital silence stays silent
    return np.clip(np.rint(wave * 32767.0 + noise), -32768, 32767).astype(np.int16)
