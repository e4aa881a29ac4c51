"""Writing is whole or not at all."""

from __future__ import annotations

import errno
import platform
from pathlib import Path

import pytest

from shared.errors import UserError
from shared.front.atomic import PREFIX, staged_folder, write_atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("content", [b"new", "new", lambda path: path.write_text("new")])
def test_a_file_is_replaced_in_one_step(tmp_path: Path, content: object) -> None:
    target = tmp_path / "scan.nii.gz"
    target.write_text("old")
    assert write_atomic(target, content) == target
    assert target.read_text() == "new" and names(tmp_path) == ["scan.nii.gz"]


def test_a_writer_sees_a_name_with_the_same_ending(tmp_path: Path) -> None:
    seen: list[Path] = []

    def write(path: Path) -> None:
        seen.append(path)
        path.touch()

    write_atomic(tmp_path / "scan.nii.gz", write)
    assert seen[0].name.endswith(".nii.gz") and seen[0].parent == tmp_path and seen[0].name.startswith(PREFIX)


def test_a_writer_that_fails_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError):
        write_atomic(target, fail)
    assert target.read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_a_folder_of_results_appears_as_a_whole(tmp_path: Path) -> None:
    with staged_folder(tmp_path / "deep" / "out") as folder:
        (folder / "a").write_text("1")
        assert not (tmp_path / "deep" / "out").exists()
    assert names(tmp_path / "deep" / "out") == ["a"] and names(tmp_path / "deep") == ["out"]


def test_a_failed_folder_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError), staged_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("1")
        raise ValueError
    assert names(tmp_path) == []


def test_a_failure_to_write_names_the_folder_that_was_asked_for_not_the_hidden_one(tmp_path: Path) -> None:
    with pytest.raises(OSError) as full, staged_folder(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "No space left on device")  # a write knows no name
    assert full.value.filename == str(tmp_path / "out")
    with pytest.raises(OSError) as named, staged_folder(tmp_path / "out") as folder:
        raise OSError(errno.EACCES, "Permission denied", str(folder / "a"))
    assert named.value.filename == str(tmp_path / "out")
    with pytest.raises(UserError) as told, staged_folder(tmp_path / "out") as folder:
        raise UserError("cannot be written", where=str(folder / "a"), remedy="free disk space")
    assert str(told.value) == f"{tmp_path / 'out'}: cannot be written; free disk space"
    with pytest.raises(OSError) as other, staged_folder(tmp_path / "out"):
        raise OSError(errno.ENOENT, "No such file", "scan.nii")
    assert other.value.filename == "scan.nii" and names(tmp_path) == []


def test_an_empty_folder_is_used_and_a_filled_one_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with staged_folder(tmp_path / "empty") as folder:
        (folder / "a").touch()
    with pytest.raises(UserError, match="not an empty folder"), staged_folder(tmp_path / "empty"):
        pytest.fail("the body must not run")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="not an empty folder"), staged_folder(tmp_path / "file"):
        pytest.fail("the body must not run")
    with pytest.raises(UserError, match="cannot be made"), staged_folder(tmp_path / "file" / "below"):
        pytest.fail("the body must not run")


def test_leftovers_of_dead_writers_are_swept_and_those_of_others_kept(tmp_path: Path) -> None:
    here = "".join(c for c in platform.node() if c.isalnum()) or "here"
    dead, living = tmp_path / f"{PREFIX}{here}-4194999-x-a", tmp_path / f"{PREFIX}{here}-1-x-a"
    elsewhere = tmp_path / f"{PREFIX}other{here}-4194999-x-a"
    dead.mkdir()
    living.touch()
    elsewhere.touch()
    write_atomic(tmp_path / "b", b"")
    assert names(tmp_path) == sorted([elsewhere.name, living.name, "b"])
