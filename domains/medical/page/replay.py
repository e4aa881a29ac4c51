"""The settings of an earlier run back into the page: from its sidecar (.json), or from inside a NIfTI that it wrote."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import gradio as gr

from domains.medical.data import read_extensions
from domains.medical.export import COMMENT
from domains.medical.lesions.operations import ADD, NIFTI, PRESETS, AddLesions
from domains.medical.page.visit import Visit
from shared.errors import UserError
from shared.front.controls import Controls
from shared.front.option import EXAMPLE
from shared.front.settings import read_json

SUFFIXES: Final = (".json", ".nii", ".gz")


def sidecar_in(path: str | Path) -> Mapping[str, Any]:
    """The sidecar that a file is or carries. Raises UserError when there is none of this app."""
    path = Path(path)
    if not path.name.lower().endswith(NIFTI):
        return read_json(path)
    for code, body in read_extensions(path):
        try:
            held = json.loads(body) if code == COMMENT else None
        except (ValueError, RecursionError):
            continue
        if isinstance(held, Mapping) and isinstance(held.get("settings"), Mapping):
            return held
    raise UserError(
        "carries no settings of this suite", where=str(path), remedy="choose a file that this app wrote, or its .json"
    )


def settings_in(path: str | Path) -> tuple[AddLesions, Mapping[str, Any]]:
    """Checked settings and the sidecar they come from; a report.json holds its sidecar under `provenance`."""
    sidecar = sidecar_in(path)
    if isinstance(sidecar.get("provenance"), Mapping):
        sidecar = sidecar["provenance"]
    written_by = sidecar.get("operation", ADD.name)
    if written_by != ADD.name:
        raise UserError(f"belongs to {written_by}", where=str(path), remedy="choose a sidecar of the lesion app")
    return AddLesions.from_json(sidecar, out="chosen by the page"), sidecar


def values_for(controls: Controls, settings: AddLesions) -> list[Any]:
    """What the components of the controls will hold; uploads stay as they are."""
    found: list[Any] = []
    for control in controls.controls:
        if control.option.kind in ("file", "files"):
            found += [gr.skip() for _ in control.components]
        else:
            found.append(gr.update(value=control.option.plain(getattr(settings, control.option.name))))
    return found


def said(settings: AddLesions, sidecar: Mapping[str, Any], visit: Visit) -> str:
    """What was set, and which files the page cannot bring by itself, as HTML."""
    loaded = {volume.sha256 for volume in visit.scan.volumes.values() if volume.path}
    sources = [one for one in sidecar.get("sources") or () if isinstance(one, Mapping)]
    missing = [str(one.get("name")) for one in sources if one.get("sha256") not in loaded]
    files = [settings.mask, settings.label, settings.texture, settings.checkpoint]
    missing += [Path(name).name for name in files if name and not name.startswith(EXAMPLE)]
    words = "The settings of that run are set."
    if missing:
        words += f" Load its files here, too: {', '.join(dict.fromkeys(missing))}."
    elif all(name.startswith(EXAMPLE) for name in settings.image.values()):
        words += " It was made from the example."
    return f'<p role="status">{html.escape(words)}</p>'


def connect(file: Any, words: Any, texture: Any, controls: Controls, visit: Any) -> None:
    """Connect an upload to the controls; `words` says what happened, `texture` is the choice of presets."""

    def load(path: str | None, held: Visit | None) -> list[Any]:
        nothing = [gr.skip() for _ in (texture, *controls.components)]
        if not path or held is None:
            return ["", *nothing]
        try:
            settings, sidecar = settings_in(path)
        except UserError as error:
            error = replace_place(error)
            return [f'<p role="alert" class="status-error">Please check: {html.escape(str(error))}</p>', *nothing]
        preset = settings.texture.removeprefix(EXAMPLE)
        chosen = gr.update(value=preset) if preset in PRESETS else gr.skip()
        return [said(settings, sidecar, held), chosen, *values_for(controls, settings)]

    file.change(
        load,
        [file, visit],
        [words, texture, *controls.components],
        api_visibility="private",
        show_progress="hidden",
    )


def replace_place(error: UserError) -> UserError:
    """The same sentence without a folder of the server."""
    return UserError(error.what, where=Path(error.where).name, remedy=error.remedy)
