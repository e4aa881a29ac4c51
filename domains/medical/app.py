"""The page of the lesion app: a scan and a mask on the left, what to make in the middle, the result on the right."""

from __future__ import annotations

from typing import Any, Final

import gradio as gr

from domains.medical.lesions.operations import ADD, PRESETS, RESEARCH_USE, AddLesions
from domains.medical.page import handlers, replay, words
from domains.medical.page.results import MODES
from domains.medical.page.viewer import HERE, TOOLS, component
from domains.medical.planes import CONVENTIONS, PLANES
from shared.front.controls import Controls
from shared.front.endpoint import endpoint
from shared.front.jobs import JobRunner
from shared.front.panel import run_panel
from shared.front.theme import again, heading

# Options that the page has controls of its own for.
BY_THE_PAGE: Final = frozenset({"image", "mask", "label", "texture", "out"})
KEPT: Final = 4 * 3600  # seconds that a visitor's scan is kept without being touched
SWEEP: Final = (900, KEPT)  # uploads and results on disk: look every, remove when older than, seconds


def page(jobs: JobRunner) -> gr.Blocks:
    """The page, with its controls connected to the job runner."""
    with gr.Blocks(title="Lesions in brain scans", delete_cache=SWEEP, fill_width=True) as blocks:
        gr.HTML(f"<style>{(HERE / 'page.css').read_text('utf-8')}</style>", padding=False)
        heading("Lesions in brain scans", "Put a lesion into a scan. Everything outside it stays identical to the bit.")
        gr.HTML(f'<p class="research-use">{RESEARCH_USE}</p>', elem_id="notice")
        visit = gr.State(None, time_to_live=KEPT, delete_callback=handlers.forget)
        result = gr.State(None, time_to_live=KEPT, delete_callback=handlers.forget)
        parts = handlers.Parts(visit=visit, result=result, moment=gr.Number(0, visible=False))
        with gr.Row(elem_classes="lesion-page"):
            with gr.Column(scale=5, min_width=340):
                _scan(parts)
            with gr.Column(scale=3, min_width=280):
                gr.Markdown("### 2 · What to make")
                texture, own_texture = _texture()
                wanted = {option.name for option in AddLesions.options()} - BY_THE_PAGE
                controls = Controls(AddLesions, only=wanted)
                with gr.Accordion("Settings of an earlier run", open=False):
                    gr.Markdown(words.REPLAY, elem_classes="option-help")
                    earlier = gr.File(
                        label="Sidecar", file_types=list(replay.SUFFIXES), height=110, elem_id="earlier-settings"
                    )
                replayed = gr.HTML("", elem_id="replayed")
                replay.connect(earlier, replayed, texture, controls, visit)
                panel = run_panel(
                    ADD,
                    controls,
                    jobs,
                    results=[result],
                    draw=handlers.finished,
                    inputs=[visit, texture, own_texture],
                    values=handlers.values,
                )
            with gr.Column(scale=5, min_width=340):
                _result(parts)
        with gr.Accordion("Explain: what was done, and what it is worth", open=False):
            gr.Markdown(words.EXPLAIN)
        parts.command, parts.sidecar = again(words.AGAIN)
        handlers.connect(blocks, parts, panel)
        endpoint(ADD, jobs)
    return blocks


