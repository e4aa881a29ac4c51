"""Bad input to `suite medical lesions add`: one sentence that names the file and the remedy, exit code 2, no trace."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domains.medical.data import make_volume
from domains.medical.export import write_volume
from domains.medical.lesions.operations import ADD
from suite.cli import main
from tests.medical.lesion_world import small_brain, untrained, written

Files = dict[str, Path]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Good files; a test breaks one of them in a copy."""
    folder = tmp_path_factory.mktemp("good")
    out = written(folder, *small_brain())
    out["checkpoint"] = untrained(folder / "lesions.safetensors")
    return out


def run(files: Mapping[str, Path], out: Path, *more: str) -> list[str]:
    """The command line of a quick run on these files."""
    return [
        "medical", "lesions", "add", "--image", str(files["FLAIR"]), "--mask", str(files["mask"]),
        "--checkpoint", str(files["checkpoint"]), "--steps", "10", "--outside-training", "--out", str(out), *more,
    ]  # fmt: skip


def refused(arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run, see exit code 2 and one sentence and no new file; return the sentence."""
    before = sorted(str(path) for path in folder.rglob("*"))
    code = main(arguments)
    lines = [line for line in capsys.readouterr().err.split("\r")[-1].splitlines() if line.strip()]
    assert code == 2
    assert "Traceback" not in " ".join(lines)
    assert len(lines) == 1, lines
    assert ";" in lines[0], "a sentence says what is wrong; and how to mend it"
    assert sorted(str(path) for path in folder.rglob("*")) == before
    return lines[0]


def as_volume(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    """The good FLAIR, changed, under a new name, written by another program."""
    image = nib.load(path)
    out = path.with_name("broken.nii.gz")
    nib.save(nib.Nifti1Image(change(np.asarray(image.dataobj)), image.affine), out)
    return out


IMAGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "2-d": lambda v: v[:, :, 0],
    "4-d": lambda v: np.stack([v, v], -1),
    "nan": lambda v: np.where(v == v.max(), np.nan, v).astype(np.float32),
    "constant": lambda v: np.full_like(v, 7),
    "another shape": lambda v: v[:-2],
}
MASKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "another shape": lambda v: v[:, :-1],
    "three values": lambda v: (v + (np.arange(v.size).reshape(v.shape) % 5 == 0) * 3).astype(np.uint8),
    "nan": lambda v: np.where(v > 0, np.nan, 0).astype(np.float32),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_a_broken_image_is_refused(kind: str, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = as_volume(Path(files["FLAIR"]), IMAGES[kind])
    sentence = refused(run({**files, "FLAIR": broken}, tmp_path / "out"), tmp_path, capsys)
    assert "broken.nii.gz" in sentence or "mask" in sentence


@pytest.mark.parametrize("kind", MASKS)
def test_a_broken_mask_is_refused(kind: str, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = as_volume(Path(files["mask"]), MASKS[kind])
    assert "broken.nii.gz" in refused(run({**files, "mask": broken}, tmp_path / "out"), tmp_path, capsys)


def test_a_mask_of_another_place_is_refused(files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = nib.load(files["mask"])
    moved = image.affine.copy()
    moved[:3, 3] += 40
    path = tmp_path / "moved.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), moved), path)
    assert "69" in refused(run({**files, "mask": path}, tmp_path / "out"), tmp_path, capsys)


def test_contrasts_on_two_grids_are_refused(files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = nib.load(files["T1"])
    path = tmp_path / "T1.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[:, 1:], image.affine), path)
    assert "T1" in refused(run(files, tmp_path / "out", "--image", f"T1={path}"), tmp_path, capsys)


def test_an_existing_label_with_fractions_is_refused(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(run(files, tmp_path / "out", "--label", str(files["FLAIR"])), tmp_path, capsys)


def test_a_histogram_out_of_range_is_refused(files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "texture.json"
    path.write_text(json.dumps({"FLAIR": [-1] + [1] * 15}))
    assert "FLAIR" in refused(run(files, tmp_path / "out", "--texture", str(path)), tmp_path, capsys)


@pytest.mark.parametrize(
    "more",
    [("--count", "0"), ("--count", "21"), ("--steps", "5"), ("--jump", "10"), ("--seed", "-1"), ("--texture", "purple"),
     ("--texture-guidance", "1.1"), ("--texture-guidance", "nan"), ("--nonsense", "1")],
)  # fmt: skip
def test_a_value_out_of_range_is_refused(
    more: tuple[str, str], files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert main(run(files, tmp_path / "out", *more)) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("how", ["tampered", "card tampered", "truncated", "not a checkpoint", "no card"])
def test_a_wrong_checkpoint_is_refused(
    how: str, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "lesions.safetensors"
    content, card = files["checkpoint"].read_bytes(), files["checkpoint"].with_suffix(".json").read_text()
    if how == "tampered":
        content = content[:-1] + bytes([content[-1] ^ 1])
    elif how == "truncated":
        content = content[: len(content) // 2]
    elif how == "not a checkpoint":
        content = b"hello"
    elif how == "card tampered":
        card = card.replace('"sha256": "', '"sha256": "0')
    path.write_bytes(content)
    if how != "no card":
        path.with_suffix(".json").write_text(card)
    assert "lesions" in refused(run({**files, "checkpoint": path}, tmp_path / "out"), tmp_path, capsys)


@pytest.fixture(scope="module")
def plain(files: Files, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The FLAIR as an uncompressed file."""
    path = tmp_path_factory.mktemp("plain") / "FLAIR.nii"
    nib.save(nib.load(files["FLAIR"]), path)
    return path.read_bytes()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999), noise=st.binary(max_size=40))
