"""Pictures out: PNG that says SYNTHETIC and carries what made it, enlarged copies and a contact sheet for people.

Every PNG holds the full sidecar (settings, seed, versions, and the edge map that was used), so one file is enough to
make it again: ``--settings picture.png``. Beside it stand the words that other programs read: ``Description`` and
``Software`` of the PNG specification, ``parameters`` as users of Stable Diffusion web interfaces know it, and the
IPTC's ``DigitalSourceType`` in XMP, by which galleries and search engines tell what a trained model made.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from shared.front.embedded import SIDECAR, with_text
from shared.front.provenance import DISTRIBUTION

SYNTHETIC: Final = "SYNTHETIC"
ENLARGED: Final = 16  # pixels of the enlarged copy for a pixel of the picture
SHEET: Final = 6  # the same on the contact sheet
_SOURCE: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_XMP: Final = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:dc="http://purl.org/dc/elements/1.1/">'
    "<Iptc4xmpExt:DigitalSourceType>{source}</Iptc4xmpExt:DigitalSourceType>"
    '<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{words}</rdf:li></rdf:Alt></dc:description>'
    '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


def enlarged(values: NDArray, by: int) -> NDArray:
    """(H, W, ...) -> (by H, by W, ...): every pixel becomes a square."""
    return values.repeat(by, axis=0).repeat(by, axis=1)


def png(values: NDArray, sidecar: Mapping[str, Any] | None = None, *, words: str = "", trained: bool = True) -> bytes:
    """A PNG of (H, W) or (H, W, 3) uint8, or (H, W) uint16 values.

    sidecar   what `provenance` gave, kept in the file; None: a plain picture
    words     what it shows, for `Description`; SYNTHETIC is put in front
    trained   made by a trained model, rather than drawn
    """
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG", optimize=True)
    if sidecar is None:
        return buffer.getvalue()
    said = f"{SYNTHETIC} picture: {words}" if words else f"{SYNTHETIC} picture"
    version = sidecar.get("versions", {}).get(DISTRIBUTION, "")
    text = {
        "Description": said,
        "Software": f"{DISTRIBUTION} {version}".strip(),
        SIDECAR: json.dumps(sidecar, ensure_ascii=False, allow_nan=False),
    }
    if trained:
        text["parameters"] = infotext(sidecar)
        text["XML:com.adobe.xmp"] = _XMP.format(source=_SOURCE, words=escape(said))
    return with_text(buffer.getvalue(), text)


def infotext(sidecar: Mapping[str, Any]) -> str:
    """Settings in the one-line form of Stable Diffusion web interfaces: the caption, then `Steps: 20, Sampler: ...`."""
    given = sidecar["settings"]
    words = {
        "Steps": given["steps"],
        "Sampler": given["sampler"],
        "CFG scale": given["guidance"],
        "Seed": sidecar.get("picture", {}).get("seed", sidecar.get("seed")),
        "Size": "32x32",
    }
    line = ", ".join(f"{name}: {value}" for name, value in words.items())
    if given.get("edges"):
        unit = {
            "Module": sidecar.get("edges", {}).get("detector", "none"),
            "Weight": given["strength"],
            "Guidance Start": given["control_from"],
            "Guidance End": given["control_until"],
            "Control Mode": given["mode"],
        }
        line += f', ControlNet 0: "{", ".join(f"{name}: {value}" for name, value in unit.items())}"'
    return f"{given['caption']}\n{line}"


def packed(files: Mapping[str, bytes]) -> dict[str, str]:
    """Small input files as a sidecar carries them: name -> base64."""
    return {name: base64.b64encode(body).decode() for name, body in files.items()}


def contact_sheet(pictures: NDArray, titles: Sequence[str], heading: str, edges: NDArray | None = None) -> NDArray:
    """All pictures of a run on one page, (H, W, 3) uint8: the edge map first, a title under each, the caption on top.

    pictures  (B, S, S, 3) uint8;  titles  one a picture;  edges  (S, S) float in 0..1
    """
    shown = [np.asarray(picture) for picture in pictures]
    named = list(titles)
    if edges is not None:
        grey = np.rint(255 * np.clip(edges, 0, 1)).astype(np.uint8)
        shown.insert(0, np.stack([grey] * 3, -1))
        named.insert(0, "edges asked for")
    tile, gap, line = shown[0].shape[0] * SHEET, 12, 20
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    font = ImageFont.load_default(13)
    width = gap + columns * (tile + gap)
    head = _wrapped(f"{SYNTHETIC}. {heading}" if heading else SYNTHETIC, font, width - 2 * gap)
    top = gap + len(head) * line
    sheet = Image.new("RGB", (width, top + gap + rows * (tile + line + gap)), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for n, words in enumerate(head):
        draw.text((gap, gap + n * line), words, fill=(15, 23, 42), font=font)
    for n, (picture, title) in enumerate(zip(shown, named, strict=True)):
        x, y = gap + n % columns * (tile + gap), top + gap + n // columns * (tile + line + gap)
        sheet.paste(Image.fromarray(enlarged(picture, SHEET)), (x, y))
        draw.text((x, y + tile + 3), title, fill=(51, 65, 85), font=font)
    return np.asarray(sheet)


def _wrapped(text: str, font: Any, width: int) -> list[str]:
    """Lines that fit; a word that does not fit by itself is cut."""
    lines = [""]
    for word in text.split():
        while font.getlength(word) > width:
            word = word[:-1]
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
