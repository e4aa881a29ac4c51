"""The shape world is exact: same seed, same scenes; splits apart; annotations that agree with the pixels."""

from __future__ import annotations

import numpy as np
import pytest

from domains.image.shapes import annotations as truth
from domains.image.shapes import render
from domains.image.shapes.sampling import HELD_SIZES, SPLITS, allowed_in_training, sample_scenes
from domains.image.shapes.scene import (
    BACKGROUNDS,
    COLOURS,
    CONNECTOR,
    RELATIONS,
    SECOND,
    SHADE,
    SHAPES,
    Relation,
    Scene,
    Scenes,
    Thing,
    stacked,
)


def square(colour: str = "red", x: float = 0.5, y: float = 0.5, size: float = 0.5, rank: int = 0) -> Thing:
    return Thing("square", colour, "solid", size, x, y, rank=rank)


def one(*things: Thing, relation: Relation | None = None, pattern: str = "plain") -> Scenes:
    return stacked([Scene("white", pattern, things, relation)])


# ------------------------------------------------------------------------------------------------------------ sampling


def test_the_same_seed_gives_the_same_scenes_and_another_batch_others() -> None:
    first, again = sample_scenes(3, 40), sample_scenes(3, 40)
    other = sample_scenes(3, 40, batch=1)
    for name, values in vars(first).items():
        assert np.array_equal(values, getattr(again, name)), name
    assert not np.array_equal(first.x, other.x)


def test_training_sees_no_scene_of_another_split() -> None:
    known = {split: sample_scenes(0, 300, split) for split in SPLITS}
    assert allowed_in_training(known["train"]).all() and allowed_in_training(known["test"]).all()
    assert not allowed_in_training(known["pairs"]).any()
    assert not allowed_in_training(known["sizes"]).any()
    assert not np.isin(known["train"].x, known["test"].x[known["test"].shape >= 0]).any()


def test_the_held_out_sizes_are_those_that_training_leaves_out() -> None:
    sizes = sample_scenes(1, 300, "sizes").size[:, 0]
    assert ((sizes >= HELD_SIZES[0]) & (sizes <= HELD_SIZES[1])).all()


def test_the_things_of_a_scene_differ_in_colour_and_lie_in_the_picture() -> None:
    scenes = sample_scenes(2, 500)
    there = scenes.shape >= 0
    for row in range(len(scenes)):
        colours = scenes.colour[row][there[row]]
        assert len(set(colours)) == len(colours)
    box = truth.boxes(scenes)
    assert np.nanmin(box) >= 0 and np.nanmax(box) <= 1


def test_every_relation_and_every_shape_occurs() -> None:
    scenes = sample_scenes(4, 800)
    assert set(scenes.relation) == {-1, *range(len(RELATIONS))}
    assert set(scenes.shape.ravel()) == {-1, *range(len(SHAPES))}
    assert set(scenes.count) == {1, 2, 3}


def test_a_scene_survives_the_way_into_arrays_and_back() -> None:
    scenes = sample_scenes(5, 20)
    again = stacked([scenes[row] for row in range(20)])
    for name, values in vars(scenes).items():
        there = scenes.shape >= 0 if values.ndim == 2 else np.ones(20, bool)
        assert np.array_equal(values[there], getattr(again, name)[there]), name


@pytest.mark.parametrize("wrong", [{"shape": "blob"}, {"colour": "white"}, {"size": 0.0}, {"texture": "wool"}])
def test_a_thing_that_does_not_exist_is_refused(wrong: dict[str, object]) -> None:
    good = {"shape": "star", "colour": "red", "texture": "solid", "size": 0.3, "x": 0.5, "y": 0.5}
    with pytest.raises(ValueError):
        Thing(**{**good, **wrong})


# ----------------------------------------------------------------------------------------------------------- rendering


def test_a_square_covers_its_own_area() -> None:
    scenes = one(square(size=0.5))
    cover = render.coverage(scenes)[0, 0]
    assert cover.sum() == pytest.approx((0.9 * 0.5 * 32) ** 2, rel=0.03)  # a square is 0.9 of its size wide
    assert set(np.unique(cover * 16)) <= set(range(17))  # shares of 4 x 4 sub-samples
    picture = render.render(scenes)[0]
    assert tuple(picture[16, 16]) == COLOURS["red"] and tuple(picture[0, 0]) == BACKGROUNDS["white"]


def test_edges_are_smooth_by_four_times_four_samples() -> None:
    thing = Thing("square", "red", "solid", 0.5, 0.5 + 0.25 / 32, 0.5)
    cover = render.coverage(one(thing))[0, 0]
    middle = cover[16]
    inner = (middle > 0) & (middle < 1)
    assert inner.any() and middle.sum() == pytest.approx(0.9 * 16, abs=0.26)  # a quarter pixel is what a sample is wide


def test_the_nearer_thing_hides_the_farther() -> None:
    near, far = square("red", 0.45, 0.5, 0.4, rank=0), square("blue", 0.6, 0.5, 0.4, rank=1)
    for things in ((near, far), (far, near)):
        picture = render.render(one(*things))[0]
        assert tuple(picture[16, 17]) == COLOURS["red"]  # where both are