def test_any_cut_of_a_file_is_refused(
    share: float, noise: bytes, plain: bytes, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.nii"
    kept = plain[: int(share * (len(plain) - 100))]
    path.write_bytes(kept + noise)
    assert "cut.nii" in refused(run({**files, "FLAIR": path}, tmp_path / "out"), tmp_path, capsys)


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
FLAGS = st.sampled_from([option.flag for option in ADD.settings.options()] + ["--settings", "--nonsense", "-x", ""])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(typed=st.lists(st.tuples(FLAGS, st.one_of(WORDS, st.floats().map(str), st.integers().map(str))), max_size=5))
def test_whatever_is_typed_is_refused_in_one_sentence(
    typed: list[tuple[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given_words = [word for pair in typed for word in pair if word != "--help"]
    absent = ["--image", str(tmp_path / "absent.nii.gz"), "--mask", str(tmp_path / "absent.nii.gz")]
    code = main(["medical", "lesions", "add", *given_words, *absent, "--out", str(tmp_path / "out")])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert code == 2 and len(lines) == 1 and "Traceback" not in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_a_run_stopped_from_the_keyboard_leaves_nothing(files: Files, tmp_path: Path) -> None:
    arguments = [*run(files, tmp_path / "out"), "--steps", "300", "--repeats", "10", "--count", "20"]
    process = subprocess.Popen(
        [sys.executable, "-m", "suite.cli", *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in jobs in a shell's background
    )
    while process.poll() is None and not list(tmp_path.glob(".partial-*")):  # until it has begun to write
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "stopped; nothing was written" in said and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(files: Files, tmp_path: Path) -> None:
    limit = 20_000  # bytes a file may have: less than one result

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    found = subprocess.run(
        [sys.executable, "-m", "suite.cli", *run(files, tmp_path / "out")],
        preexec_fn=small, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert found.returncode == 2, found.stderr
    assert "Traceback" not in found.stderr
    assert str(tmp_path / "out") in found.stderr and ".partial" not in found.stderr, found.stderr
    assert list(tmp_path.rglob("*")) == []


def test_a_scan_unlike_the_training_scans_needs_a_word(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    shape = nib.load(files["mask"]).shape
    noise = make_volume(rng.normal(100, 10, shape).astype(np.float32), nib.load(files["mask"]).affine)
    path = write_volume(noise, noise.values, tmp_path / "noise.nii.gz", synthetic=False).path
    arguments = [word for word in run({**files, "FLAIR": path}, tmp_path / "out") if word != "--outside-training"]
    sentence = refused([*arguments, "--anywhere"], tmp_path, capsys)
    assert "--outside-training" in sentence


def test_a_wrong_kind_of_scan_is_named_before_the_place_of_the_lesion(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = nib.load(files["mask"])
    lesion = np.asarray(image.dataobj) > 0
    numbers = np.random.default_rng(0).integers(0, 80, lesion.shape).astype(np.int16)
    numbers[lesion] = numbers[: lesion.shape[0] // 2] = -1000  # air, in the way of a CT
    path = tmp_path / "ct.nii.gz"
    nib.save(nib.Nifti1Image(numbers, image.affine), path)
    arguments = [word for word in run({**files, "FLAIR": path}, tmp_path / "out") if word != "--outside-training"]
    sentence = refused(arguments, tmp_path, capsys)
    assert "unlike the training scans" in sentence and "CT numbers" in sentence and "move the lesion" not in sentence
