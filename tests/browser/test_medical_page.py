"""The lesion page in a real browser, at a desk and on a phone: from the example to a saved scan."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from playwright.sync_api import expect

from domains.medical.data import make_volume
from domains.medical.export import write_volume
from domains.medical.lesions import add
from domains.medical.lesions.model import WEIGHTS, LesionModel
from domains.medical.lesions.operations import ADD, AddLesions
from domains.medical.page import handlers
from domains.medical.page.visit import Visit as Held
from domains.medical.page.visit import example
from shared.front.provenance import provenance
from tests.browser.conftest import (
    Site,
    Visit,
    apps_of,
    download_the_last,
    hold_until_stopped,
    serving,
    set_number,
    visiting,
)
from tests.browser.test_pages import CONTRASTS
from tests.medical.nifti_files import affine_for

pytestmark = pytest.mark.skipif(not WEIGHTS.is_file(), reason="the weights of the lesion model are not in this tree")
STARTING = 120_000  # milliseconds: the example brain is made when the first visitor comes


@pytest.fixture(scope="module")
def medical() -> Iterator[Site]:
    """The hub with the lesion app."""
    once = pytest.MonkeyPatch()
    once.setattr(add, "REDRAWS", 0)  # lesions of ten steps fail the quality check: draw them once
    with serving(apps_of("medical")) as served:
        example()
        yield served
    once.undo()


@pytest.fixture
def tab(browser: Any, medical: Site, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """The lesion page, loaded; width and colour mode as the test asks for (``indirect``)."""
    with visiting(browser, medical, request) as seen:
        seen.page.goto(medical.address + "medical/")
        expect(seen.page.locator("#before img.first").first).to_have_attribute(
            "src", re.compile("^data:image/png"), timeout=STARTING
        )
        yield seen


desk_and_phone = pytest.mark.parametrize("tab", [(1440, "light"), (390, "dark")], indirect=True, ids=["desk", "phone"])


def quick(page: Any, steps: int = 10) -> None:
    """Few steps, no jumps: under More."""
    page.get_by_role("button", name="More").click()
    for option, value in (("steps", steps), ("repeats", 1)):
        set_number(page, option, value)


def large(page: Any, viewer: str = "before") -> Any:
    return page.locator(f"#{viewer} figure[data-slot='0']")


def position(page: Any, viewer: str = "before") -> Any:
    return page.locator(f"#{viewer} .position")


def volume_of(page: Any) -> float:
    """The volume that the page says the mask has, in mL."""
    found = re.search(r"([\d.]+) mL", page.locator("#mask-words").inner_text())
    return float(found[1]) if found else 0.0


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw a line on the large plane; places are shares of its width and height."""
    picture = large(page).locator(".picture")
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*at[0])
    page.mouse.down()
    page.mouse.move(*at[1], steps=6)
    page.mouse.up()


@desk_and_phone
def test_the_example_becomes_a_scan_with_a_lesion(tab: Visit) -> None:
    page = tab.page
    quick(page)
    page.locator("#run").click()
    expect(page.locator("#status .status-done")).to_contain_text("1 variation of 1 lesion", timeout=120_000)
    expect(large(page, "after").locator("img.first")).to_have_attribute("src", re.compile("^data:image/png"))
    expect(page.locator("#quality table tbody tr")).to_have_count(3)
    expect(page.locator("#training-domain")).to_contain_text("inside")
    expect(page.locator("#figures")).to_contain_text(re.compile(r"\d+ × \d+ ms"))
    expect(page.locator("#close-ups figure")).to_have_count(2)
    download_the_last(page)
    page.locator("#training-domain summary").click()
    for section in ("Explain", "Export"):
        page.get_by_role("button", name=section).click()
    expect(page.locator("#command")).to_contain_text("suite medical lesions add")
    expect(page.locator("#notice")).to_be_in_viewport()  # the far end of the page is in view, the notice still is
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page scrolls sideways"
    assert page.evaluate(CONTRASTS) == []
    assert tab.foreign == [] and tab.errors == []


