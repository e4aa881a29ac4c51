"""Settings class -> controls of a page, and back. Label, unit, range, default and help are those of the declaration.

with gr.Blocks():
    controls = Controls(AddLesions)              # advanced options come under "More"
    button.click(handler, controls.components)   # handler(*raw): controls.values(raw) -> values by option name
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import UserError
from shared.front.option import EXAMPLE, LONGEST_TEXT, Option
from shared.front.settings import Settings

POSITIONS = 50  # at least as many has a slider for a real number; its step is a power of ten


@dataclass(frozen=True)
class Control:
    """The components that show one option: one for most kinds, upload + example (+ names) for files."""

    option: Option
    components: tuple[Any, ...]


class Controls:
    """Controls for the options of a settings class, made inside the current Gradio Blocks.

    settings   the class
    only       names of the options to show, all by default; folders are never shown (the server chooses them)
    """

    def __init__(self, settings: type[Settings], *, only: Collection[str] | None = None) -> None:
        import gradio as gr

        shown = [o for o in settings.options() if not o.local and (only is None or o.name in only)]
        unknown = sorted(set(only or ()) - {option.name for option in shown})
        if unknown:
            raise TypeError(f"{settings.__name__} has no control for {', '.join(unknown)}")
        self.controls = [_control(option) for option in shown if not option.advanced]
        advanced = [option for option in shown if option.advanced]
        if advanced:
            with gr.Accordion("More", open=False):
                self.controls += [_control(option) for option in advanced]

    @property
    def components(self) -> list[Any]:
        """All components, in the order in which ``values`` expects what they hold."""
        return [component for control in self.controls for component in control.components]

    def values(self, raw: Sequence[Any]) -> dict[str, Any]:
        """Values by option name from what the components hold; empty controls of required options are left out."""
        left: Iterator[Any] = iter(raw)
        found = {}
        for control in self.controls:
            value = _value(control.option, [next(left) for _ in control.components])
            if value is not None or not control.option.required:
                found[control.option.name] = value
        return found


def _control(option: Option) -> Control:
    import gradio as gr

    known: dict[str, Any] = {"label": option.label, "elem_id": f"option-{option.name}"}
    info = option.help if option.choices else option.sentence()  # a control of choices lists them itself
    value = None if option.required else option.plain(option.default)
    if option.kind in ("file", "files"):
        return Control(option, _file_components(option, known))
    if option.many and option.kind != "choice":
        text = "" if value is None else ", ".join(map(str, value))
        return Control(
            option, (gr.Textbox(text, info=f"{info} Separate by commas.", max_length=LONGEST_TEXT, **known),)
        )
    if option.kind == "choice":
        if option.many:
            return Control(option, (gr.CheckboxGroup(list(option.choices), value=value, info=info, **known),))
        return Control(option, (gr.Dropdown(list(option.choices), value=value, info=info, **known),))
    if option.kind == "bool":
        return Control(option, (gr.Checkbox(bool(value), info=info, **known),))
    if option.kind == "str":
        return Control(option, (gr.Textbox(value, info=info, max_length=LONGEST_TEXT, **known),))
    return Control(option, (_number(option, value, info, known),))


def _number(option: Option, value: Any, info: str, known: dict[str, Any]) -> Any:
    import gradio as gr

    if value is None:  # an empty gr.Number turns into 0 in the browser; text stays empty
        return gr.Textbox("", info=info, max_length=40, **known)
    whole = option.kind in ("int", "seed")
    bounds: dict[str, Any] = {"minimum": option.low, "maximum": option.high}
    if option.kind == "seed" or option.low is None or option.high is None:
        return _unchecked(gr.Number(value, precision=0 if whole else None, info=info, **bounds, **known))
    step = 1 if whole else 10 ** math.floor(math.log10((option.high - option.low) / POSITIONS))
    return _unchecked(gr.Slider(value=value, step=step, info=info, **bounds, **known))


def _unchecked(component: Any) -> Any:
    """A component without Gradio's own check of bounds: the option's check says option, value and remedy."""
    component.preprocess = lambda payload: payload
    return component


def _file_components(option: Option, known: dict[str, Any]) -> tuple[Any, ...]:
    import gradio as gr

    several = option.kind == "files" or option.many
    upload = gr.File(file_count="multiple" if several else "single", type="filepath", height=120, **known)
    gr.Markdown(option.sentence(), elem_classes="option-help")
    parts: list[Any] = [upload]
    if option.examples:
        first = [EXAMPLE + name for name in option.examples]
        chosen = option.default if isinstance(option.default, str) else None
        parts.append(
            gr.Dropdown(["", *first], value=chosen or (first[0] if option.required else ""), label="or example")
        )
    if option.kind == "files":
        parts.append(gr.Textbox("", label="Names of the files", info="In order, separated by commas.", max_length=400))
    return tuple(parts)


def _value(option: Option, held: list[Any]) -> Any:
    if option.kind in ("file", "files"):
        return _uploaded(option, held)
    value = held[0]
    if option.many and option.kind != "choice":
        words = [word.strip() for word in str(value or "").split(",") if word.strip()]
        return [_number_of(option, word) for word in words] if option.kind in ("int", "float") else words
    if value == "" and (option.default is None or option.required):
        return None
    return _number_of(option, value) if isinstance(value, str) and option.kind in ("int", "float", "seed") else value


def _number_of(option: Option, word: str) -> float | str:
    try:
        return float(word) if option.kind == "float" else int(word)
    except ValueError:
        return word  # refused by the option with its range


def _uploaded(option: Option, held: list[Any]) -> Any:
    uploads = held[0] if isinstance(held[0], list) else [held[0]] if held[0] else []
    paths = [str(path) for path in uploads] or ([held[1]] if option.examples and held[1] else [])
    if not paths:
        return None
    if option.kind == "file":
        return paths if option.many else paths[0]
    names = [name.strip() for name in str(held[-1] or "").split(",")] if held[-1] else []
    names += [Path(path).name.partition(".")[0] if n else "" for n, path in enumerate(paths)][len(names) :]
    named = dict(zip(names, paths, strict=False))
    if len(named) < len(paths):
        raise UserError("two files have the same name", where=option.label, remedy="give each file a name of its own")
    return named