def test_textures_darken_rows_or_dots_and_leave_the_outline() -> None:
    made = {
        kind: render.render(one(Thing("square", "red", kind, 0.5, 0.5, 0.5)))[0, 10:22, 10:22].astype(float)
        for kind in ("solid", "striped", "dotted")
    }
    red = np.array(COLOURS["red"], float)
    share = {kind: (picture @ red) / (red @ red) for kind, picture in made.items()}
    assert share["solid"].std() < 0.01
    assert share["striped"].std(1).max() < 0.01 < share["striped"].std(0).min()
    assert share["dotted"].std(0).max() > 0.1 and share["dotted"].std(1).max() > 0.1
    assert min(share["striped"].min(), share["dotted"].min()) == pytest.approx(SHADE, abs=0.01)


@pytest.mark.parametrize(("kind", "where"), [("holding", (0, -1)), ("pushing", (1, 0)), ("pulling", (-1, 0))])
def test_a_connector_stands_between_its_two(kind: str, where: tuple[int, int]) -> None:
    x, y = 0.5 - 0.3 * where[0], 0.5 - 0.3 * where[1]
    things = square("red", x, y, 0.26), square("blue", 1 - x, 1 - y, 0.26)
    picture = render.render(one(*things, relation=Relation(kind, 0, 1)))[0]
    dark = np.abs(picture.astype(int) - CONNECTOR).max(-1) < 30
    rows, columns = np.nonzero(dark)
    assert (
        len(rows) >= 4 and abs(columns.mean() - 15.5) < 2 and abs(rows.mean() - 15.5) < (6 if kind == "pulling" else 2)
    )


def test_a_checkered_and_a_graded_background_have_their_second_tone() -> None:
    grounds = render.backgrounds(32)[0]  # white
    white = np.array(BACKGROUNDS["white"], float)
    assert np.allclose(grounds[0], white)
    assert np.allclose(grounds[1, -1, 0] / white, 1 + (SECOND - 1) * 31.5 / 32, atol=1e-3)
    assert np.allclose(grounds[2, 0, 8] / white, SECOND, atol=1e-3) and np.allclose(grounds[2, 0, 0], white)


def test_pictures_of_64_pixels_show_the_same_scene() -> None:
    scenes = sample_scenes(6, 20)
    small, large = render.render(scenes, 32).astype(float), render.render(scenes, 64).astype(float)
    halved = large.reshape(20, 32, 2, 32, 2, 3).mean((2, 4))
    assert np.abs(halved - small).mean() < 2.0


def test_the_renderer_works_on_whole_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight times the scenes take at most eight times the calls of a stencil, and not one a thing."""
    calls: list[int] = []
    own = render.stencil

    def counted(name: str, x: np.ndarray, *rest: object) -> np.ndarray:
        calls.append(len(x))
        return own(name, x, *rest)

    monkeypatch.setattr(render, "stencil", counted)
    render.coverage(sample_scenes(7, 512))
    assert sum(calls) > 800 and len(calls) <= sum(calls) / 20


# --------------------------------------------------------------------------------------------------------- annotations


def test_masks_instances_and_depth_of_two_overlapping_squares_are_exact() -> None:
    near, far = square("red", 12 / 32, 0.5, 0.5, rank=0), square("blue", 20 / 32, 0.5, 0.5, rank=1)
    scenes = one(near, far)
    whole, seen = truth.amodal_masks(scenes)[0], truth.visible_masks(scenes)[0]
    assert whole[0].sum() == whole[1].sum() == seen[0].sum() == 14 * 14
    assert seen[1].sum() == 14 * 8  # eight columns of it stand free
    assert not (seen[0] & seen[1]).any() and (whole[0] & whole[1]).sum() == 14 * 6
    depth = truth.depth(scenes)[0]
    assert np.allclose(depth[seen[0]], 0.2) and np.allclose(depth[seen[1]], 0.4)
    assert np.allclose(depth[~(seen[0] | seen[1])], 1.0)
    kinds = truth.semantics(scenes)[0]
    assert set(np.unique(kinds)) == {0, SHAPES.index("square") + 1}


def test_edges_are_the_contours_of_what_is_seen_and_free_of_texture() -> None:
    plain, dotted = (one(Thing("square", "red", kind, 0.5, 0.5, 0.5)) for kind in ("solid", "dotted"))
    edges = truth.edges(plain)[0]
    assert np.array_equal(edges, truth.edges(dotted)[0])
    rows, columns = np.nonzero(edges)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 22, 8, 22)
    assert edges[8, 9:22].all() and edges[9:22, 8].all() and edges[10:21, 10:21].sum() == 0


def test_boxes_joints_and_triplets() -> None:
    figure = Thing("figure", "green", "solid", 0.5, 0.3, 0.5)
    scenes = one(figure, square("red", 0.8, 0.5, 0.26), relation=Relation("pushing", 0, 1))
    low_x, low_y, high_x, high_y = truth.boxes(scenes)[0, 0]
    assert high_y - low_y == pytest.approx(0.5, abs=2 / 32) and (low_x + high_x) / 2 == pytest.approx(0.3, abs=1 / 32)
    joints = dict(zip(truth.JOINTS, truth.joints(scenes)[0, 0], strict=True))
    assert joints["head"][1] < joints["neck"][1] < joints["hip"][1] < joints["left foot"][1]
    mask = truth.amodal_masks(scenes)[0, 0]
    for x, y in joints.values():
        assert mask[int(y * 32) - 1 : int(y * 32) + 2, int(x * 32) - 1 : int(x * 32) + 2].any()
    assert np.isnan(truth.joints(scenes)[0, 1]).all()
    assert truth.triplets(scenes) == [(0, "pushing", 1)]
