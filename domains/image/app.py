"""The page of the shape app: caption and edges on the left, controls in the middle, measured pictures on the right."""

from __future__ import annotations

from typing import Final

import gradio as gr

from domains.image.cli import OPERATIONS
from domains.image.control.operations import EXAMPLES, FITS, GENERATE, PICTURES, GenerateShapes
from domains.image.page import handlers, results, words
from domains.image.page.components import HERE, editor, gallery
from shared.front.controls import Controls
from shared.front.endpoint import endpoint
from shared.front.jobs import JobRunner
from shared.front.panel import run_panel
from shared.front.theme import again, code, heading

# Options that the page has controls of its own for.
BY_THE_PAGE: Final = frozenset({"caption", "edges", "detector", "fit", "out"})
KEPT: Final = 4 * 3600  # seconds that a visitor's map is kept without being touched
SWEEP: Final = (900, KEPT)  # uploads and results on disk: look every, remove when older than, seconds


def page(jobs: JobRunner) -> gr.Blocks:
    """The page, with its controls connected to the job runner."""
    with gr.Blocks(title="Shapes from words and edges", delete_cache=SWEEP, fill_width=True) as blocks:
        gr.HTML(f"<style>{(HERE / 'page.css').read_text('utf-8')}</style>", padding=False)
        heading(
            "Shapes from words and edges",
            "Say what a picture shows and draw where its edges are; every result is read again and compared.",
        )
        parts = handlers.Parts(visit=gr.State(None, time_to_live=KEPT))
        with gr.Row(elem_classes="image-page"):
            with gr.Column(scale=4, min_width=320):
                _asked(parts)
            with gr.Column(scale=3, min_width=280):
                gr.Markdown("### 2 · How")
                above = gr.Column(elem_id="panel")
                parts.effect = gr.HTML("", elem_id="effect")
                wanted = {option.name for option in GenerateShapes.options()} - BY_THE_PAGE
                controls = Controls(GenerateShapes, only=wanted)
            with gr.Column(scale=5, min_width=340):
                _result(parts)
                below = gr.Column(elem_id="downloads")
        with gr.Accordion("Explain: what is done, in which order, and what it costs", open=False):
            gr.Markdown(words.EXPLAIN)
            parts.stages = code("The last run, stage by stage", 20, "stages")
        parts.command, parts.sidecar = again(words.AGAIN)
        with above:
            run_panel(
                GENERATE,
                controls,
                jobs,
                results=parts.results,
                draw=handlers.finished,
                inputs=[parts.visit, parts.caption, parts.editor],
                values=handlers.values,
                preview=handlers.preview,
                files_in=below,
            )
        handlers.connect(blocks, parts, controls)
        for operation in OPERATIONS:
            endpoint(operation, jobs)
    return blocks


def _asked(parts: handlers.Parts) -> None:
    """The left column: caption and edge map, and the ways to get one."""
    gr.Markdown("### 1 · What")
    parts.example = gr.Radio(
        [*EXAMPLES, handlers.ALONE], value=handlers.FIRST, label="Example", elem_id="example", info="Drawn on the spot."
    )
    parts.caption = gr.Textbox(
        label="Caption", lines=2, max_lines=4, max_length=400, elem_id="caption", placeholder="a red circle"
    )
    parts.promised = gr.HTML("", elem_id="caption-status")
    with gr.Accordion("Words it knows", open=False):
        gr.HTML(words.vocabulary())
    parts.editor = editor("editor")
    parts.source = gr.HTML("", elem_id="source-status")
    parts.for_caption = gr.Button("Edges of a scene like the caption", size="sm", elem_id="for-caption")
    with gr.Accordion("Edges from a picture of your own", open=False):
        gr.Markdown("PNG, JPEG or WebP, any size. It stays on this computer.")
        parts.file = gr.File(label="Picture", file_types=list(PICTURES), height=110, elem_id="upload-picture")
        parts.detector = gr.Radio(
            ["Detect edges (Canny)", "It is an edge map, white on black"],
            value="Detect edges (Canny)",
            label="How",
            elem_id="detector",
        )
        fit = next(option for option in GenerateShapes.options() if option.name == "fit")
        parts.fit = gr.Radio(list(FITS), value=str(fit.default), label=fit.label, info=fit.help, elem_id="fit")
    with gr.Accordion("Make a result again", open=False):
        gr.Markdown("A result picture or its report.json: every setting and the edge map come back.")
        parts.replay = gr.File(label="Result", file_types=[".png", ".json"], height=110, elem_id="replay")
        parts.replayed = gr.HTML("", elem_id="replay-status")


def _result(parts: handlers.Parts) -> None:
    """The right column: the pictures, the run in figures, asked against found."""
    gr.Markdown("### 3 · Result")
    parts.gallery = gallery("gallery", results.nothing())
    parts.figures = gr.HTML("", elem_id="figures")
    parts.table = gr.HTML("", elem_id="table")
