"""A take that is changed: some bars, or some parts of them, written anew, or more bars after its end.

The answer takes the place of the takes. What the lanes ask binds in the new bars; all other notes, or samples, stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gradio as gr

from domains.audio.page import handlers
from domains.audio.studio.operations import CONTINUE, INPAINT, PARTS
from shared.errors import Cancelled, UserError
from shared.front.controls import Controls as Panel
from shared.front.jobs import JobRunner
from shared.front.operation import Operation
from shared.front.panel import show
from shared.front.visitor import delivering, submit

ANEW, MORE = "Write bars anew", "Go on after the end"


def lay_out(parts: handlers.Parts) -> None:
    """The components, in the current Gradio Blocks."""
    with gr.Accordion("Change a take", open=False):
        gr.Markdown(
            "Keep a take and have some of its bars written anew, or let it go on; what the lanes ask holds there."
        )
        parts.changed = gr.Dropdown([], label="Take", elem_id="change-take")
        parts.what = gr.Radio([ANEW, MORE], value=ANEW, label="What", show_label=False, elem_id="change-what")
        with gr.Row(elem_classes="tight"):
            parts.from_bar = gr.Number(1, precision=0, minimum=1, label="From bar", min_width=90, elem_id="from-bar")
            parts.to_bar = gr.Number(1, precision=0, minimum=1, label="To bar", min_width=90, elem_id="to-bar")
            parts.more = gr.Number(
                4, precision=0, minimum=1, label="Bars to add", min_width=90, visible=False, elem_id="more-bars"
            )
        parts.roles = gr.CheckboxGroup(list(PARTS), label="Parts; none: all of them", elem_id="change-parts")
        with gr.Row(elem_classes="tight"):
            parts.change = gr.Button("Write", size="sm", elem_id="change")
            parts.halt = gr.Button("Stop", size="sm", elem_id="change-stop")
        parts.changing = gr.HTML("", elem_id="change-status")


def connect(parts: handlers.Parts, controls: Panel, jobs: JobRunner, files: Any) -> None:
    """Connect them; `files` is the list of files of the last run."""
    private = {**handlers.PRIVATE, "concurrency_limit": None}
    asking = [parts.near, parts.changed, parts.what, parts.from_bar, parts.to_bar, parts.more, parts.roles, parts.lanes]
    parts.what.input(_shown, parts.what, [parts.from_bar, parts.to_bar, parts.roles, parts.more], **handlers.PRIVATE)
    parts.change.click(
        _change(parts, controls, jobs),
        [*asking, *controls.components],
        [parts.changing, files, *parts.results],
        **private,
    )

    def halt(request: Any) -> None:
        jobs.cancel_all(str(request.session_hash))

    halt.__annotations__["request"] = gr.Request  # Gradio passes the visitor's session by this annotation
    parts.halt.click(halt, None, None, queue=False, **{**handlers.PRIVATE, "concurrency_limit": None})


def _shown(what: str) -> list[Any]:
    anew = what == ANEW
    return [gr.update(visible=anew)] * 3 + [gr.update(visible=not anew)]


def wanted(
    near: Mapping[str, Any] | None, number: Any, what: str, first: Any, last: Any, more: Any, roles: list[str]
) -> tuple[Operation, dict[str, Any]]:
    """The operation and what the page asks of it. Raises UserError."""
    musics = (near or {}).get("musics", [])
    if not isinstance(number, int) or not 0 <= number < len(musics):
        raise UserError("there is no take yet", remedy="press Run first")
    music = {"music": musics[number]}
    if what == MORE:
        return CONTINUE, {**music, "bars": _whole(more, "Bars to add")}
    bars = {"from_bar": _whole(first, "From bar"), "to_bar": _whole(last, "To bar")}
    return INPAINT, {**music, **bars, "parts": [role for role in PARTS if role in (roles or [])]}


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise UserError("is no whole number", where=name, remedy="count bars from 1")
    return int(value)


def _change(parts: handlers.Parts, controls: Panel, jobs: JobRunner) -> Callable[..., Iterator[list[Any]]]:
    """The handler of Write."""
    draw = handlers.finished(parts)
    rest = [gr.skip() for _ in parts.results]

    def change(request: Any, *held: Any) -> Iterator[list[Any]]:
        *asking, lanes = held[:8]
        try:
            operation, given = wanted(*asking)
            names = {option.name for option in operation.settings.options()}
            shared = {name: value for name, value in controls.values(held[8:]).items() if name in names}
            asked = {"controls": handlers.values(lanes, None)["controls"]}
            job = submit(operation, {**shared, **asked, **given}, jobs, owner=str(request.session_hash))
            for now in job.follow():
                yield [show(now), gr.skip(), *rest]
            outcome = job.outcome()
        except UserError as error:
            yield [handlers.alert(error), gr.skip(), *rest]
        except Cancelled:
            yield ['<p role="status" class="status-stopped">Stopped; the takes are as they were.</p>', gr.skip(), *rest]
        else:
            paths = [str(file) for file in outcome.files]
            with delivering(outcome):
                yield [handlers.done(outcome.sentence), gr.update(value=paths, visible=True), *draw(outcome)]

    change.__annotations__["request"] = gr.Request  # Gradio passes the visitor's session by this annotation
    return change
