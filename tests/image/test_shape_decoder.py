"""The decoder reads renders (nearly) without fault, tells other pictures from them, and measures edges by pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from domains.image.control.evaluate import (
    bootstrap,
    diversity,
    edge_f1,
    fidelity,
    mask_iou,
    order_kept,
    promises,
    rates,
)
from domains.image.shapes.annotations import edges, visible_masks
from domains.image.shapes.captions import full_promise, parse
from domains.image.shapes.decoder import Found, decode
from domains.image.shapes.render import render
from domains.image.shapes.sampling import sample_scenes
from domains.image.shapes.scene import RELATIONS, Scenes, stacked

COUNT = 500
World = tuple[Scenes, NDArray, list[Found]]


@pytest.fixture(scope="module")
def world() -> World:
    """500 held-out scenes, their pictures, and what the decoder sees."""
    scenes = sample_scenes(50, COUNT, "test")
    pictures = render(scenes)
    return scenes, pictures, [decode(picture) for picture in pictures]


def test_what_captions_promise_is_read_right_on_renders(world: World) -> None:
    scenes, _, found = world
    right: dict[str, list[bool]] = {}
    for row, seen in enumerate(found):
        for promise in promises(full_promise(scenes[row]), seen):
            right.setdefault(promise.attribute, []).append(promise.right)
    least = {"texture": 0.98}
    for attribute, rows in right.items():
        assert np.mean(rows) >= least.get(attribute, 0.99), (attribute, np.mean(rows))
    assert set(right) >= {"count", "shape", "colour", "texture", "size", "relation", "background", "pattern"}


def test_renders_are_valid(world: World) -> None:
    assert np.mean([seen.valid for seen in world[2]]) >= 0.99


def test_masks_and_contours_come_from_the_pixels(world: World) -> None:
    scenes, pictures, found = world
    visible, true = visible_masks(scenes), edges(scenes)
    iou = [mask_iou(seen, scenes[row], visible[row]) for row, seen in enumerate(found)]
    assert np.mean(iou) >= 0.93
    scores = [fidelity(pictures[row], "", true[row]).edge_f1 or 0.0 for row in range(60)]
    strange = [fidelity(pictures[row], "", true[row + 1]).edge_f1 or 0.0 for row in range(60)]
    assert np.mean(scores) >= 0.99 and np.mean(strange) < 0.5


def test_the_nearer_of_two_is_seen_in_front(world: World) -> None:
    scenes, _, found = world
    visible = visible_masks(scenes)
    order = [order_kept(seen, scenes[row], visible[row]) for row, seen in enumerate(found)]
    known = [kept for kept in order if kept is not None]
    assert len(known) > 50 and np.mean(known) >= 0.98


def test_the_order_of_two_is_that_of_the_picture_whatever_their_colours(world: World) -> None:
    """Drawn with other colours a pair is still in order; with the farther one in front it no longer is."""
    scenes = world[0].take(np.nonzero(world[0].relation == RELATIONS.index("front"))[0])
    visible = visible_masks(scenes)
    painted = replace(scenes, colour=np.where(scenes.colour >= 0, (scenes.colour + 3) % 8, -1))
    turned = replace(scenes, rank=np.where(scenes.rank >= 0, scenes.count[:, None] - 1 - scenes.rank, -1))
    for other, low, high in ((painted, 0.95, 1.0), (turned, 0.0, 0.15)):
        order = [order_kept(decode(p), scenes[row], visible[row]) for row, p in enumerate(render(other))]
        assert low <= np.mean(order) <= high


def blurred(pictures: NDArray, sigma: float) -> NDArray:
    reach = np.arange(-4, 5)
    kernel = np.exp(-(reach**2) / (2 * sigma**2))
    out = pictures.astype(float)
    for axis in (1, 2):
        padding = [(4, 4) if k == axis else (0, 0) for k in range(4)]
        wide = np.pad(out, padding, mode="edge")
        out = sum(w * np.take(wide, np.arange(32) + k, axis) for k, w in enumerate(kernel / kernel.sum()))
    return np.rint(out).astype(np.uint8)


def test_blurred_mixed_and_random_pictures_are_not_valid(world: World) -> None:
    pictures = world[1][:60]
    mixed = (pictures.astype(int) + pictures[::-1]) // 2
    noise = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3))
    for name, others in (("blurred", blurred(pictures, 1.0)), ("mixed", mixed), ("noise", noise)):
        valid = [decode(picture.astype(np.uint8)).valid for picture in others]
        assert np.mean(valid) <= 0.1, name


def test_a_little_noise_changes_nothing_that_is_read(world: World) -> None:
    scenes, pictures, _ = world
    rng = np.random.default_rng(1)
    noisy = np.clip(pictures[:60] + rng.normal(0, 8, pictures[:60].shape), 0, 255).astype(np.uint8)
    right = [row.right for k in range(60) for row in promises(full_promise(scenes[k]), decode(noisy[k]))]
    assert np.mean(right) >= 0.97


def test_the_background_of_an_empty_picture_is_read_and_nothing_on_it() -> None:
    empty = render(stacked([sample_scenes(0, 1)[0]]))[0]
    empty[:] = (185, 235, 200)
    found = decode(empty)
    assert (found.background, found.pattern, found.things, found.valid) == ("mint", "plain", (), False)


# -------------------------------------------------------------------------------------------------------- the measures


def test_promises_are_checked_on_the_pairing_that_keeps_most() -> None:
    scenes = sample_scenes(51, 200, "test")
    row = int(np.nonzero(scenes.count == 2)[0][0])
    scene = scenes[row]
    found = decode(render(scenes.take(np.array([row])))[0])
    a, b = scene.things
    right = parse(f"a {b.colour} {b.shape} and a {a.colour} {a.shape}")
    assert all(promise.right for promise in promises(right, found))
    crossed = promises(parse(f"a {a.colour} {b.shape} and a {b.colour} {a.shape}"), found)
    if a.shape != b.shape:  # colours bind shapes: swapped, they cannot both be right
        assert sum(p.right for p in crossed if p.attribute in ("shape", "colour")) == 2


def test_captions_of_others_are_at_chance(world: World) -> None:
    scenes, _, found = world
    rows = [promises(full_promise(scenes[(row + 1) % COUNT]), seen) for row, seen in enumerate(found)]
    for attribute, most in (("colour", 0.3), ("shape", 0.4), ("relation", 0.3)):
        assert np.mean([p.right for some in rows for p in some if p.attribute == attribute]) < most


def test_edge_agreement_forgives_one_pixel_and_no_more() -> None:
    edge = np.zeros((32, 32), bool)
    edge[8, 4:20] = True
    assert edge_f1(edge, edge) == 1 and edge_f1(np.roll(edge, 1, 0), edge) == 1
    assert edge_f1(np.roll(edge, 2, 0), edge) == 0
    half = edge.copy()
    half[8, 12:] = False
    assert edge_f1(half, edge) == pytest.approx(2 / (1 + 16 / 9), abs=1e-6)  # nine of sixteen are near
    assert edge_f1(np.zeros_like(edge), np.zeros_like(edge)) == 1 and edge_f1(edge, np.zeros_like(edge)) == 0


def test_rates_have_an_interval_that_holds_the_truth() -> None:
    rows = np.column_stack([np.arange(400) < 280, np.ones(400)]).astype(float)
    rate, exact = bootstrap(rows), 2 * 1.96 * np.sqrt(0.7 * 0.3 / 400)
    assert rate.low < rate.value < rate.high and rate.value == 0.7 and rate.cases == 400
    assert rate.high - rate.low == pytest.approx(exact, rel=0.15)


def test_diversity_is_none_for_one_picture_again_and_again(world: World) -> None:
    pictures = world[1]
    same = [fidelity(pictures[0], "")] * 20
    many = [fidelity(picture, "") for picture in pictures[:60]]
    assert diversity(same) == 0 and diversity(many) > 0.85


def test_rates_of_real_pictures_are_the_ceiling(world: World) -> None:
    scenes, pictures, _ = world
    found = rates([fidelity(pictures[row], full_promise(scenes[row])) for row in range(60)])
    assert found["valid"].value >= 0.98 and found["colour"].value == 1.0
