"""The look of every page: Gradio's default theme, which fetches nothing, and the suite's own style sheet."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any, Final

STYLE: Final = Path(__file__).with_name("style.css")


def look() -> dict[str, Any]:
    """Keyword arguments for ``gr.mount_gradio_app``: theme, and the sheet in the head, where it stays as it is."""
    import gradio as gr

    quiet, quiet_dark = "#475569", "#b6c2d2"  # the default's quiet text has a contrast of 2.6 to 1; these have 7 to 1
    theme = gr.themes.Default(primary_hue="teal", neutral_hue="slate").set(
        body_text_color_subdued=quiet,
        body_text_color_subdued_dark=quiet_dark,
        block_info_text_color=quiet,
        block_info_text_color_dark=quiet_dark,
        block_label_text_color=quiet,
        block_label_text_color_dark=quiet_dark,
        block_title_text_color="#1e293b",
        block_title_text_color_dark="#e2e8f0",
        input_placeholder_color=quiet,
        input_placeholder_color_dark=quiet_dark,
        button_primary_background_fill="#0f766e",
        button_primary_background_fill_dark="#0f766e",
        button_primary_background_fill_hover="#115e59",
        button_primary_background_fill_hover_dark="#115e59",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        link_text_color="#1d4ed8",
        link_text_color_dark="#93c5fd",
    )
    return {"theme": theme, "head": f"<style>\n{STYLE.read_text('utf-8')}</style>"}


def heading(title: str, line: str) -> None:
    """The head of a page: way back to all apps, title, one line; in the current Gradio Blocks."""
    import gradio as gr

    words = f"<h1>{html.escape(title)}</h1><p>{html.escape(line)}</p>"
    gr.HTML(f'<nav><a href="/">All apps</a></nav>{words}', elem_classes="page-heading")


def code(label: str, most: int, name: str | None = None) -> Any:
    """Text to read and copy, of at most so many lines at once; ``name`` is its id in the page."""
    import gradio as gr

    plain: dict[str, Any] = {
        "language": None,
        "interactive": False,
        "wrap_lines": True,
        "show_line_numbers": False,
        "lines": 2,
    }
    return gr.Code(label=label, max_lines=most, elem_id=name, **plain)


def again(words: str) -> tuple[Any, Any]:
    """The part of a page that says how to do the same again: the command, and the sidecar of the last run."""
    import gradio as gr

    with gr.Accordion("Export: do the same again", open=False):
        gr.Markdown(words)
        return code("Command", 6, "command"), code("Settings and provenance of this run", 16)
