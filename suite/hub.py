"""``suite hub``: one server for all apps; also one domain's page alone (``suite DOMAIN app``).

Every page is a Gradio app mounted under its own path on one FastAPI server, behind one gate and with one job runner;
the landing page at / is plain HTML.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from shared.errors import UserError
from shared.front.command import load
from shared.front.jobs import JobRunner
from shared.front.progress import clock
from suite.apps import App, built_apps
from suite.security import Gate, Rules, close_outgoing, refuse_downloads, rules

PORT = 7860


def build_server(apps: Sequence[App], jobs: JobRunner, allowed: Rules, *, landing: bool = True) -> Any:
    """The ASGI application: one page a domain under its path, and the landing page at / (mounted last).

    apps      apps to serve; those whose extra is missing are only listed
    landing   without it, / leads to the first page
    """
    close_outgoing()
    import gradio as gr
    from fastapi import FastAPI
    from fastapi.responses import RedirectResponse, Response

    from shared.front.theme import look
    from suite.landing import ICON, add_landing

    refuse_downloads()
    server = FastAPI(title="suite", docs_url=None, redoc_url=None, openapi_url=None)
    pages = {app.path: app for app in apps if not app.missing}
    for path, app in pages.items():
        blocks = load(app.page)(jobs)
        server = gr.mount_gradio_app(
            server,
            blocks,
            path=path,
            mcp_server=True,
            max_file_size=allowed.largest_upload,
            run_history=False,
            ssr_mode=False,
            footer_links=["api", "settings"],
            **look(),
        )
    server.add_api_route("/favicon.ico", lambda: Response(ICON, media_type="image/svg+xml"), methods=["GET"])
    if landing:
        add_landing(server, apps)
    else:
        first = next(iter(pages))
        server.add_api_route("/", lambda: RedirectResponse(f"{first}/"), methods=["GET"])
    return Gate(server, allowed)


def serve(build: Callable[[Rules], Any], *, host: str, port: int, allowed: Rules, open_browser: bool = False) -> None:
    """Run a server until it is interrupted; prints its address once it can be reached.

    Raises UserError when the port is in use or the host is not this machine's.
    """
    import uvicorn

    listener = _bind(host, port)
    start = time.monotonic()
    click.echo("loading the pages; their address follows", err=True)
    application = build(allowed)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listener.getsockname()[1]}/"
    click.echo(f"{address}  (ready in {clock(time.monotonic() - start)}; stop with Ctrl-C)")
    if open_browser:
        threading.Timer(0.5, webbrowser.open, [address]).start()
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning", timeout_graceful_shutdown=2))
    # Open tabs hold connections; that these are cut when the server stops is no news.
    logging.getLogger("uvicorn.error").addFilter(lambda record: not server.should_exit)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def options(function: Any) -> Any:
    """The options that every serving command has."""
    for add in (
        click.option("--open", "open_browser", is_flag=True, help="Open the page in a browser."),
        click.option("--slots", type=click.IntRange(1, 64), default=1, metavar="N", help="Jobs at a time (default 1)."),
        click.option(
            "--password-file", type=click.Path(path_type=Path), metavar="FILE", help="One line user:password."
        ),
        click.option("--allow-host", "names", multiple=True, metavar="NAME", help="Further name of this server."),
        click.option(
            "--port", type=click.IntRange(0, 65535), default=PORT, metavar="N", help=f"Port ({PORT}; 0: any)."
        ),
        click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="Address to listen on (127.0.0.1)."),
    ):
        function = add(function)
    return function


@click.command("hub")
@options
def command(
    host: str, port: int, names: tuple[str, ...], password_file: Path | None, slots: int, open_browser: bool
) -> None:
    """Serve the page with all apps."""
    allowed = rules(host, names=names, password_file=password_file)
    apps = built_apps()
    jobs = JobRunner(slots)
    serve(
        lambda known: build_server(apps, jobs, known), host=host, port=port, allowed=allowed, open_browser=open_browser
    )


def alone(domain: str) -> click.Command:
    """The command ``suite DOMAIN app``: the page of one domain without the landing page."""

    @click.command("app", help=f"Serve the {domain} page alone.")
    @options
    def serve_one(
        host: str, port: int, names: tuple[str, ...], password_file: Path | None, slots: int, open_browser: bool
    ) -> None:
        apps = [app for app in built_apps() if app.domain == domain]
        missing = [app for app in apps if app.missing]
        if missing:
            raise UserError(f"{domain} needs {', '.join(missing[0].missing)}", where="app", remedy=missing[0].remedy)
        allowed = rules(host, names=names, password_file=password_file)
        jobs = JobRunner(slots)
        serve(
            lambda known: build_server(apps, jobs, known, landing=False),
            host=host,
            port=port,
            allowed=allowed,
            open_browser=open_browser,
        )

    return serve_one


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror:
        raise UserError("is not an address of this machine", where=host, remedy="use --host 127.0.0.1") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise UserError(
            f"port {port} on {host} cannot be used ({(error.strerror or 'unknown').lower()})",
            where="--port",
            remedy=f"stop what uses it, or choose another: --port {port + 1 if 0 < port < 65535 else 7861}",
        ) from None
    return listener
