"""What the cards of the shape model state: fidelity to captions and edges, with floor, ceiling and intervals.

    captions   pictures of held-out captions, each from its own seed. Floor: the better of the same pictures under the
               captions of others, and of pictures that were asked for nothing. Ceiling: the scenes as rendered.
    edges      the same with the edges of the captioned scene. Floor of the edges: the better of no control, and of the
               edges of another scene. Floor of the caption: the same pictures under the captions of others; what it
               reaches without edges stands beside it and says whether edges cost words.

The captions are complete but for what `promise` leaves out in training too; all splits of the world count alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from domains.image.control.evaluate import Fidelity, Rate, bootstrap, diversity, fidelity, mask_iou, order_kept, rates
from domains.image.control.model import GUIDANCE, SAMPLER, STEPS, ShapeModel
from domains.image.shapes.annotations import edges as edges_of
from domains.image.shapes.annotations import visible_masks
from domains.image.shapes.captions import caption
from domains.image.shapes.render import render
from domains.image.shapes.sampling import Split, sample_scenes
from domains.image.shapes.scene import Scenes

HELD_OUT: Final[tuple[Split, ...]] = ("test", "pairs", "sizes")
BATCH: Final = 32
SHOWN: Final = ("count", "shape", "colour", "texture", "relation", "background", "pattern", "whole", "valid")


@dataclass(frozen=True, eq=False)
class Questions:
    """Scenes that training never showed, their captions, edges (B, 32, 32) and a seed each."""

    scenes: Scenes
    captions: tuple[str, ...]
    edges: NDArray
    seeds: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.captions)


def questions(count: int, split: Split = "test", seed: int = 100) -> Questions:
    """`count` held-out scenes of a split with a caption each, the same for the same seed."""
    scenes, rng = sample_scenes(seed, count, split), np.random.default_rng((seed, count))
    captions = tuple(caption(scenes[row], rng) for row in range(count))
    return Questions(scenes, captions, edges_of(scenes), tuple(range(seed * 100_000, seed * 100_000 + count)))


def answers(
    model: ShapeModel,
    captions: Sequence[str],
    seeds: Sequence[int],
    edges: NDArray | None = None,
    *,
    steps: int = STEPS,
    guidance: float = GUIDANCE,
    sampler: str = SAMPLER,
    **control: Any,
) -> NDArray:
    """Pictures (B, 32, 32, 3), made in batches of 32."""
    parts = []
    for first in range(0, len(captions), BATCH):
        part = slice(first, first + BATCH)
        own = None if edges is None else edges[part]
        made = model.generate(
            captions[part],
            edges=own,
            seeds=seeds[part],
            steps=steps,
            guidance=guidance,
            sampler=sampler,
            **control,
        )
        parts.append(made)
    return np.concatenate(parts)


def compared(pictures: NDArray, captions: Sequence[str], edges: NDArray | None = None) -> list[Fidelity]:
    """Every picture against its caption, and its edges."""
    return [
        fidelity(picture, text, None if edges is None else edges[row])
        for row, (picture, text) in enumerate(zip(pictures, captions, strict=True))
    ]


def shifted(values: Sequence[Any] | NDArray) -> Any:
    """Everyone gets what the next one asked for."""
    return np.roll(values, -1, axis=0) if isinstance(values, np.ndarray) else [*values[1:], values[0]]


def caption_metrics(model: ShapeModel, count: int = 128) -> dict[str, dict[str, Any]]:
    """What a base model's card states; `count` captions of the iid test, half as many of each other split."""
    asked = questions(count)
    made = answers(model, asked.captions, asked.seeds)
    free = answers(model, [""] * count, asked.seeds)
    value = rates(compared(made, asked.captions))
    floors = [rates(compared(made, shifted(asked.captions))), rates(compared(free, asked.captions))]
    ceiling = rates(compared(render(asked.scenes), asked.captions))
    out = {
        f"caption: {name}": _entry(value[name], [f[name] for f in floors] if name != "valid" else [], ceiling[name])
        for name in SHOWN
        if name in value
    }
    for split in HELD_OUT[1:]:
        other = questions(count // 2, split)
        found = rates(compared(answers(model, other.captions, other.seeds), other.captions))
        out |= {f"{split}: {name}": _entry(found[name], [], None) for name in ("shape", "colour", "valid")}
    many = compared(answers(model, ["a thing"] * 64, range(64)), ["a thing"] * 64)
    out["diversity of 'a thing' (entropy of colour and background)"] = {"value": round(diversity(many), 4)}
    return out


def edge_metrics(model: ShapeModel, count: int = 64) -> dict[str, dict[str, Any]]:
    """What a control's card states: edges, captions, masks and depth with the control, and its floors."""
    asked = questions(count, seed=200)
    made = answers(model, asked.captions, asked.seeds, asked.edges)
    free = answers(model, asked.captions, asked.seeds)
    strange = answers(model, asked.captions, asked.seeds, shifted(asked.edges))
    silent = answers(model, [""] * count, asked.seeds, asked.edges)
    value, base = (rates(compared(p, asked.captions, asked.edges)) for p in (made, free))
    mute = rates(compared(silent, [""] * count, asked.edges))
    floor = rates(compared(made, shifted(asked.captions)))
    other = rates(compared(strange, asked.captions, asked.edges))
    ceiling = rates(compared(render(asked.scenes), asked.captions, asked.edges))
    floors = [base["edges"], other["edges"]]
    out = {
        "edges: F1 at 1 pixel": _entry(value["edges"], floors, ceiling["edges"]),
        "edges: F1 without a caption": _entry(mute["edges"], floors, ceiling["edges"]),
    }
    for name in ("shape", "colour", "relation", "valid"):
        out[f"caption with edges: {name}"] = _entry(value[name], [floor[name]] * (name != "valid"), ceiling[name])
        out[f"caption without edges: {name}"] = _entry(base[name], [], None)
    seen, real = compared(made, asked.captions), compared(render(asked.scenes), asked.captions)
    visible = visible_masks(asked.scenes)
    iou = [mask_iou(one.found, asked.scenes[row], visible[row]) for row, one in enumerate(seen)]
    out["masks: IoU with the scene, by colour"] = {"value": round(float(np.mean(iou)), 4)}
    found, drawn = (_in_order(many, asked.scenes, visible) for many in (seen, real))
    if found.cases:
        out["depth: overlapping pairs in order"] = _entry(found, [], drawn)
    return out


def _in_order(many: Sequence[Fidelity], scenes: Scenes, visible: NDArray) -> Rate:
    order = [order_kept(one.found, scenes[row], visible[row]) for row, one in enumerate(many)]
    return bootstrap(np.array([(float(kept or False), int(kept is not None)) for kept in order]))


def not_above_floor(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The metrics whose interval does not lie above their floor: what a model cannot be said to do."""
    return [name for name, entry in metrics.items() if "floor" in entry and entry["low"] <= entry["floor"]]


def _entry(value: Rate, floors: Sequence[Rate], ceiling: Rate | None) -> dict[str, Any]:
    entry: dict[str, Any] = {key: round(v, 4) for key, v in vars(value).items()}
    if floors:
        entry["floor"] = round(max(floor.value for floor in floors), 4)
    if ceiling is not None:
        entry["ceiling"] = round(ceiling.value, 4)
    return entry
