"""What the page does when something is drawn, typed, chosen or dropped. Every handler is private to the page."""

from __future__ import annotations

import base64
import html
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import gradio as gr

from domains.audio.controls.controls import Controls
from domains.audio.controls.examples import EXAMPLES
from domains.audio.controls.json_form import text
from domains.audio.controls.tags import Tags
from domains.audio.operations import EXTRACT
from domains.audio.page import results, tables
from domains.audio.page.asking import controls_of
from domains.audio.page.project import read_project
from shared.errors import Cancelled, UserError
from shared.front.controls import Controls as Panel
from shared.front.jobs import JobRunner
from shared.front.operation import Outcome
from shared.front.panel import show
from shared.front.visitor import delivering, submit

PRIVATE: Final[dict[str, Any]] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": 4}
LATEST: Final[dict[str, Any]] = {**PRIVATE, "trigger_mode": "always_last"}
FIRST: Final = "theme"
KEPT: Final = "controls.json"


@dataclass(eq=False)
class Parts:
    """The components of the page, filled while it is laid out."""

    example: Any = None
    lanes: Any = None
    checked: Any = None
    hear: Any = None
    heard: Any = None
    unit: Any = None
    tables: dict[str, Any] = field(default_factory=dict)
    typed: Any = None
    recording: Any = None
    voice: Any = None
    bpm: Any = None
    metre: Any = None
    start: Any = None
    seconds: Any = None
    read: Any = None
    midi: Any = None
    taken: Any = None
    project: Any = None
    opened: Any = None
    near: Any = None
    nearness: Any = None
    forget: Any = None
    changed: Any = None
    what: Any = None
    from_bar: Any = None
    to_bar: Any = None
    more: Any = None
    roles: Any = None
    change: Any = None
    halt: Any = None
    changing: Any = None
    takes: Any = None
    figures: Any = None
    table: Any = None
    command: Any = None
    sidecar: Any = None

    @property
    def told(self) -> list[Any]:
        """What says which take the next run stays near to."""
        return [self.nearness, self.forget]

    @property
    def results(self) -> list[Any]:
        """What shows the outcome of a run, in the order of `finished`."""
        return [self.takes, self.figures, self.table, self.command, self.sidecar, self.changed, self.near, *self.told]


def connect(blocks: gr.Blocks, parts: Parts, controls: Panel, jobs: JobRunner) -> None:
    """Connect the components of a page to the handlers below."""
    option = {control.option.name: control.components[0] for control in controls.controls}
    asked = [parts.lanes, option["tags"], option["key"]]
    frames = list(parts.tables.values())
    parts.example.input(_example, parts.example, asked, **PRIVATE)
    blocks.load(_example, parts.example, asked, **PRIVATE)
    blocks.load(_loaded, [parts.lanes, parts.unit], [parts.checked, *frames], **PRIVATE)
    for event in (parts.lanes.input, parts.lanes.change, parts.unit.input):
        event(_loaded, [parts.lanes, parts.unit], [parts.checked, *frames], **LATEST)
    for name, frame in parts.tables.items():
        frame.input(_typed(name), [parts.lanes, parts.unit, frame], [parts.lanes, parts.typed], **PRIVATE)
    parts.hear.click(_hear(parts.heard), parts.lanes, [parts.heard, parts.checked], **PRIVATE)
    sound = [parts.recording, parts.voice, parts.bpm, parts.metre, parts.start, parts.seconds]
    read, filling = _read(jobs, _of_sound), [parts.lanes, option["key"], parts.taken]
    parts.read.click(read, sound, filling, **{**PRIVATE, "concurrency_limit": None})
    parts.midi.upload(
        _read(jobs, lambda path: {"audio": path}), parts.midi, filling, **{**PRIVATE, "concurrency_limit": None}
    )
    parts.project.upload(_open(controls), parts.project, [parts.opened, parts.lanes, *controls.components], **PRIVATE)
    parts.takes.select(_nearer, parts.near, [parts.near, *parts.told], **PRIVATE)
    parts.forget.click(_forget, parts.near, [parts.near, *parts.told], **PRIVATE)