def _scan(parts: Any) -> None:
    """The left column: the scan, the viewer with its tools, the mask."""
    gr.Markdown("### 1 · Scan and place")
    parts.loaded = gr.HTML("", elem_id="scan-status")
    with gr.Accordion("Use your own scan", open=False):
        gr.Markdown("NIfTI, skull-stripped, contrasts on one grid. It stays on this computer.")
        kinds = [".nii", ".gz"]
        with gr.Row():
            for name in ("FLAIR", "T1", "T2"):
                parts.files.append(
                    gr.File(label=name, file_types=kinds, height=130, min_width=100, elem_id=f"upload-{name}")
                )
        with gr.Row():
            parts.files.append(
                gr.File(label="Lesion mask (optional)", file_types=kinds, height=130, elem_id="upload-mask")
            )
            parts.files.append(
                gr.File(label="Lesions it has (optional)", file_types=kinds, height=130, elem_id="upload-label")
            )
    with gr.Row(elem_classes="tight"):
        parts.contrast = gr.Dropdown(["FLAIR"], value="FLAIR", label="Contrast", scale=1, min_width=110)
        parts.preset = gr.Dropdown(["Standard"], value="Standard", label="Window", scale=1, min_width=140)
        parts.convention = gr.Radio(
            list(CONVENTIONS), value=CONVENTIONS[0], label="Convention", scale=3, min_width=255, elem_id="convention"
        )
    parts.before = component("before")
    with gr.Row(elem_classes="tight"):
        parts.tool = gr.Radio(list(TOOLS), value=TOOLS[0], label="Mouse, touch", scale=3, min_width=290, elem_id="tool")
        parts.brush = gr.Slider(
            1, 40, value=8, step=0.5, label="Diameter (mm)", scale=2, min_width=170, elem_id="brush", buttons=[]
        )
    with gr.Row(elem_classes="tight"):
        parts.ball = gr.Button("Put a ball at the cross-hair", size="sm", elem_id="ball", min_width=150)
        parts.undo = gr.Button("Undo", size="sm", elem_id="undo", min_width=70)
        parts.clear = gr.Button("Clear", size="sm", elem_id="clear", min_width=70)
        parts.restore = gr.Button("First mask", size="sm", elem_id="restore", min_width=90)
    parts.drawn = gr.HTML("", elem_id="mask-status")
    parts.inside = gr.Checkbox(True, label="Paint only inside the brain", container=False, elem_id="inside")
    with gr.Accordion("Slices", open=True):
        for axis, name in enumerate(("Sagittal, left to right", "Coronal, back to front", "Axial, bottom to top")):
            parts.slices.append(
                gr.Slider(1, 100, value=50, step=1, label=name, elem_id=f"slice-{'xyz'[axis]}", buttons=[])
            )
    with gr.Accordion("Grey values and overlay", open=False):
        parts.width = gr.Slider(0, 1, value=1, label="Window width", elem_id="width", buttons=[])
        parts.level = gr.Slider(0, 1, value=0.5, label="Window level", elem_id="level", buttons=[])
        parts.opacity = gr.Slider(0, 1, value=0.35, step=0.05, label="Overlay opacity", elem_id="opacity", buttons=[])
        parts.main = gr.Radio(list(PLANES), value=PLANES[0], label="Large plane", elem_id="main-plane")


def _texture() -> tuple[Any, Any]:
    """Texture: a preset, or the visitor's own histograms."""
    option = next(option for option in AddLesions.options() if option.name == "texture")
    preset = str(option.default).removeprefix("example:")
    choice = gr.Radio(
        list(PRESETS), value=preset, label=option.label, info="How bright, as real lesions are.", elem_id="texture"
    )
    with gr.Accordion("Own texture", open=False):
        gr.Markdown(option.sentence(), elem_classes="option-help")
        own = gr.File(label="Histograms (.json)", file_types=list(option.suffixes), height=110, elem_id="own-texture")
    return choice, own


def _result(parts: Any) -> None:
    """The right column: before, after, difference and blink, variations, the report."""
    gr.Markdown("### 3 · Result")
    with gr.Row():
        parts.mode = gr.Radio(list(MODES), value=MODES[0], label="Show", scale=4, min_width=330, elem_id="mode")
        parts.variation = gr.Dropdown(
            ["1"], value="1", label="Variation", visible=False, scale=1, min_width=90, elem_id="variation"
        )
    parts.after = component("after")
    parts.outlined = gr.Checkbox(False, label="Outline the lesion mask", container=False, elem_id="outlined")
    parts.strip = gr.HTML("", elem_id="close-ups")
    parts.figures = gr.HTML("", elem_id="figures")
    parts.quality = gr.HTML("", elem_id="quality")
    parts.domain = gr.HTML("", elem_id="training-domain")
