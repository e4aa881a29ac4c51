"""Run, Stop, status and export of a page: the part that every app has in common.

    with gr.Blocks() as page:
        controls = Controls(AddLesions)
        picture = gr.Image()
        run_panel(ADD, controls, jobs, results=[picture], draw=lambda outcome: [outcome.view])
        endpoint(ADD, jobs)

Run puts a job in the line and shows place, progress, time left and memory. Stop (and closing the tab) cancels it; Stop
can be pressed from the beginning, before the job is in the line, and after the end it does nothing. Bad input becomes a
sentence in the status, never a traceback.
"""

from __future__ import annotations

import contextlib
import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.errors import Cancelled, UserError
from shared.front.controls import Controls
from shared.front.jobs import JobRunner, Now
from shared.front.operation import Operation, Outcome
from shared.front.progress import clock
from shared.front.visitor import delivering, submit


@dataclass(frozen=True)
class Panel:
    """The components of a panel, for pages that connect more to them."""

    run: Any
    stop: Any
    status: Any
    files: Any


def run_panel(
    operation: Operation,
    controls: Controls,
    jobs: JobRunner,
    *,
    results: Sequence[Any],
    draw: Callable[[Outcome], Sequence[Any]],
    inputs: Sequence[Any] = (),
    values: Callable[..., Mapping[str, Any]] | None = None,
    preview: Callable[[Any], Sequence[Any]] | None = None,
    files_in: Any = None,
) -> Panel:
    """Run and Stop buttons, a status and the files, connected to the job runner, in the current Gradio Blocks.

    results   components that show the outcome; ``draw(outcome)`` gives one value for each
    inputs    the page's own components; ``values(*held)`` turns what they hold into values by option name
    preview   draws what the work passed to ``report(preview=...)`` while it runs, one value for each of ``results``
    files_in  a container of the page for the files; None: they come under the status
    """
    import gradio as gr

    with gr.Column(elem_classes="run-panel"):
        with gr.Row():
            run = gr.Button("Run", variant="primary", elem_id="run")
            stop = gr.Button("Stop", interactive=False, elem_id="stop")
        status = gr.HTML(_words("Ready."), elem_id="status")
    with files_in or contextlib.nullcontext():
        files = gr.File(label="Files", file_count="multiple", interactive=False, visible=False, elem_id="files")
    unchanged = [gr.skip() for _ in results]
    count = len(controls.components)

    stopped: set[str] = set()  # visitors who have pressed Stop since their last Run

    def on_run(request: Any, *raw: Any) -> Iterator[list[Any]]:
        owner = _owner(request)
        stopped.discard(owner)
        yield [_words("Starting."), gr.update(interactive=True), gr.skip(), *unchanged]
        ended = gr.update(interactive=False)
        try:
            given = {**controls.values(raw[:count]), **(values(*raw[count:]) if values else {})}
            job = submit(operation, given, jobs, owner=owner)
            if owner in stopped:  # Stop came while the job was being put together
                job.cancel()
            shown: Any = None
            for now in job.follow():
                fresh = preview is not None and now.preview is not None and now.preview is not shown
                drawn = list(preview(now.preview)) if fresh and preview else unchanged
                shown = now.preview
                yield [show(now), gr.skip(), gr.skip(), *drawn]
            outcome = job.outcome()
        except UserError as error:
            yield [_words(str(error), kind="error"), ended, gr.skip(), *unchanged]
        except Cancelled:
            yield [_words("Stopped; nothing was written.", kind="stopped"), ended, gr.skip(), *unchanged]
        else:
            paths = [str(file) for file in outcome.files]
            words = _words(outcome.sentence, kind="done")
            with delivering(outcome):
                yield [words, ended, gr.update(value=paths, visible=bool(paths)), *draw(outcome)]

    def on_stop(request: Any) -> None:
        stopped.add(_owner(request))
        jobs.cancel_all(_owner(request))

    def on_leave(request: Any) -> None:
        on_stop(request)
        stopped.discard(_owner(request))

    for handler in (on_run, on_stop, on_leave):
        handler.__annotations__["request"] = gr.Request  # Gradio passes the visitor's session by this annotation
    hidden: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    everything = [*controls.components, *inputs]
    run.click(on_run, everything, [status, stop, files, *results], concurrency_limit=None, **hidden)
    stop.click(on_stop, None, None, queue=False, **hidden)
    page = gr.context.Context.root_block
    assert page is not None
    page.unload(on_leave)  # the tab is closed
    return Panel(run, stop, status, files)


def show(now: Now) -> str:
    """A look at a job as the HTML of the status: words and a progress bar, announced politely by screen readers."""
    if now.state == "waiting":
        ahead = "next in line" if now.place == 0 else f"{now.place} ahead in line"
        return _words(f"Waiting: {ahead}{_left(now)}.")
    if now.total:
        bar = f'<progress max="{now.total}" value="{now.done}" aria-label="progress"></progress>'
        note = f" {html.escape(now.note)}" if now.note else ""
        memory = f"{now.memory / 1024:.1f} GiB"
        return f'{bar}<p role="status">Step {now.done} of {now.total}{_left(now)}.{note} Memory {memory}.</p>'
    return _words("Starting.")


def _left(now: Now) -> str:
    return "" if now.left is None else f", about {clock(now.left)} left"


def _words(text: str, kind: str = "calm") -> str:
    mark = {"error": "Please check: ", "done": "Done: "}.get(kind, "")
    role = "alert" if kind == "error" else "status"
    return f'<p role="{role}" class="status-{kind}">{mark}{html.escape(text)}</p>'


def _owner(request: Any) -> str:
    return str(request.session_hash)
