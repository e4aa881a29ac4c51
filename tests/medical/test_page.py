"""The lesion page without a browser: answers in the order of the questions, and settings of an earlier run."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import gradio as gr
import nibabel as nib
import numpy as np
import pytest

from domains.medical.data import make_volume, read_extensions
from domains.medical.export import write_label, write_volume
from domains.medical.lesions.operations import ADD, AddLesions
from domains.medical.page import handlers, replay
from domains.medical.page.visit import Visit, uploaded
from shared.errors import UserError
from shared.front.controls import Controls
from shared.front.provenance import provenance
from tests.medical.nifti_files import affine_for, numbers, save

SHAPE = (20, 24, 18)


@pytest.fixture
def visit(tmp_path: Path) -> Visit:
    """A visitor with a small scan of his own and no mask."""
    raw = np.zeros(SHAPE, np.int16)
    raw[3:17, 3:21, 3:15] = np.random.default_rng(0).integers(80, 160, (14, 18, 12))
    scan = write_volume(make_volume(raw, affine_for("RAS")), raw, tmp_path / "mine.nii.gz", synthetic=False)
    return Visit(uploaded({"FLAIR": str(scan.path)}, None, None))


def held(visit: Visit, z: int, *more: Any) -> list[Any]:
    """What the components hold with the axial slider at z; the cross-hair tool, radiological, after, variation 1."""
    window = next(iter(visit.scan.windows["FLAIR"].values()))
    look = [10, 12, z, "FLAIR", window.width, window.level, 0.3, "radiological", "axial", "Paint", 6.0]
    return [*look, "After", "1", False, *more]


def height(picture: str) -> str:
    """The slice that the large plane of a viewer's value shows."""
    return str(json.loads(picture)["planes"][0]["alt"]).partition(",")[0]


def is_silent(answer: list[Any]) -> bool:
    return all(isinstance(one, dict) and one == gr.skip() for one in answer)


