"""The page of the laboratory: what to put together on the left, what happens on the right, why below."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any, Final

import gradio as gr

from shared.errors import UserError
from shared.front.controls import Controls
from shared.front.endpoint import endpoint
from shared.front.jobs import JobRunner
from shared.front.operation import Outcome
from shared.front.panel import run_panel
from shared.front.theme import code, heading
from suite.laboratory.operations import RUN, Experiment
from suite.laboratory.page import results
from suite.laboratory.recipe import bench
from suite.laboratory.run import Result
from suite.laboratory.words import seeing, why

HERE: Final = Path(__file__).parent / "page"
PRIVATE: Final[dict[str, Any]] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": 4}
GROUPS: Final = {
    "1 · The problem": ("truth", "process", "law", "dof", "guide", "weight", "label", "value", "noise", "repeats"),
    "2 · The method": ("head", "error", "sampler", "steps", "spacing", "start", "samples", "seed", "convergence"),
}
ONLY_WHEN: Final[
    dict[str, tuple[str, tuple[str, ...]]]
] = {  # option -> (another option, its values) that make it matter
    "dof": ("law", ("student-t",)),
    "weight": ("guide", ("label", "dps", "ddnm")),
    "label": ("guide", ("label",)),
    "value": ("guide", ("dps", "ddnm", "known")),
    "noise": ("guide", ("dps",)),
    "repeats": ("guide", ("known",)),
}
AGAIN: Final = "The same samples to the bit, from Python, from the command line, or from the settings below."


def page(jobs: JobRunner) -> gr.Blocks:
    """The page, with its controls connected to the job runner."""
    with gr.Blocks(title="Laboratory", fill_width=True) as blocks:
        gr.HTML(f"<style>{(HERE / 'page.css').read_text('utf-8')}</style>", padding=False)
        heading("Laboratory", "Put a sampler together on laws whose answer is known, and see what happens.")
        with gr.Row(elem_classes="lab"):
            with gr.Column(scale=4, min_width=300):
                with gr.Row():
                    groups = []
                    for title, names in GROUPS.items():
                        with gr.Column(min_width=250):
                            gr.Markdown(f"### {title}")
                            groups.append(Controls(Experiment, only=names))
                controls = groups[0]
                controls.controls += groups[1].controls
                aside = gr.Column()
            with gr.Column(scale=6, min_width=330):
                gr.Markdown("### 3 · What happens")
                fit = gr.HTML(elem_id="fit")
                above = gr.Column(elem_id="above")
                drawing = _viewer()
                verdict, charts = gr.HTML(elem_id="verdict"), gr.HTML(elem_id="charts")
        with aside:
            gr.Markdown("### What am I seeing?")
            words = gr.HTML(elem_id="seeing", elem_classes="seeing")
        with gr.Accordion("Explain: what happens, step by step", open=False):
            explained = code("Parts, order and cost", 14, "explain")
        with gr.Accordion("Export: do the same again", open=False):
            gr.Markdown(AGAIN)
            python = code("Python", 40, "python")
            command = code("Command", 6, "command")
            sidecar = code("Settings, numbers and provenance", 16, "sidecar")
        with above:
            shown = [drawing, verdict, charts, python, command, sidecar]
            run_panel(RUN, controls, jobs, results=shown, draw=_finished, preview=_preview)
        _connect(blocks, controls, [fit, words, explained])
        endpoint(RUN, jobs)
    return blocks


def _viewer() -> Any:
    return gr.HTML(
        value="",
        html_template=(HERE / "viewer.html").read_text("utf-8"),
        js_on_load=(HERE / "viewer.js").read_text("utf-8"),
        elem_id="drawing",
        elem_classes="run-view",
    )


def _connect(blocks: gr.Blocks, controls: Controls, told: list[Any]) -> None:
    """Every change of a control says at once whether the choice fits, and shows what it makes matter."""
    dependent = [control for control in controls.controls if control.option.name in ONLY_WHEN]
    outputs = [*told, *(control.components[0] for control in dependent)]

    def tell(*raw: Any) -> list[Any]:
        values = controls.values(raw)
        visible = [
            gr.update(visible=values[ONLY_WHEN[control.option.name][0]] in ONLY_WHEN[control.option.name][1])
            for control in dependent
        ]
        return [*said_of(values), *visible]

    everything = controls.components
    blocks.load(tell, everything, outputs, **PRIVATE)
    for component in everything:
        component.change(tell, everything, outputs, trigger_mode="always_last", **PRIVATE)


def said_of(values: dict[str, Any]) -> tuple[Any, Any, Any]:
    """(whether the choice fits and why not, what is seen, what Run does) as the page shows them."""
    try:
        settings = Experiment.build({**values, "out": "results"})
    except UserError as error:
        return _unfit(error), gr.skip(), ""
    words = "".join(f"<h3>{html.escape(title)}</h3><p>{html.escape(text)}</p>" for title, text in seeing(settings))
    try:
        known = bench(settings)
    except UserError as error:
        return _unfit(error), words, ""
    calls = known.cost().calls
    fits = (
        f'<p class="fits" role="status">These parts fit: {calls} call{"s" * (calls != 1)} of the network a sample.</p>'
    )
    return fits, words, known.explained


def _unfit(error: UserError) -> str:
    reason = f"<p>{html.escape(why(str(error)))}</p>" if why(str(error)) else ""
    return (
        f'<div class="unfit" role="status"><strong>These parts do not fit: {html.escape(error.what)}.</strong>{reason}'
        f"<p>Instead: {html.escape(error.remedy)}.</p></div>"
    )


def _preview(result: Result) -> list[Any]:
    """What is shown as soon as the run is done, while the charts are being measured."""
    return [results.drawing(result), results.verdict(result), results.charts(result), *[gr.skip()] * 3]


def _finished(outcome: Outcome) -> list[Any]:
    """What the results become."""
    result, record = outcome.view
    sidecar = json.dumps({**record, "report": result.report()}, indent=1)
    drawing = results.drawing(result)
    return [drawing, results.verdict(result), results.charts(result), result.source, record["command"], sidecar]
