"""What is given beside an example is used or refused, never dropped in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from domains.medical.lesions.operations import AddLesions
from domains.medical.lesions.run import read_inputs
from shared.errors import UserError


def asked(**given: object) -> AddLesions:
    """Settings of a run on the example, but for what is given."""
    return AddLesions.build({"image": {"FLAIR": "example:brain"}, "mask": "example:brain", "out": "never", **given})


def test_a_file_beside_an_example_is_refused_by_its_name(tmp_path: Path) -> None:
    own = str(tmp_path / "absent" / "mine.nii.gz")
    with pytest.raises(UserError, match=r"--image: T1 is a file, FLAIR an example; ") as told:
        read_inputs(asked(image={"FLAIR": "example:brain", "T1": own}))
    assert "T1=example:brain" in told.value.remedy


def test_a_label_beside_an_example_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--label: the example brings the label of its own lesions; leave it out"):
        read_inputs(asked(label=str(tmp_path / "mine.nii.gz")))


def test_a_contrast_that_the_example_lacks_is_refused_even_beside_one_that_it_has() -> None:
    with pytest.raises(UserError, match="the example has no contrast CT; use FLAIR, T1, T2"):
        read_inputs(asked(image={"FLAIR": "example:brain", "CT": "example:brain"}))


def test_two_files_for_one_contrast_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--image: two files are the FLAIR; name each"):
        read_inputs(asked(image={"": str(tmp_path / "a.nii.gz"), "FLAIR": str(tmp_path / "b.nii.gz")}, mask="m.nii.gz"))


def test_the_example_is_read_in_the_contrasts_that_were_named() -> None:
    volumes, mask, existing = read_inputs(asked(image={"T1": "example:brain", "FLAIR": "example:brain"}))
    assert list(volumes) == ["FLAIR", "T1"] and mask.any() and existing is not None