class Slow:
    """`handlers._pictures`, which waits in the thread that comes first until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.here, self.go, self.first = threading.Event(), threading.Event(), True
        draw = handlers._pictures

        def slow(*given: Any) -> list[str]:
            if self.first:
                self.first = False
                self.here.set()
                assert self.go.wait(60)
            return draw(*given)

        monkeypatch.setattr(handlers, "_pictures", slow)


def test_an_older_answer_that_comes_late_is_dropped(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, late = Slow(monkeypatch), []
    key = gr.EventData(None, {"plane": "axial", "key": "PageUp"})
    older = threading.Thread(target=lambda: late.append(handlers._select(key, 1, visit, None, *held(visit, 5))))
    older.start()
    assert slow.here.wait(60)
    newer = handlers._draw(2, visit, None, *held(visit, 9))
    slow.go.set()
    older.join(60)
    assert height(newer[0]) == "Axial 9/18"
    assert is_silent(late[0])


def test_a_question_that_was_overtaken_on_the_way_is_not_drawn_at_all(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers._draw(2, visit, None, *held(visit, 9))
    monkeypatch.setattr(handlers, "_pictures", lambda *given: pytest.fail("drawn for nothing"))
    assert is_silent(handlers._draw(1, visit, None, *held(visit, 5)))


def test_a_stroke_that_ends_late_is_kept_and_shown_where_the_visitor_is_now(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, go, painted, late = threading.Event(), threading.Event(), Visit.paint, []

    def slow(*given: Any, **options: Any) -> None:
        here.set()
        assert go.wait(60)
        painted(*given, **options)

    monkeypatch.setattr(Visit, "paint", slow)
    stroke = gr.EventData(None, {"plane": "axial", "index": 4, "points": [[200, 200], [220, 220]]})
    older = threading.Thread(
        target=lambda: late.append(handlers._paint(stroke, 1, visit, None, *held(visit, 5, False)))
    )
    older.start()
    assert here.wait(60)
    handlers._draw(2, visit, None, *held(visit, 9))
    go.set()
    older.join(60)
    (_, words, *places, before, after, strip) = late[0]
    assert visit.mask.any() and "mL" in words
    assert height(before) == "Axial 9/18"
    assert is_silent([*places, after, strip])


def test_a_picture_is_drawn_again_when_the_mask_changed_meanwhile(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, seen = handlers._pictures, []

    def painting(*given: Any) -> list[str]:
        seen.append(bool(visit.mask.any()))
        answer = draw(*given)
        if len(seen) == 1:
            visit.paint([(10, 12, 8)], 6.0, erase=False, inside=False)
        return answer

    monkeypatch.setattr(handlers, "_pictures", painting)
    handlers._draw(1, visit, None, *held(visit, 9))
    assert seen == [False, True]


# ------------------------------------------------------------------------------------------ settings of an earlier run


def sidecar(folder: Path, scan: Path, **options: Any) -> dict[str, Any]:
    settings = AddLesions(image={"FLAIR": str(scan)}, mask=str(scan), out=str(folder / "out"), **options)
    return provenance(ADD, settings, threads=1, sources=[scan])


def test_a_sidecar_and_the_nifti_that_carries_it_give_the_same_settings(visit: Visit, tmp_path: Path) -> None:
    record = sidecar(tmp_path, tmp_path / "mine.nii.gz", texture="bright", seed=41, count=3, texture_guidance=0.25)
    lead, mask = visit.scan.lead, np.zeros(SHAPE, bool)
    image = write_volume(lead, lead.values, tmp_path / "syn_FLAIR.nii.gz", provenance=record, synthetic=True)
    label = write_label(lead, mask, tmp_path / "syn_label.nii", provenance=record, synthetic=True)
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"calls": 118, "provenance": record}))
    for path in (image.path, image.sidecar, label.path, label.sidecar, report):
        settings, held_in = replay.settings_in(path)
        assert (settings.seed, settings.count, settings.texture_guidance) == (41, 3, 0.25)
        assert settings.texture == "example:bright" and held_in["sources"] == record["sources"]


def test_the_controls_take_the_values_of_the_sidecar_and_uploads_stay(visit: Visit, tmp_path: Path) -> None:
    settings = AddLesions(image={"": "example:brain"}, mask="example:brain", out="x", seed=7, steps=30, anywhere=True)

    async def build() -> Controls:
        with gr.Blocks():
            return Controls(AddLesions, only={"seed", "steps", "anywhere", "checkpoint"})

    controls = asyncio.run(build())  # outside of an event loop Gradio makes loops that it never closes
    values = dict(zip([c.option.name for c in controls.controls], replay.values_for(controls, settings), strict=True))
    assert [values[name]["value"] for name in ("seed", "steps", "anywhere")] == [7, 30, True]
    assert values["checkpoint"] == gr.skip()


def test_the_page_names_the_files_that_it_needs_and_is_content_with_the_scan_that_is_there(
    visit: Visit, tmp_path: Path
) -> None:
    record = sidecar(tmp_path, tmp_path / "mine.nii.gz")
    settings = AddLesions.from_json(record, out="x")
    assert replay.said(settings, record, visit).count("mine.nii.gz") == 1  # named once: as the mask, not as the scan
    record["sources"][0]["sha256"] = "another"
    record["settings"]["mask"] = "drawn.nii.gz"
    words = replay.said(AddLesions.from_json(record, out="x"), record, visit)
    assert "mine.nii.gz, drawn.nii.gz" in words


@pytest.mark.parametrize("kind", ["plain nifti", "no json", "another app", "unknown option", "out of range", "cut"])
def test_what_holds_no_settings_of_the_app_is_refused_in_one_sentence(kind: str, visit: Visit, tmp_path: Path) -> None:
    record = sidecar(tmp_path, tmp_path / "mine.nii.gz")
    path = tmp_path / "given.json"
    if kind == "plain nifti":
        path = save(tmp_path / "given.nii.gz", numbers())
    elif kind == "cut":
        path = tmp_path / "given.nii.gz"
        path.write_bytes((tmp_path / "mine.nii.gz").read_bytes()[:40])
    elif kind == "no json":
        path.write_text("hello")
    else:
        record["operation"] = "audio_make" if kind == "another app" else record["operation"]
        record["settings"] |= {"unknown option": {"colour": 1}, "out of range": {"count": 99}}.get(kind, {})
        path.write_text(json.dumps(record))
    with pytest.raises(UserError) as caught:
        replay.settings_in(path)
    assert str(tmp_path) not in str(replay.replace_place(caught.value))


def test_extensions_are_read_as_another_program_wrote_them(tmp_path: Path) -> None:
    for order in "<>":
        image = nib.Nifti1Image(numbers(), affine_for("RAS"), nib.Nifti1Header(endianness=order))
        image.header.extensions.append(nib.nifti1.Nifti1Extension(4, b"first"))
        image.header.extensions.append(nib.nifti1.Nifti1Extension(6, b"second, longer than the first"))
        nib.save(image, tmp_path / "two.nii.gz")
        assert read_extensions(tmp_path / "two.nii.gz") == [(4, b"first"), (6, b"second, longer than the first")]
