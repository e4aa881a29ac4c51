"""The page's own components: the editor of edge maps and the gallery, with their templates and scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent


def editor(elem_id: str) -> Any:
    """The editor of edge maps in the current Gradio Blocks; its event `input` follows every stroke."""
    return _component("editor", elem_id, "")


def gallery(elem_id: str, value: str) -> Any:
    """The gallery of pictures."""
    return _component("gallery", elem_id, value)


def _component(name: str, elem_id: str, value: str) -> Any:
    import gradio as gr

    return gr.HTML(
        value=value,
        html_template=(HERE / f"{name}.html").read_text("utf-8"),
        js_on_load=(HERE / f"{name}.js").read_text("utf-8"),
        elem_id=elem_id,
        elem_classes=name,
    )