# ------------------------------------------------------------------------------------------------- what is asked


def filled(controls: Controls) -> list[Any]:
    """Lanes, tags and key of controls: the lanes hold what varies in time, the fields of the page the rest."""
    words = ", ".join(word for word in (controls.tags.genre, controls.tags.mood) if word)
    key = controls.key.name if controls.key else "auto"
    return [text(replace(controls, tags=Tags(), key=None)), words, key]


def _example(name: str) -> list[Any]:
    return filled(EXAMPLES[name]()) if name in EXAMPLES else [gr.skip()] * 3


def _loaded(held: str | None, unit: str) -> list[Any]:
    """What is asked in one line, and as tables; or what is wrong with it in one sentence."""
    try:
        controls = controls_of(held)
    except UserError as error:
        return [alert(error), *(gr.skip() for _ in tables.HEADERS)]
    return [f'<p role="status">{html.escape(described(controls))}</p>', *tables.rows_of(controls, unit).values()]


def described(controls: Controls) -> str:
    """What is asked, in one line."""
    asked = [kind for kind in ("melody", "dynamics", "rhythm", "chords") if controls.given(kind)]
    partly = [kind for kind in asked if controls.spans.of(kind) is not None]
    said = f"{controls.length:.2f} s. Asked: {', '.join(asked) or 'nothing, the model decides'}"
    return said + (f"; {' and '.join(partly)} in part." if partly else ".")


def _typed(name: str) -> Callable[..., list[Any]]:
    """The handler of a table that was edited."""

    def typed(held: str | None, unit: str, rows: list[list[Any]]) -> list[Any]:
        try:
            before = controls_of(held)
            made = tables.with_rows(before, name, rows, unit)
        except UserError as error:
            return [gr.skip(), alert(error)]
        return [gr.skip() if made == before else text(made), ""]

    return typed


def alert(error: UserError) -> str:
    return f'<p role="alert" class="status-error">Please check: {html.escape(str(error))}</p>'


def done(sentence: str, word: str = "Done") -> str:
    return f'<p role="status" class="status-done">{word}: {html.escape(sentence)}</p>'


def _hear(player: Any) -> Callable[..., list[Any]]:
    """The handler that plays what is asked; `player` owns the file."""

    def hear(held: str | None) -> list[Any]:
        from domains.audio.export import write_sound
        from domains.audio.preview import RATE, sound

        try:
            controls = controls_of(held)
        except UserError as error:
            return [results.nothing(""), alert(error)]
        with tempfile.TemporaryDirectory() as folder:
            file = write_sound(Path(folder) / "asked.wav", sound(controls), RATE, sidecar={"synthetic": True})
            return [results.asked_value(serving(player)(file)), gr.skip()]

    return hear


def serving(component: Any) -> results.Serve:
    """Where the page reads a file: copied into the folder of a component, which Gradio sweeps."""

    def serve(file: Path) -> str:
        return f"gradio_api/file={component.move_resource_to_block_cache(file)}"

    return serve


# ---------------------------------------------------------------------------------------------------- files that come


def _of_sound(path: str | None, voice: str, bpm: Any, metre: str, start: Any, seconds: Any) -> Mapping[str, Any]:
    if not path:
        raise UserError("there is no recording", remedy="upload or record one first")
    tempo = float(bpm) if str(bpm or "").strip() else None
    return {"audio": path, "voice": voice, "bpm": tempo, "metre": metre, "start": start or 0.0, "seconds": seconds}


