"""The page of the shape app in a real browser, at a desk and on a phone: from the example to pictures, and back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from playwright.sync_api import expect

from domains.image.control import run
from domains.image.control.model import ShapeModel
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
from tests.image import untrained


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The hub with the shape app and untrained weights."""
    folder = tmp_path_factory.mktemp("weights")
    untrained.written(folder)
    once = pytest.MonkeyPatch()
    untrained.use(once, folder)
    with serving(apps_of("image")) as served:
        yield served
    once.undo()
    run.shape_model.cache_clear()


@pytest.fixture
def tab(browser: Any, image: Site, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """The page, loaded; width and colour mode as the test asks for (``indirect``)."""
    with visiting(browser, image, request) as seen:
        seen.page.goto(image.address + "image/")
        expect(seen.page.locator("#editor .said")).to_contain_text("pixels are edges", timeout=90_000)
        yield seen


desk_and_phone = pytest.mark.parametrize("tab", [(1440, "light"), (390, "dark")], indirect=True, ids=["desk", "phone"])


def edges_drawn(page: Any) -> int:
    found = re.match(r"(\d+) of 1024", page.locator("#editor .said").inner_text())
    return int(found[1]) if found else 0


def run_and_wait(page: Any) -> None:
    page.locator("#run").click()
    expect(page.locator("#status .status-done")).to_be_visible(timeout=120_000)


def download(page: Any, name: str, folder: Path) -> Path:
    stem, _, ending = name.rpartition(".")
    broken = re.compile(re.escape(stem) + r"\s*\." + ending)  # as the file list breaks a name
    row = page.locator("#files tr, #files .file, #files li").filter(has_text=broken).first
    with page.expect_download() as begun:
        row.locator("a").first.click()
    begun.value.save_as(folder / name)
    return folder / name


@desk_and_phone
def test_one_press_makes_the_example_and_measures_it(tab: Visit) -> None:
    page = tab.page
    expect(page.locator("#effect")).to_contain_text(re.compile(r"changes by \d+%"))
    set_number(page, "steps", 3)
    run_and_wait(page)
    expect(page.locator("#status")).to_contain_text("4 pictures")
    expect(page.locator("#gallery figure")).to_have_count(4)
    expect(page.locator("#gallery figcaption").first).to_contain_text(
        re.compile(r"Seed 0: \d of 8 right, edges 0\.\d\d")
    )
    expect(page.locator("#table tbody tr")).to_have_count(10)  # eight promises, the edges, validity
    expect(page.locator("#figures")).to_contain_text(re.compile(r"6 × \d+ ms"))
    page.locator("#gallery select").select_option("found")
    expect(page.locator("#gallery img.lines").first).to_be_visible()
    page.locator("#gallery select").select_option("asked")
    download_the_last(page)
    for section in ("Explain", "Export", "Words it knows"):
        page.get_by_role("button", name=section).click()
    expect(page.locator("#stages")).to_contain_text("predict -> combine (ClassifierFree) -> step (DDIM)")
    expect(page.locator("#command")).to_contain_text("suite image shapes generate")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page scrolls sideways"
    assert page.evaluate(CONTRASTS) == []
    assert tab.foreign == [] and tab.errors == []


def test_a_drawn_map_is_used_comes_back_and_makes_the_same_pictures_again(tab: Visit, tmp_path: Path) -> None:
    page = tab.page
    set_number(page, "steps", 3)
    set_number(page, "count", 1)
    set_number(page, "strength", 0.8)
    page.get_by_role("button", name="Clear", exact=True).first.click()
    expect(page.locator("#editor .said")).to_contain_text("No edges")
    sheet = page.locator("#editor .sheet")
    sheet.scroll_into_view_if_needed()
    box = sheet.bounding_box()
    cells = ((8.5, 9.5), (24.5, 9.5))  # the middles of two pixels
    at = [(box["x"] + x / 32 * box["width"], box["y"] + y / 32 * box["height"]) for x, y in cells]
    page.mouse.move(*at[0])
    page.mouse.down()
    page.mouse.move(*at[1], steps=5)
    page.mouse.up()
    expect(page.locator("#editor .said")).to_contain_text("17 of 1024 pixels are edges")
    sheet.press("ArrowDown")  # the way without a mouse
    sheet.press(" ")
    expect(page.locator("#editor .said")).to_contain_text(re.compile(r"Column \d+, row \d+: edge"))
    run_and_wait(page)
    first = download(page, "syn_01.png", tmp_path)
    edges = np.asarray(Image.open(download(page, "edges.png", tmp_path)))
    assert (edges > 127).sum() == 18 and (edges[9, 8:25] == 255).all()
    result = Image.open(first)
    assert isinstance(result, PngImageFile)
    sidecar = json.loads(result.text["diffusion-suite"])
    assert sidecar["settings"]["strength"] == 0.8 and sidecar["edges"]["source"] == "drawn_edges.png"

    page.reload()
    expect(page.locator("#editor .said")).to_contain_text("77 of 1024", timeout=90_000)
    page.get_by_role("button", name="Make a result again").click()
    page.locator("#replay input[type=file]").set_input_files(first)
    expect(page.locator("#replay-status")).to_contain_text("All settings are those of the dropped result")
    expect(page.locator("#editor .said")).to_contain_text("18 of 1024")
    expect(page.locator("#option-strength input[type=number]")).to_have_value("0.8")
    run_and_wait(page)
    (tmp_path / "again").mkdir()
    again = download(page, "syn_01.png", tmp_path / "again")
    assert (np.asarray(Image.open(again)) == np.asarray(Image.open(first))).all()
    assert tab.foreign == [] and tab.errors == []


def test_stop_freezes_the_count_of_network_calls(tab: Visit, image: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    generate = ShapeModel.generate

    def counting(self: ShapeModel, *args: Any, progress: Any, **options: Any) -> Any:
        def seen(done: int, total: int) -> None:
            asked.append(done)
            if len(asked) == 20:
                hold_until_stopped(image)
            progress(done, total)

        return generate(self, *args, progress=seen, **options)

    monkeypatch.setattr(ShapeModel, "generate", counting)
    page = tab.page
    set_number(page, "steps", 200)
    page.locator("#run").click()
    expect(page.locator("#status")).to_contain_text(re.compile(r"Step \d+ of 400"), timeout=60_000)
    expect(page.locator("#gallery figcaption").first).to_have_text("on the way")
    page.locator("#stop").click()
    expect(page.locator("#status .status-stopped")).to_be_visible(timeout=60_000)
    reached = len(asked)
    assert 0 < reached <= 20 and image.jobs.busy == (0, 0)
    page.locator("#caption textarea").fill("a star")
    expect(page.locator("#caption-status")).to_contain_text("Read as 1 thing")
    assert len(asked) == reached
    expect(page.locator("#files")).to_be_hidden()


@desk_and_phone
def test_edges_come_from_the_caption_an_example_or_a_picture(tab: Visit, tmp_path: Path) -> None:
    page = tab.page
    page.locator("#example").get_by_text("inside", exact=True).click()
    expect(page.locator("#caption textarea")).to_have_value(re.compile("inside a purple circle"))
    expect(page.locator("#source-status")).to_contain_text("example inside")
    page.locator("#caption textarea").fill("a large green star")
    page.locator("#for-caption").click()
    expect(page.locator("#source-status")).to_contain_text("scene 1 for this caption")
    page.locator("#caption textarea").fill("a red dragon")
    expect(page.locator("#caption-status [role=alert]")).to_contain_text("'dragon' is not known")
    picture = np.full((300, 500, 3), 240, np.uint8)
    picture[80:220, 180:320] = (200, 30, 40)
    Image.fromarray(picture).save(tmp_path / "photo.jpg", quality=95)
    page.get_by_role("button", name="Edges from a picture of your own").click()
    page.locator("#upload-picture input[type=file]").set_input_files(tmp_path / "photo.jpg")
    expect(page.locator("#source-status")).to_contain_text("photo.jpg: edges by Canny's method")
    assert 40 < edges_drawn(page) < 120
    expect(page.locator("#editor img.under")).to_be_visible()
    page.locator("#upload-picture").get_by_role("button", name="Clear").click()
    (tmp_path / "notes.png").write_text("this is no picture")
    page.locator("#upload-picture input[type=file]").set_input_files(tmp_path / "notes.png")
    expect(page.locator("#source-status [role=alert]")).to_contain_text("notes.png: is not a PNG, JPEG or WebP picture")
    assert "/" not in page.locator("#source-status [role=alert]").inner_text()  # no path of the server
    page.locator("#run").click()
    expect(page.locator("#status .status-error")).to_contain_text("is not a PNG, JPEG or WebP picture")
    assert tab.errors == []
