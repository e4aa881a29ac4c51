"""The landing page of the hub: one card an app with picture, one line and status; plain HTML without scripts."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from suite.apps import DOMAINS, ROOT, App, coming_domains
from suite.papers import VERDICTS, papers

STYLE = Path(__file__).with_name("landing.css")
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><g fill="none" stroke="#0f766e" stroke-width="2">'
    '<circle cx="8" cy="8" r="2"/><circle cx="8" cy="8" r="6.5"/></g></svg>'
)


def add_landing(server: Any, apps: Sequence[App]) -> None:
    """Add /, its style and its pictures to a FastAPI server; must be called after all pages are mounted."""
    from fastapi import HTTPException
    from fastapi.responses import FileResponse, HTMLResponse

    pictures = {app.slug: ROOT / app.picture for app in apps if app.picture and (ROOT / app.picture).is_file()}

    def index() -> HTMLResponse:
        return HTMLResponse(landing(apps, frozenset(pictures)))

    def style() -> FileResponse:
        return FileResponse(STYLE, media_type="text/css")

    def picture(domain: str, name: str) -> FileResponse:
        file = pictures.get(f"{domain}/{name}")
        if file is None:
            raise HTTPException(404, "no such picture")
        return FileResponse(file)

    server.add_api_route("/", index, methods=["GET"], response_class=HTMLResponse)
    server.add_api_route("/landing.css", style, methods=["GET"], response_class=FileResponse)
    server.add_api_route("/pictures/{domain}/{name}", picture, methods=["GET"], response_class=FileResponse)


def landing(apps: Sequence[App], pictures: frozenset[str] = frozenset()) -> str:
    """The page as HTML."""
    cards = "\n".join(_card(app, app.slug in pictures) for app in apps)
    coming = "".join(
        f"<li><strong>{name.capitalize()}</strong><span>{DOMAINS[name]}</span></li>" for name in coming_domains()
    )
    ledger = papers()
    judged = sum(entry.status in VERDICTS for entry in ledger)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Diffusion suite</title>
<link rel="icon" type="image/svg+xml" href="/favicon.ico">
<link rel="stylesheet" href="/landing.css">
</head>
<body>
<a class="skip" href="#apps">Skip to the apps</a>
<header>
<p class="name">Diffusion suite</p>
<h1>One diffusion core, five domains, one front door.</h1>
<p class="lead">Open an app, press <em>Run</em>: the first example is ready. Everything stays on this machine.</p>
</header>
<main id="apps">
{f'<ul class="cards">{cards}</ul>' if apps else '<p class="empty">No app is in this installation yet.</p>'}
{f'<section class="coming"><h2>Not built yet</h2><ul>{coming}</ul></section>' if coming else ""}
</main>
<footer>
<p>Papers with a measured verdict: {judged} of {len(ledger)}, <code>suite papers</code>. Check this machine:
<code>suite doctor</code>. Each app is also an API and an MCP server under its own address.</p>
</footer>
</body>
</html>
"""


def _card(app: App, has_picture: bool) -> str:
    title, line = html.escape(app.title), html.escape(app.line)
    picture = (
        f'<img src="/pictures/{app.slug}" alt="{html.escape(app.shows)}" loading="lazy">' if has_picture else _MARK
    )
    ready = app.status == "ready"
    status, mark = ("ready", "●") if ready else (html.escape(app.status), "○")
    heading = title if app.missing else f'<a href="{app.path}/">{title}</a>'
    return f"""<li class="card">
<div class="picture">{picture}</div>
<div class="words"><p class="domain">{html.escape(app.domain)}</p><h2>{heading}</h2><p>{line}</p>
<p class="state {"is-ready" if ready else "is-waiting"}"><span aria-hidden="true">{mark}</span> {status}</p>
</div>
</li>"""


_MARK = (
    '<svg viewBox="0 0 320 180" aria-hidden="true" focusable="false">'
    '<g fill="none" stroke="currentColor" stroke-width="2">'
    + "".join(f'<circle cx="160" cy="90" r="{r}" opacity="{1 - r / 100:.2f}"/>' for r in range(10, 90, 12))
    + "</g></svg>"
)
