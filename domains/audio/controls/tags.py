"""Tags: one of ten genres, one of ten moods, either may be left open; and free text read for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from domains.audio.controls import checks

GENRES: Final = ("ambient", "blues", "classical", "electronic", "folk", "funk", "hip_hop", "jazz", "pop", "rock")
MOODS: Final = ("happy", "sad", "calm", "energetic", "dark", "dreamy", "epic", "playful", "romantic", "tense")

# Words that people write for them.
_SAID: Final = {
    "ambient": "atmospheric drone pad soundscape",
    "blues": "bluesy shuffle",
    "classical": "orchestral orchestra baroque piano string strings symphony waltz",
    "electronic": "edm techno house trance synth synthwave electro dance",
    "folk": "acoustic country celtic fiddle ballad",
    "funk": "funky groove groovy disco soul",
    "hip_hop": "hiphop hip-hop rap trap beats lofi lo-fi",
    "jazz": "jazzy swing bebop bossa",
    "pop": "catchy chart",
    "rock": "metal punk guitar grunge indie",
    "happy": "cheerful joyful upbeat bright sunny uplifting glad",
    "sad": "melancholic melancholy sorrowful mournful gloomy blue",
    "calm": "peaceful relaxing relaxed quiet soft gentle slow chill",
    "energetic": "energy driving fast powerful exciting lively",
    "dark": "sinister ominous brooding scary",
    "dreamy": "dreamlike ethereal floating hazy",
    "epic": "heroic cinematic grand triumphant majestic",
    "playful": "funny quirky cute whimsical",
    "romantic": "love tender warm intimate",
    "tense": "suspense suspenseful nervous anxious aggressive angry",
}
_MEANT: Final = {said: tag for tag, words in _SAID.items() for said in (tag, *words.split())}


@dataclass(frozen=True)
class Tags:
    """Genre and mood; None leaves it to the model."""

    genre: str | None = None
    mood: str | None = None

    def __post_init__(self) -> None:
        if self.genre is not None:
            checks.word(self.genre, GENRES, "tags", "the genre")
        if self.mood is not None:
            checks.word(self.mood, MOODS, "tags", "the mood")

    @classmethod
    def read(cls, text: str) -> tuple[Tags, tuple[str, ...]]:
        """The first genre and the first mood that a text names, and the words it did not understand or follow."""
        genre = mood = None
        unknown = []
        for said in re.findall(r"[a-z][a-z_-]*", text.lower().replace("hip hop", "hip_hop")):
            tag = _MEANT.get(said)
            if tag in GENRES and genre in (None, tag):
                genre = tag
            elif tag in MOODS and mood in (None, tag):
                mood = tag
            else:
                unknown.append(said)
        return cls(genre, mood), tuple(unknown)
