"""The page of the audio app: lanes on the left, how it is made in the middle, takes on the right."""

from __future__ import annotations

from typing import Final

import gradio as gr

from domains.audio.cli import OPERATIONS
from domains.audio.controls.examples import EXAMPLES
from domains.audio.operations import METRES, SCORES, ExtractControls
from domains.audio.page import handlers, mending, results, tables, words
from domains.audio.page.asking import chord, reshape
from domains.audio.page.components import HERE, lanes, players
from domains.audio.score.operations import GENERATE, GenerateMusic
from shared.front.controls import Controls
from shared.front.endpoint import endpoint
from shared.front.jobs import JobRunner
from shared.front.panel import run_panel
from shared.front.theme import again, heading

# Options that the page has controls of its own for, or that its lanes hold.
BY_THE_PAGE: Final = frozenset(
    {"controls", "midi", "only", "like", "bars", "bpm", "metre", "engine", "soundfont", "out"}
)
KEPT: Final = 4 * 3600  # seconds that a visitor's takes are kept without being touched
SWEEP: Final = (900, KEPT)  # uploads and results on disk: look every, remove when older than, seconds
LONGEST: Final = 12.0  # seconds of a recording that are read when nothing is said


def page(jobs: JobRunner) -> gr.Blocks:
    """The page, with its controls connected to the job runner."""
    with gr.Blocks(title="Music that follows", delete_cache=SWEEP, fill_width=True) as blocks:
        gr.HTML(f"<style>{(HERE / 'page.css').read_text('utf-8')}</style>", padding=False)
        heading("Music that follows", "Draw what shall happen when, hear it, and let music be made that does it.")
        parts = handlers.Parts(near=gr.State(None, time_to_live=KEPT))
        with gr.Row(elem_classes="audio-page"):
            with gr.Column(scale=7, min_width=340):
                _asked(parts)
            with gr.Column(scale=3, min_width=270):
                gr.Markdown("### 2 · How")
                above = gr.Column(elem_id="panel")
                parts.nearness = gr.HTML("", elem_id="nearness")
                parts.forget = gr.Button("Not near to a take", size="sm", visible=False, elem_id="forget")
                wanted = {option.name for option in GenerateMusic.options()} - BY_THE_PAGE
                controls = Controls(GenerateMusic, only=wanted)
            with gr.Column(scale=4, min_width=320):
                _result(parts)
                below = gr.Column(elem_id="downloads")
        with gr.Accordion("Explain: what is done, what is compared, and what it cannot do", open=False):
            gr.Markdown(words.EXPLAIN)
        parts.command, parts.sidecar = again(words.AGAIN)
        with above:
            panel = run_panel(
                GENERATE,
                controls,
                jobs,
                results=parts.results,
                draw=handlers.finished(parts),
                inputs=[parts.lanes, parts.near],
                values=handlers.values,
                files_in=below,
            )
        handlers.connect(blocks, parts, controls, jobs)
        mending.connect(parts, controls, jobs, panel.files)
        for operation in OPERATIONS:
            endpoint(operation, jobs)
    return blocks


def _asked(parts: handlers.Parts) -> None:
    """The left column: examples, lanes, and the other ways to fill them."""
    gr.Markdown("### 1 · What")
    parts.example = gr.Radio(list(EXAMPLES), value=handlers.FIRST, label="Example", elem_id="example")
    first, _, _ = handlers.filled(EXAMPLES[handlers.FIRST]())
    parts.lanes = lanes("lanes", first, [reshape, chord])
    parts.checked = gr.HTML("", elem_id="lanes-status")
    with gr.Row(elem_classes="tight"):
        parts.hear = gr.Button("Hear what is asked", size="sm", elem_id="hear")
    parts.heard = players("heard", results.nothing(""))
    with gr.Accordion("From a recording or a microphone", open=False):
        gr.Markdown("Hum, whistle, play or upload; it stays on this computer.")
        parts.recording = gr.Audio(
            sources=["upload", "microphone"], type="filepath", label="Recording", elem_id="recording"
        )
        with gr.Row(elem_classes="tight"):
            options = {option.name: option for option in ExtractControls.options()}
            parts.voice = gr.Radio(["solo", "mix"], value="solo", label="Voice", info="One voice alone, or a mix.")
            parts.bpm = gr.Textbox("", label="BPM, if known", max_length=10, min_width=110)
            parts.metre = gr.Dropdown(list(METRES), value="auto", label=options["metre"].label, min_width=110)
        with gr.Row(elem_classes="tight"):
            parts.start = gr.Number(0, label="From (s)", min_width=100, elem_id="from")
            parts.seconds = gr.Number(LONGEST, label="Seconds", min_width=100, elem_id="seconds")
            parts.read = gr.Button("Read it into the lanes", elem_id="read", min_width=160)
        parts.midi = gr.File(label="or a MIDI file", file_types=list(SCORES), height=110, elem_id="midi")
        parts.taken = gr.HTML("", elem_id="read-status")
    with gr.Accordion("Type it: notes, points, chords, spans", open=False):
        parts.unit = gr.Radio(list(tables.UNITS), value=tables.UNITS[0], label="Positions in", elem_id="unit")
        parts.typed = gr.HTML("", elem_id="typed-status")
        for name, headers in tables.HEADERS.items():
            parts.tables[name] = gr.Dataframe(
                headers=headers,
                type="array",
                datatype="str",
                label=name.capitalize(),
                column_count=len(headers),
                row_count=1,
                interactive=True,
                max_height=260,
                elem_id=f"table-{name}",
            )
    with gr.Accordion("Open a project", open=False):
        gr.Markdown(words.OPEN)
        parts.project = gr.File(label="Project", file_types=[".json"], height=110, elem_id="project")
        parts.opened = gr.HTML("", elem_id="project-status")


def _result(parts: handlers.Parts) -> None:
    """The right column: the takes, the run in figures, asked against obtained."""
    gr.Markdown("### 3 · Result")
    gr.HTML(f'<p class="licence">{words.LICENCE}</p>', elem_id="licence")
    parts.takes = players("takes", results.nothing())
    mending.lay_out(parts)
    parts.figures = gr.HTML("", elem_id="figures")
    parts.table = gr.HTML("", elem_id="table")
