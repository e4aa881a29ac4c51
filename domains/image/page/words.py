"""The words of the page: what a caption promises, the vocabulary, the explanation."""

from __future__ import annotations

import html
from typing import Final

from domains.image.shapes.captions import (
    ANY_SHAPE,
    PATTERN_WORDS,
    RELATION_WORDS,
    SHAPE_WORDS,
    SIZE_WORDS,
    TEXTURE_WORDS,
    parse,
)
from domains.image.shapes.scene import BACKGROUNDS, COLOURS
from shared.errors import UserError

EXPLAIN: Final = """
**What happens.** A picture starts as noise. In every step a small network looks at it, at the words of the caption and,
where they are given, at the edges, and says what the finished picture might be; the picture then moves a little towards
that. The words act twice: *guidance* compares the answer with and without the caption and exaggerates the difference.
The edges come in through a ControlNet (Zhang et al. 2023), a trained copy of the first half of the network beside the
frozen rest.

**Who wins, caption or edges?** *Balanced* gives the edges to both halves of the guidance. *Control* gives them to the
captioned half alone, so that guidance exaggerates them as well. *Prompt* lets them act in the late layers and hardly in
the early ones.

**When.** *Control from* and *control until* say where on the way from noise (0) to picture (1) the edges act. The
layout is settled early: edges that act until 0.4 fix the places and leave the details free.

**Measured again.** A decoder that knows nothing of the caption reads every picture: things, colours, textures,
relations, background. The table compares what was asked with what was found. *Edges kept* is the F1 score of the
edges found against those asked for, with one pixel of tolerance; *valid* says whether the decoder trusts its reading.
*Effect of the edges* is the relative change of the first prediction with and without them: near 0 it says that a
control is not acting, however it is set.

**Limits.** The network knows the shape world alone: six shapes, eight colours, 32 × 32 pixels. Edges of a photograph
steer it as far as they can be read as such shapes. Every picture is synthetic and says so in its own metadata.
"""

AGAIN: Final = """
The command does what *Run* did. Every picture carries these settings, and the edge map, inside itself: drop one under
*Make a result again*, or run `suite image shapes generate --settings PICTURE.png --out NEW_OUT`.
"""


def promised(caption: str) -> str:
    """What a caption promises, or the sentence that says what is wrong with it."""
    try:
        asked = parse(caption)
    except UserError as error:
        return f'<p role="alert" class="status-error">Please check: {html.escape(str(error))}</p>'
    if not asked.nouns and not asked.background:
        return '<p role="status">An empty caption leaves everything open.</p>'
    count = len(asked.nouns)
    said = [f"{count} thing{'' if count == 1 else 's'}"]
    if asked.relation is not None:
        said.append(f"related by <em>{html.escape(asked.relation[0])}</em>")
    if asked.background or asked.pattern:
        said.append("a background")
    return f'<p role="status">Read as {", ".join(said)}.</p>'


def vocabulary() -> str:
    """Every word that a caption may use."""
    groups = {
        "Shapes": [*SHAPE_WORDS, ANY_SHAPE],
        "Colours": list(COLOURS),
        "Textures": list(TEXTURE_WORDS),
        "Sizes": list(SIZE_WORDS),
        "Relations": list(RELATION_WORDS),
        "Backgrounds": [*BACKGROUNDS, *PATTERN_WORDS],
    }
    rows = "".join(f"<dt>{name}</dt><dd>{html.escape(', '.join(words))}</dd>" for name, words in groups.items())
    return (
        "<p>[size] [texture] [colour] shape, up to three joined by one relation and by <em>and</em>, then "
        "<em>on a [pattern] [colour] background</em>. Anything may be left out.</p>"
        f'<dl class="vocabulary">{rows}</dl>'
    )
