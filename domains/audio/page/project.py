"""A project file that is opened: controls, and the settings of the run that wrote them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from domains.audio.controls.controls import Controls
from domains.audio.controls.json_form import from_json
from domains.audio.score.operations import GENERATE, GenerateMusic
from shared.errors import UserError
from shared.front.settings import read_json

FILES: Final = ("controls", "midi", "like")  # options that a project names and does not carry


def read_project(path: str) -> tuple[Controls, dict[str, Any] | None]:
    """Controls, and all settings when a run wrote the file; None for controls alone.

    Raises UserError that begins with the file's name, without its folder.
    """
    where = Path(path).name
    try:
        found = read_json(path)
        controls = from_json(found)
        if found.get("operation") != GENERATE.name:
            return controls, None
        settings = dict(found["settings"]) if isinstance(found.get("settings"), dict) else {}
        if settings.get("only") and not any(settings.get(name) for name in FILES[:2]):
            settings["only"] = []
        kept = {name: value for name, value in settings.items() if name not in FILES}
        return controls, GenerateMusic.from_json({**kept, "only": []}, out="unused").to_json()
    except UserError as error:
        place = where if not error.where or error.where == path else f"{where}, {error.where}"
        raise UserError(error.what, where=place, remedy=error.remedy) from None