def test_results_compare_download_and_differ_only_inside_the_mask(tab: Visit, tmp_path: Path) -> None:
    page = tab.page
    quick(page)
    set_number(page, "count", 2)
    page.locator("#run").click()
    expect(page.locator("#status .status-done")).to_contain_text("2 variations", timeout=120_000)
    expect(page.locator("#close-ups figure")).to_have_count(3)

    shown = large(page, "after").locator("img.first")
    expect(shown).to_have_attribute("src", re.compile("^data:image/png"))
    pictures = {"After": shown.get_attribute("src")}
    for mode in ("Before", "Difference", "Blink"):
        page.locator("#mode").get_by_text(mode, exact=True).click()
        expect(shown).not_to_have_attribute("src", pictures[list(pictures)[-1]])
        if mode != "Blink":
            pictures[mode] = shown.get_attribute("src")
    assert len(set(pictures.values())) == 3
    blink = page.locator("#after .blinking")
    expect(blink.locator(".play")).to_have_text("Play")  # reduced motion: nothing moves unasked
    blink.locator(".swap").click()
    expect(blink.locator(".shown")).to_have_text("After")
    expect(large(page, "after").locator("img.second")).to_be_visible()
    blink.locator(".play").click()
    expect(blink.locator(".shown")).to_have_text("Before")
    expect(blink.locator(".shown")).to_have_text("After")

    saved = {}
    for name in ("syn_01_FLAIR.nii.gz", "syn_02_lesions.nii.gz", "report.json"):
        row = page.locator("#files tr, #files .file, #files li").filter(has_text=re.compile(_broken(name))).first
        with page.expect_download() as download:
            row.locator("a").first.click()
        saved[name] = tmp_path / name
        download.value.save_as(saved[name])
    before = example().volumes["FLAIR"]
    after = nib.load(saved["syn_01_FLAIR.nii.gz"])
    mask = np.asarray(nib.load(saved["syn_02_lesions.nii.gz"]).dataobj) > 0
    stored = np.asarray(after.dataobj)
    assert stored.dtype == before.raw.dtype and np.allclose(after.affine, before.affine)
    assert (stored[~mask] == before.raw[~mask]).all() and (stored[mask] != before.raw[mask]).any()
    assert b"SYNTHETIC" in bytes(after.header["descrip"])
    report = json.loads(saved["report.json"].read_text())
    assert report["provenance"]["settings"]["mask"] == "example:brain" and len(report["variations"]) == 2
    assert tab.foreign == [] and tab.errors == []


def _broken(name: str) -> str:
    """A file name as the file list breaks it: stem and ending apart."""
    stem, _, ending = name.rpartition(".")
    return re.escape(stem) + r"\s*\." + ending


