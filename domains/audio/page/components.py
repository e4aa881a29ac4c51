"""The page's own components: the lanes in which music is asked for, and the players of what was made.

A script is a list of files that share one scope, in the order in which they build on one another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
LANES: Final = (
    *("clock", "state", "view", "paint"),
    *("melody", "dynamics", "rhythm", "chords", "free"),
    *("keys", "pointer", "start"),
)


def lanes(elem_id: str, value: str, functions: Sequence[Callable[..., Any]]) -> Any:
    """The lanes in the current Gradio Blocks; the event `input` follows every finished gesture.

    value      JSON text of controls
    functions  of the server, that the script calls by name
    """
    return _component("lanes", LANES, elem_id, value, functions)


def players(elem_id: str, value: str) -> Any:
    """Players of takes; the event `select` says which take shall be kept to."""
    return _component("players", ("players",), elem_id, value, ())


def _component(
    name: str, scripts: Sequence[str], elem_id: str, value: str, functions: Sequence[Callable[..., Any]]
) -> Any:
    import gradio as gr

    folder = HERE / name
    return gr.HTML(
        value=value,
        html_template=(folder / f"{name}.html").read_text("utf-8"),
        js_on_load="\n".join((folder / f"{script}.js").read_text("utf-8") for script in scripts),
        elem_id=elem_id,
        elem_classes=name,
        server_functions=list(functions) or None,
    )
