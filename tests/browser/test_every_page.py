"""What every page of the hub owes a phone and a long file name: nothing under the run bar, no name cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from suite.apps import APPS
from tests.browser.conftest import CUT_NAMES, Site, Visit, serving, visiting
from tests.front import sample_app

EVERY_PAGE = list({app.path: app for app in (sample_app.APP, *APPS) if app.built and not app.missing}.values())
phone = pytest.mark.parametrize("tab", [(390, "light")], indirect=True, ids=["phone"])
desk_and_phone = pytest.mark.parametrize("tab", [(1440, "light"), (390, "dark")], indirect=True, ids=["desk", "phone"])

# The longest words that a status can say, and how far the last line of the page ends above the bar when scrolled down.
LONG = "Please check: a file with a name of many letters is not what was asked for; give another one. " * 6
ABOVE_THE_BAR = """(long) => {
  document.querySelector('#status p').textContent = long;
  window.scrollTo(0, document.documentElement.scrollHeight);
  const last = document.querySelector('footer').getBoundingClientRect();
  return document.querySelector('.run-panel').getBoundingClientRect().top - last.bottom;
}"""


@pytest.fixture(scope="module", params=EVERY_PAGE, ids=lambda app: app.domain)
def place(request: pytest.FixtureRequest) -> Iterator[tuple[Site, str]]:
    """The hub with one app, and the address of its page."""
    with serving([request.param]) as served:
        yield served, f"{served.address}{request.param.path.strip('/')}/"


@pytest.fixture
def tab(browser: Any, place: tuple[Site, str], request: pytest.FixtureRequest) -> Iterator[Visit]:
    """The page, loaded; width and colour mode as the test asks for (``indirect``)."""
    site, address = place
    with visiting(browser, site, request, patience=60_000) as seen:
        seen.page.goto(address)
        expect(seen.page.locator("#run")).to_be_enabled(timeout=120_000)
        expect(seen.page.locator("footer")).to_be_visible()
        yield seen


def open_everything(page: Any) -> None:
    """Open every accordion, those within others last."""
    page.evaluate(
        """async () => {
          for (let round = 0; round < 3; round += 1) {
            for (const label of document.querySelectorAll('button.label-wrap:not(.open)')) label.click();
            await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
          }
        }"""
    )


@phone
def test_the_last_control_of_a_phone_is_clicked_and_acts(tab: Visit) -> None:
    page = tab.page
    last = page.locator("button.label-wrap").last  # More, Explain or Export, whatever the page ends with
    was_open = "open" in (last.get_attribute("class") or "").split()
    last.click()
    expect(last).not_to_contain_class("open") if was_open else expect(last).to_contain_class("open")
    page.locator("footer button").last.click()
    expect(page.get_by_role("heading", name="Settings").first).to_be_visible()


@phone
def test_the_last_line_of_a_phone_can_be_scrolled_above_the_run_bar(tab: Visit) -> None:
    page = tab.page
    bar = page.locator(".run-panel").evaluate("e => getComputedStyle(e).position")
    assert bar == "fixed"
    assert page.evaluate(ABOVE_THE_BAR, LONG) >= 0
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page scrolls sideways"


@desk_and_phone
def test_the_name_of_an_uploaded_file_is_read_in_every_box(tab: Visit, tmp_path: Path) -> None:
    page = tab.page
    open_everything(page)
    boxes = page.locator(".block:has(input[type=file][data-testid=file-upload]):not(:has(table))")
    names = [box.get_attribute("id") for box in boxes.all() if box.is_visible()]
    for name in filter(None, names):
        box = page.locator(f"#{name}")
        held = box.locator("input[type=file]")
        kinds = [kind.strip() for kind in (held.get_attribute("accept") or ".txt").split(",")]
        if not kinds[0].startswith("."):
            continue  # a player, which shows no name
        kind = ".nii.gz" if ".gz" in kinds else kinds[0]
        file = tmp_path / f"sub-0001_ses-2026_of_{name}_as_it_came_skull_stripped{kind}"
        file.write_bytes(b"not read")
        held.set_input_files(file)
        expect(box.locator(".filename").first).to_be_visible()
    assert page.evaluate(CUT_NAMES) == []