def test_stop_freezes_the_count_of_network_calls(tab: Visit, medical: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    fill = LesionModel.fill

    def counting(self: LesionModel, *args: Any, progress: Any = None, **options: Any) -> Any:
        def seen(done: int, total: int) -> None:
            asked.append(done)
            if len(asked) == 3:
                hold_until_stopped(medical)
            progress(done, total)

        return fill(self, *args, progress=seen, **options)

    monkeypatch.setattr(LesionModel, "fill", counting)
    page = tab.page
    quick(page, steps=300)
    page.locator("#run").click()
    expect(page.locator("#status")).to_contain_text(re.compile(r"Step \d+ of 300"), timeout=60_000)
    page.locator("#stop").click()
    expect(page.locator("#status .status-stopped")).to_be_visible()
    reached = len(asked)
    assert 0 < reached < 300 and medical.jobs.busy == (0, 0)
    large(page).locator(".picture").click(position={"x": 90, "y": 120})
    expect(position(page)).not_to_contain_text("L 16.0")
    assert len(asked) == reached
    expect(page.locator("#files")).to_be_hidden()


@desk_and_phone
def test_click_keys_and_sliders_move_the_cross_hair_in_all_planes(tab: Visit) -> None:
    page = tab.page
    start = position(page).inner_text()
    large(page).locator(".picture").click(position={"x": 60, "y": 150})
    expect(position(page)).not_to_have_text(start)
    expect(position(page)).to_contain_text(re.compile(r"R \d+\.\d  [AP] \d+"))  # the left of the screen is the right
    height = re.search(r"S ([\d.]+)", position(page).inner_text())
    assert height is not None
    page.keyboard.press("PageUp")
    expect(position(page)).to_contain_text(f"S {float(height[1]) + 1:.1f}")
    here = position(page).inner_text()
    page.keyboard.press("ArrowUp")
    expect(position(page)).not_to_have_text(here)
    page.keyboard.press("ArrowDown")
    expect(position(page)).to_have_text(here)
    slider = page.locator("#slice-z input[type=number]")
    slider.fill("73")
    slider.press("Tab")
    expect(position(page)).to_contain_text("S 0.0")
    expect(large(page).locator("img.first")).to_have_attribute("alt", re.compile(r"^Axial 73/182"))
    assert tab.errors == []


def test_the_convention_switch_mirrors_the_planes_and_says_so(tab: Visit) -> None:
    page = tab.page
    radiological = large(page).locator("img.first").get_attribute("src")
    expect(position(page)).to_contain_text("patient's right on the left")
    page.locator("#convention").get_by_text("neurological").click()
    expect(position(page)).to_contain_text("patient's right on the right")
    assert large(page).locator("img.first").get_attribute("src") != radiological
    large(page).locator(".picture").click(position={"x": 60, "y": 150})
    expect(position(page)).to_contain_text(re.compile(r"L \d+\.\d"))


@desk_and_phone
def test_painting_erasing_and_undo_change_the_volume_in_three_dimensions(tab: Visit) -> None:
    page = tab.page
    page.locator("#clear").click()
    expect(page.locator("#mask-words")).to_contain_text("The mask is empty")
    page.locator("#tool").get_by_text("Paint").click()
    expect(large(page)).to_have_class(re.compile("painting"))
    coronal = page.locator("#before figure[data-slot='1'] img.first")
    before = coronal.get_attribute("src")
    drag(page, (0.36, 0.4), (0.44, 0.46))
    expect(page.locator("#mask-words")).to_contain_text("1 lesion")
    expect(coronal).not_to_have_attribute("src", before)
    painted = volume_of(page)
    assert painted > 0.3  # a tube of 8 mm, not a line in one slice
    page.locator("#tool").get_by_text("Erase").click()
    expect(page.locator("#before .position")).to_be_visible()
    drag(page, (0.43, 0.45), (0.46, 0.48))
    expect(page.locator("#mask-words")).not_to_contain_text(f"{painted:.2f} mL")
    assert 0 < volume_of(page) < painted
    page.locator("#undo").click()
    expect(page.locator("#mask-words")).to_contain_text(f"{painted:.2f} mL")
    page.locator("#clear").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#mask-words")).to_contain_text("The mask is empty")
    page.locator("#ball").focus()
    page.keyboard.press("Enter")  # the way without a mouse
    expect(page.locator("#mask-words")).to_contain_text("mL")
    assert tab.errors == []


def test_a_text_file_with_the_ending_of_a_scan_is_refused_in_one_sentence(tab: Visit, tmp_path: Path) -> None:
    page = tab.page
    fake = tmp_path / "notes.nii.gz"
    fake.write_text("this is no scan")
    page.get_by_role("button", name="Use your own scan").click()
    page.locator("#upload-FLAIR input[type=file]").set_input_files(fake)
    expect(page.locator("#scan-status [role=alert]")).to_contain_text("notes.nii.gz: this is not a NIfTI file")
    page.locator("#run").click()
    expect(page.locator("#status .status-error")).to_contain_text("this is not a NIfTI file")
    assert "/" not in page.locator("#scan-status [role=alert]").inner_text()  # no path of the server


def test_an_own_scan_is_shown_to_its_visitor_alone(tab: Visit, medical: Site, tmp_path: Path) -> None:
    page = tab.page
    raw = np.zeros((40, 50, 30), np.int16)
    raw[5:35, 6:44, 4:26] = np.random.default_rng(0).integers(80, 160, (30, 38, 22))
    scan = write_volume(
        make_volume(raw, affine_for("LPS", (2.0, 2.0, 3.0))), raw, tmp_path / "mine.nii.gz", synthetic=False
    )
    page.get_by_role("button", name="Use your own scan").click()
    page.locator("#upload-FLAIR input[type=file]").set_input_files(scan.path)
    expect(page.locator("#loaded")).to_contain_text("40 × 50 × 30 voxels of 2 × 2 × 3 mm; axes LPS")
    expect(page.locator("#mask-words")).to_contain_text("The mask is empty")
    expect(large(page).locator("img.first")).to_have_attribute("alt", re.compile(r"^Axial \d+/30"))
    other = page.context.browser.new_context()
    try:
        second = other.new_page()
        second.goto(medical.address + "medical/")
        expect(second.locator("#loaded")).to_contain_text("182 × 218 × 182")
        second.locator("#clear").click()
        expect(second.locator("#mask-words")).to_contain_text("The mask is empty")
    finally:
        other.close()
    page.locator("#ball").click()
    expect(page.locator("#mask-words")).to_contain_text("mL")
    page.locator("#upload-FLAIR").get_by_role("button", name="Clear").click()
    expect(page.locator("#loaded")).to_contain_text("182 × 218 × 182")
    expect(page.locator("#mask-words")).to_contain_text(f"{volume_of_the_example():.2f} mL")


def volume_of_the_example() -> float:
    """The volume of the example's mask in mL, counted here."""
    made = example()
    return float(made.mask.sum()) * float(np.prod(made.spacing)) / 1000


def test_closing_the_tab_lets_go_of_the_visitors_scan(
    browser: Any, medical: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, held = threading.Event(), []
    forget = handlers.forget

    def seen(what: Any) -> None:
        forget(what)
        if isinstance(what, Held):
            held.append(what)
            gone.set()

    monkeypatch.setattr(handlers, "forget", seen)
    context = browser.new_context()
    page = context.new_page()
    page.goto(medical.address + "medical/")
    expect(page.locator("#loaded")).to_contain_text("182 × 218 × 182")
    page.locator("#clear").click()
    expect(page.locator("#mask-words")).to_contain_text("The mask is empty")
    context.close()
    assert gone.wait(timeout=60)
    assert (held[0].mask == example().mask).all() and not held[0].edited


def test_an_older_key_that_is_answered_late_does_not_bring_back_the_older_place(
    tab: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, here, go, move = tab.page, threading.Event(), threading.Event(), handlers.moved

    def slow(*given: Any) -> Any:
        here.set()
        assert go.wait(60)
        return move(*given)

    monkeypatch.setattr(handlers, "moved", slow)
    large(page).focus()
    page.keyboard.press("PageUp")
    page.wait_for_function("() => window.lesionMoment === 1")
    slider = page.locator("#slice-z input[type=number]")
    slider.fill("73")
    slider.press("Tab")
    expect(position(page)).to_contain_text("S 0.0")
    assert here.is_set()
    go.set()  # the key press ends after the slider's newer move
    page.locator("#convention").get_by_text("neurological").click()
    expect(position(page)).to_contain_text("patient's right on the right")
    expect(position(page)).to_contain_text("S 0.0")
    expect(slider).to_have_value("73")
    assert tab.errors == []


@pytest.mark.parametrize("tab", [(720, "light"), (720, "dark")], indirect=True, ids=["light", "dark"])
def test_at_twice_the_size_of_the_letters_everything_is_there_and_nothing_scrolls_sideways(tab: Visit) -> None:
    page = tab.page  # a window of 1440 pixels at 200 % shows 720 of the page's own
    for name in ("More", "Use your own scan", "Own texture", "Settings of an earlier run", "Grey values"):
        page.get_by_role("button", name=name).first.press("Enter")
    for control in ("#run", "#stop", "#ball", "#clear", "#tool", "#mode", "#option-steps", "#earlier-settings"):
        page.locator(control).scroll_into_view_if_needed()
        expect(page.locator(control)).to_be_in_viewport()
        box = page.locator(control).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 720, f"{control} is cut off"
    expect(page.locator("#notice")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate(CONTRASTS) == []
    page.locator("#clear").click()
    expect(page.locator("#mask-words")).to_contain_text("The mask is empty")
    page.locator("#ball").click()
    expect(page.locator("#mask-words")).to_contain_text("mL")
    assert tab.errors == []


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model with ten calls, whatever is asked: for what is about the page and not about lesions."""
    fill = LesionModel.fill

    def quick_fill(self: LesionModel, fills: Any, contrasts: Any, **options: Any) -> Any:
        return fill(self, fills, contrasts, **{**options, "steps": 10, "repeats": 1})

    monkeypatch.setattr(LesionModel, "fill", quick_fill)


@pytest.mark.usefixtures("few_steps")
def test_two_clicks_lead_from_the_front_door_to_a_first_lesion(tab: Visit, medical: Site) -> None:
    page = tab.page
    page.goto(medical.address)
    page.locator("a[href*='medical']").first.click()
    expect(large(page).locator("img.first")).to_have_attribute("src", re.compile("^data:image/png"), timeout=STARTING)
    page.locator("#run").click()
    expect(page.locator("#status .status-done")).to_contain_text("1 variation of 1 lesion", timeout=120_000)
    expect(page.locator("#quality table tbody tr")).to_have_count(3)


def tab_to(page: Any, place: str) -> None:
    """Press Tab until the focus is inside a place."""
    for _ in range(120):
        page.keyboard.press("Tab")
        if page.evaluate("(place) => document.activeElement.matches(place)", place):
            return
    raise AssertionError(f"Tab never comes to {place}")


@pytest.mark.usefixtures("few_steps")
def test_the_keyboard_alone_draws_a_lesion_makes_it_and_reads_the_report(tab: Visit) -> None:
    page = tab.page
    tab_to(page, "#before figure")
    start = position(page).inner_text()
    page.keyboard.press("PageUp")
    expect(position(page)).not_to_have_text(start)
    tab_to(page, "#clear")
    page.keyboard.press("Enter")
    expect(page.locator("#mask-words")).to_contain_text("The mask is empty")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.matches('#ball')")
    page.keyboard.press("Enter")
    expect(page.locator("#mask-words")).to_contain_text("1 lesion")
    tab_to(page, "#run")
    page.keyboard.press("Enter")
    expect(page.locator("#status .status-done")).to_contain_text("1 variation of 1 lesion", timeout=120_000)
    tab_to(page, "#after figure")
    tab_to(page, "#quality .wide")
    assert tab.errors == []


def test_the_sidecar_of_an_earlier_run_sets_the_controls(tab: Visit, tmp_path: Path) -> None:
    page, scan = tab.page, example().lead
    settings = AddLesions(
        image={"FLAIR": "example:brain"}, mask="example:brain", out="x", texture="bright", seed=77, steps=25, count=3
    )
    record = provenance(ADD, settings, threads=1)
    made = write_volume(scan, scan.values, tmp_path / "syn_FLAIR.nii.gz", provenance=record, synthetic=True)
    page.get_by_role("button", name="Settings of an earlier run").click()
    upload = page.locator("#earlier-settings input[type=file]")
    upload.set_input_files(made.path)  # the record inside the image itself
    expect(page.locator("#replayed")).to_contain_text("The settings of that run are set.")
    page.get_by_role("button", name="More").click()
    expect(page.locator("#option-seed input")).to_have_value("77")
    expect(page.locator("#option-count input[type=number]")).to_have_value("3")
    expect(page.locator("#option-steps input[type=number]")).to_have_value("25")
    expect(page.locator("#texture input:checked")).to_have_value("bright")
    page.locator("#earlier-settings").get_by_role("button", name="Clear").click()
    fake = tmp_path / "fake.json"
    fake.write_text("hello")
    upload.set_input_files(fake)
    expect(page.locator("#replayed [role=alert]")).to_contain_text("fake.json: is not JSON")