def _read(jobs: JobRunner, asked: Callable[..., Mapping[str, Any]]) -> Callable[..., Iterator[list[Any]]]:
    """The handler that reads controls from a file, as `suite audio extract` does, with progress."""

    def read(request: Any, *held: Any) -> Iterator[list[Any]]:
        try:
            job = submit(EXTRACT, asked(*held), jobs, owner=str(request.session_hash))
            for now in job.follow():
                yield [gr.skip(), gr.skip(), show(now)]
            outcome = job.outcome()
        except UserError as error:
            sentence = alert(UserError(error.what, where=Path(error.where).name, remedy=error.remedy))
            yield [gr.skip(), gr.skip(), sentence]
        except ValueError:
            wrong = UserError("the tempo is no number", remedy="write it as 96, or nothing")
            yield [gr.skip(), gr.skip(), alert(wrong)]
        except Cancelled:
            yield [gr.skip(), gr.skip(), '<p role="status" class="status-stopped">Stopped.</p>']
        else:
            lanes, _, key = filled(outcome.view)
            with delivering(outcome):
                yield [lanes, key, done(outcome.sentence, "Read")]

    read.__annotations__["request"] = gr.Request  # Gradio passes the visitor's session by this annotation
    return read


def _open(controls: Panel) -> Callable[..., list[Any]]:
    """The handler of a project file: lanes, and every setting of the run that wrote it."""

    def opened(path: str | None) -> list[Any]:
        try:
            asked, settings = read_project(str(path))
        except UserError as error:
            return [alert(error), gr.skip(), *(gr.skip() for _ in controls.components)]
        lanes, words, key = filled(asked)
        given = dict(settings or {}) | ({"tags": words, "key": key} if settings is None else {})
        if settings is not None and not given.get("tags"):
            given["tags"] = words
        if settings is not None and given.get("key", "auto") == "auto":
            given["key"] = key
        values = [
            given[control.option.name] if control.option.name in given else gr.skip() for control in controls.controls
        ]
        values = ["" if value is None else value for value in values]
        what = "Lanes and settings are those of the project; press Run." if settings else "The lanes are filled."
        return [f'<p role="status">{what}</p>', lanes, *values]

    return opened


# ------------------------------------------------------------------------------------------------------------- the run


def values(held: str | None, near: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """For `run_panel`: the options that the page holds."""
    body = base64.b64encode(text(controls_of(held)).encode()).decode()
    given = {"controls": f"data:application/json;name={KEPT};base64,{body}"}
    return given | ({"like": near["chosen"]} if near and near.get("chosen") else {})


def finished(parts: Parts) -> Callable[[Outcome], list[Any]]:
    """For `run_panel`: what `Parts.results` show of an outcome."""

    def draw(outcome: Outcome) -> list[Any]:
        files = {file.name: file for file in outcome.files}
        sidecar = json.loads(files["report.json"].read_text("utf-8"))
        rows = outcome.report["takes"]
        midis = [parts.takes.move_resource_to_block_cache(files[row["midi"]]) for row in rows if "midi" in row]
        sounds = [parts.takes.move_resource_to_block_cache(files[row["file"]]) for row in rows]
        shown = {name: value for name, value in sidecar.items() if name != "files"}
        return [
            results.takes_value(outcome, serving(parts.takes)),
            results.figures(outcome),
            results.table(outcome),
            sidecar["command"],
            json.dumps(shown, indent=1),
            gr.update(choices=[(f"Take {row['take']}", k) for k, row in enumerate(rows)], value=0),
            *_forget({"midis": midis, "musics": midis or sounds}),
        ]

    return draw


def _nearer(event: gr.EventData, near: Mapping[str, Any] | None) -> list[Any]:
    """The next run stays near to a take."""
    number = (event._data or {}).get("take")
    midis = (near or {}).get("midis", [])
    if not isinstance(number, int) or not 0 <= number < len(midis):
        return [gr.skip(), gr.skip(), gr.skip()]
    said = f'<p role="status">The next run stays near to take {number + 1}; see Change.</p>'
    return [{**(near or {}), "chosen": midis[number]}, said, gr.update(visible=True)]


def _forget(near: Mapping[str, Any] | None) -> list[Any]:
    return [{**(near or {}), "chosen": None}, "", gr.update(visible=False)]
