"""The landing page: one honest card an app, nothing that is not there."""

from __future__ import annotations

import dataclasses

from suite.apps import APPS, DOMAINS, ROOT, built_apps, coming_domains
from suite.landing import landing
from suite.papers import VERDICTS, papers
from tests.front.sample_app import APP


def test_an_app_has_a_card_with_its_line_status_and_address() -> None:
    page = landing([APP])
    assert f'<a href="/sample/">{APP.title}</a>' in page and APP.line in page and "ready" in page
    assert page.count('class="card"') == 1


def test_an_app_whose_extra_is_missing_shows_the_command_and_no_link() -> None:
    page = landing([dataclasses.replace(APP, needs=("numpy", "no_such_module"))])
    assert (
        "needs no_such_module: pip install &#x27;diffusion-suite[dev]&#x27;" in page and 'href="/sample/"' not in page
    )


def test_an_app_whose_checkpoint_is_missing_says_so() -> None:
    page = landing([dataclasses.replace(APP, checkpoints=("domains/none.safetensors",))])
    assert "checkpoint domains/none.safetensors is missing" in page


def test_domains_without_an_app_are_named_as_not_built() -> None:
    page = landing(built_apps())
    coming = page.partition("Not built yet")[2]
    for domain in DOMAINS:
        assert (f"<strong>{domain.capitalize()}</strong>" in coming) == (domain in coming_domains())


def test_only_measured_verdicts_are_counted() -> None:
    judged = sum(paper.status in VERDICTS for paper in papers())
    assert f"Papers with a measured verdict: {judged} of 50" in landing([])


def test_every_app_says_what_its_picture_shows_and_has_it_once_it_is_ready() -> None:
    for app in APPS:
        assert app.shows
        if app.status != "ready":
            continue
        assert (ROOT / app.picture).is_file() and (ROOT / app.picture).stat().st_size < 200_000
