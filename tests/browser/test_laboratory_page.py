"""The laboratory in a real browser, at a desk and on a phone: a first run, a refusal that explains, Stop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from suite.laboratory import run
from suite.laboratory.recipe import Bench
from tests.browser.conftest import Site, Visit, apps_of, hold_until_stopped, serving, visiting
from tests.browser.test_pages import CONTRASTS


@pytest.fixture(scope="module")
def laboratory() -> Iterator[Site]:
    """The hub with the laboratory alone."""
    with serving(apps_of("laboratory")) as served:
        yield served


@pytest.fixture
def tab(browser: Any, laboratory: Site, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """The laboratory's page, loaded; width and colour mode as the test asks for (``indirect``)."""
    with visiting(browser, laboratory, request, patience=60_000) as seen:
        seen.page.goto(laboratory.address + "laboratory/")
        expect(seen.page.locator("#fit .fits")).to_contain_text("25 calls", timeout=60_000)
        yield seen


def choose(page: Any, option: str, value: str) -> None:
    page.locator(f"#option-{option} input").first.click()
    page.get_by_role("option", name=value, exact=True).click()


@pytest.mark.parametrize("tab", [(1440, "light"), (390, "dark")], indirect=True, ids=["desk", "phone"])
def test_one_click_shows_the_run_its_distance_and_the_python(tab: Visit) -> None:
    page = tab.page
    page.locator("#option-convergence input").uncheck()
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#status .status-done")).to_contain_text("500 samples", timeout=60_000)
    expect(page.locator("#verdict .same")).to_contain_text("cannot be told from the truth")
    drawn = page.locator("#drawing canvas.main")
    expect(drawn).to_have_attribute(
        "aria-label",
        "Paths of 500 samples from noise to data: three-parts, vp-cosine, gaussian noise, x0 head, ddim, 25 steps.",
    )
    ink = "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size"
    assert drawn.evaluate(ink) > 20, "nothing is drawn"
    slider = page.get_by_label("Step of the run")
    before = drawn.evaluate("c => c.toDataURL()")
    slider.focus()
    page.keyboard.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", "Step 0 of 25: almost noise only")
    assert drawn.evaluate("c => c.toDataURL()") != before
    expect(page.locator("#drawing .moments button")).to_have_count(6)
    page.locator("#drawing .moments button").nth(5).click()
    expect(slider).to_have_attribute("aria-valuetext", "Step 25 of 25: clean")
    page.get_by_role("button", name="Export").click()
    expect(page.locator("#python")).to_contain_text("sampler = named")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page scrolls sideways"
    assert page.evaluate(CONTRASTS) == []
    assert tab.foreign == [] and tab.errors == []


def test_what_does_not_fit_is_explained_before_anything_runs(tab: Visit) -> None:
    page = tab.page
    choose(page, "process", "bridge")
    expect(page.locator("#fit .unfit")).to_contain_text("do not fit: no noise can be told apart")
    expect(page.locator("#fit .unfit")).to_contain_text("a state holds no noise")
    expect(page.locator("#fit .unfit")).to_contain_text("Instead: choose ddpm or lcm")
    expect(page.locator("#seeing")).to_contain_text("A Brownian bridge")
    choose(page, "sampler", "ddpm")
    expect(page.locator("#fit .fits")).to_contain_text("25 calls")
    expect(page.locator("#option-value")).to_have_count(0)
    choose(page, "guide", "ddnm")
    expect(page.locator("#option-value").first).to_be_visible()
    expect(page.locator("#seeing")).to_contain_text("x1 + x2 = 0.5")


def test_stop_ends_the_charts_and_keeps_the_run(tab: Visit, laboratory: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = run.convergence

    def held(known: Bench, report: Any) -> Any:
        hold_until_stopped(laboratory)
        return measure(known, report)

    monkeypatch.setattr(run, "convergence", held)
    page = tab.page
    choose(page, "truth", "moons")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#verdict .verdict")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status .status-stopped")).to_be_visible(timeout=60_000)
    expect(page.locator("#drawing canvas.main")).to_be_visible()
    assert laboratory.jobs.busy == (0, 0)
