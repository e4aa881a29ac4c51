"""`suite image shapes detect` and `scene`: what a picture shows; exact scenes with everything that is true of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.image.conditioning import FINE, SIDE, canny, map_png
from domains.image.control.exact import scene_for
from domains.image.control.operations import EXAMPLES, DetectShapes, DrawScene
from domains.image.data import fit_square, read_picture
from domains.image.export import ENLARGED, enlarged, png
from domains.image.shapes.annotations import boxes, contours, depth, edges, triplets, visible_masks
from domains.image.shapes.captions import caption
from domains.image.shapes.decoder import Found, decode
from domains.image.shapes.render import render
from domains.image.shapes.scene import CONNECTED, RELATIONS, THINGS, Scene, stacked
from shared.front.atomic import staged_folder, write_atomic
from shared.front.operation import Operation, Outcome, Report
from shared.front.option import EXAMPLE
from shared.front.provenance import provenance


def detect_shapes(settings: DetectShapes, progress: Report, operation: Operation) -> Outcome:
    """What the decoder sees in a picture, its contours, and the edges that Canny's method finds."""
    progress(0, 2, "reading")
    small, lines, notes, source = _picture(settings)
    progress(1, 2, "looking")
    found = decode(small)
    record = provenance(operation, settings, threads=1, sources=source, packages=("pillow",), synthetic=not source)
    seen = {**described(found), "notes": list(notes), "provenance": record}
    files = {
        "seen.json": json.dumps(seen, indent=1, allow_nan=False).encode(),
        "picture.png": png(small),
        "edges_seen.png": map_png(contours(found.labels).astype(np.float32)),
        "edges_canny.png": map_png(lines),
    }
    return _written(settings.out, files, sentence(found), seen, {"picture": small, "found": found})


def draw_scene(settings: DrawScene, progress: Report, operation: Operation) -> Outcome:
    """An exact scene: its picture, edges, depth, and the visible mask of every thing."""
    progress(0, 1, "drawing")
    made = scene_for(settings.caption, settings.seed)
    scenes, words = stacked([made]), caption(made)
    picture, masks = render(scenes)[0], visible_masks(scenes)[0]
    record = provenance(operation, settings, threads=1)
    truth = {**_truth(made), "provenance": record}
    files = {
        "syn_scene.png": png(picture, record, words=words, trained=False),
        f"syn_scene_x{ENLARGED}.png": png(enlarged(picture, ENLARGED), record, words=words, trained=False),
        "edges.png": map_png(edges(scenes)[0]),
        "depth.png": png(np.rint(65535 * depth(scenes)[0]).astype(np.uint16)),
        **{f"mask_{k + 1}.png": map_png(masks[k].astype(np.float32)) for k in range(len(made.things))},
    }
    if masks[THINGS].any():
        files["mask_connector.png"] = map_png(masks[THINGS].astype(np.float32))
    files["scene.json"] = json.dumps(truth, indent=1, allow_nan=False).encode()
    return _written(settings.out, files, words, truth, {"picture": picture, "scene": made})


def described(found: Found) -> dict[str, Any]:
    """What the decoder sees, in plain JSON; lengths are shares of the side, boxes x0, y0, x1, y1."""
    return {
        "valid": found.valid,
        "background": {"colour": found.background, "pattern": found.pattern},
        "things": [
            {
                "shape": thing.shape,
                "colour": thing.colour,
                "texture": thing.texture,
                "size": round(thing.size, 4),
                "x": round(thing.x, 4),
                "y": round(thing.y, 4),
                "box": [round(v, 4) for v in thing.box],
                "visible_pixels": int(thing.mask.sum()),
                "misfit": round(thing.misfit, 4),
            }
            for thing in found.things
        ],
        "relations": _relations(found),
        "strange_pixels": round(found.strange, 4),
        "blur": round(found.blur, 4),
    }


def sentence(found: Found) -> str:
    """What the decoder sees, for people."""
    things = ", ".join(f"{thing.texture} {thing.colour} {thing.shape}" for thing in found.things)
    trust = "" if found.valid else "; this is no clear picture of the shape world, so do not rely on it"
    return f"{things or 'no thing'} on {found.pattern} {found.background}{trust}"


def _relations(found: Found) -> list[dict[str, Any]]:
    pairs = [(a, b) for a in range(len(found.things)) for b in range(len(found.things)) if a != b]
    return [
        {"subject": a, "relation": kind, "object": b} for a, b in pairs for kind in RELATIONS if found.holds(kind, a, b)
    ]


def _picture(settings: DetectShapes) -> tuple[NDArray, NDArray, tuple[str, ...], list[Path]]:
    """(32, 32, 3) picture, its Canny edges, notes, and the file it came from."""
    if settings.image.startswith(EXAMPLE):
        scenes = stacked([scene_for(EXAMPLES[settings.image.removeprefix(EXAMPLE)], seed=0)])
        return render(scenes)[0], canny(render(scenes, SIDE * FINE)[0]), (), []
    read = read_picture(settings.image)
    lines = canny(fit_square(read.rgb, SIDE * FINE, settings.fit))
    return fit_square(read.rgb, SIDE, settings.fit), lines, read.notes, [read.path]


def _truth(made: Scene) -> dict[str, Any]:
    scenes = stacked([made])
    box, relation = boxes(scenes)[0], triplets(scenes)[0]
    return {
        "caption": caption(made),
        "background": {"colour": made.background, "pattern": made.pattern},
        "things": [{**vars(thing), "box": [round(float(v), 4) for v in box[k]]} for k, thing in enumerate(made.things)],
        "relation": None
        if relation is None
        else {"subject": relation[0], "relation": relation[1], "object": relation[2]},
        "connector": relation is not None and relation[1] in CONNECTED,
        "depth": "depth.png: 65535 is the background, nearer is darker; 13107 for each rank",
    }


def _written(
    out: str, files: Mapping[str, bytes], words: str, report: Mapping[str, Any], view: Mapping[str, Any]
) -> Outcome:
    with staged_folder(out) as folder:
        for name, body in files.items():
            write_atomic(folder / name, body)
    return Outcome(words, tuple(Path(out) / name for name in files), report, view=view)
