"""Endings of the files that the audio app reads. Imports nothing."""

from __future__ import annotations

from typing import Final

SOUNDS: Final = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".caf", ".au", ".w64")
SCORES: Final = (".mid", ".midi")
