"""From a command to files: pictures, measures and everything needed to make them again, from one file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from domains.image.conditioning import canny, edge_map, exact_edges, example_edges
from domains.image.control import run
from domains.image.control.effect import effect
from domains.image.control.evaluate import edge_f1, fidelity
from domains.image.control.exact import scene_for
from domains.image.control.model import CONTROL_WEIGHTS, GUIDANCE, SAMPLER, STEPS, WEIGHTS
from domains.image.control.operations import EXAMPLES, MODES, SAMPLERS, GenerateShapes
from domains.image.data import FITS
from domains.image.export import ENLARGED
from domains.image.shapes.captions import caption
from domains.image.shapes.render import render
from domains.image.shapes.sampling import sample_scenes
from domains.image.shapes.scene import stacked
from shared.adapters.card import MODES as KNOWN_MODES
from shared.errors import Cancelled, UserError
from shared.samplers import named
from suite.cli import main
from tests.image import untrained

WORDS = "a red circle left of a blue square"


@pytest.fixture(scope="module", autouse=True)
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("weights")
    untrained.written(folder)
    with pytest.MonkeyPatch.context() as patch:
        untrained.use(patch, folder)
        yield
    run.shape_model.cache_clear()


def generate(out: Path, *more: str) -> int:
    given = ["--caption", WORDS, "--steps", "2", "--count", "2", *more]
    return main(["image", "shapes", "generate", *given, "--out", str(out)])


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def text_of(path: Path) -> dict[str, Any]:
    """What Pillow reads in the text chunks of a PNG."""
    image = Image.open(path)
    assert isinstance(image, PngImageFile)
    return {**image.text}


def report_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "report.json").read_text())
    return found


# ------------------------------------------------------------------------------------------------------------ generate


@pytest.fixture(scope="module")
def own_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's drawing: a square of white lines in a large black picture."""
    lines = np.zeros((320, 320), np.uint8)
    lines[80:240, [80, 239]] = lines[[80, 239], 80:240] = 255
    path = tmp_path_factory.mktemp("drawing") / "mine.png"
    Image.fromarray(lines).save(path)
    return path


@pytest.fixture(scope="module")
def made(own_map: Path, tmp_path_factory: pytest.TempPathFactory, weights: None) -> Path:
    """A run with a user's edge map."""
    out = tmp_path_factory.mktemp("run") / "out"
    assert generate(out, "--edges", str(own_map), "--seed", "5", "--strength", "0.7", "--control-until", "0.8") == 0
    return out


def test_a_run_writes_pictures_enlarged_copies_a_sheet_and_a_report(made: Path) -> None:
    names = {"edges.png", "report.json", "syn_sheet.png"}
    names |= {f"syn_{k:02d}{ending}.png" for k in (1, 2) for ending in ("", f"_x{ENLARGED}")}
    assert {path.name for path in made.iterdir()} == names
    small = pixels(made / "syn_01.png")
    assert small.shape == (32, 32, 3)
    assert (pixels(made / f"syn_01_x{ENLARGED}.png")[::ENLARGED, ::ENLARGED] == small).all()
    for path in made.glob("syn_*.png"):
        assert text_of(path)["Description"].startswith(f"SYNTHETIC picture: {WORDS}")


def test_the_report_measures_every_picture_again(made: Path) -> None:
    report = report_of(made)["report"]
    assert report["calls"] == 4 and report["seconds"] > 0 and report["effect"] > 0
    edges = pixels(made / "edges.png").astype(np.float32) / 255
    for k, row in enumerate(report["pictures"]):
        one = fidelity(pixels(made / f"syn_{k + 1:02d}.png"), WORDS, edges)
        assert (row["seed"], row["kept"], row["promises"]) == (5 + k, one.kept, len(one.promises))
        assert row["edge_f1"] == pytest.approx(one.edge_f1, abs=1e-4) and row["valid"] == one.valid
    own = json.loads(text_of(made / "syn_02.png")["diffusion-suite"])
    assert own["picture"]["seed"] == 6 and own["synthetic"] is True


def test_the_sentence_says_what_of_the_caption_the_decoder_found_again() -> None:
    asked = "a red circle left of a blue square on a white background"
    shown = (asked, "a red circle left of a green square on a white background", "a red star on a white background")
    pictures = np.stack([render(stacked([scene_for(words, 0)]))[0] for words in shown])
    measured = tuple(fidelity(picture, asked) for picture in pictures)
    settings = GenerateShapes(caption=asked, count=3, out="x")
    summary = run.summarise(settings, run.Made(pictures, (0, 1, 2), measured, None, 46, 2.0, ""))
    assert summary["kept"]["colour"] == {"asked": 6, "kept": 4} and summary["kept"]["shape"] == {"asked": 6, "kept": 4}
    said = run.sentence(summary)
    assert said == (
        "3 pictures in 2.0 s: 46 calls of 43 ms; read again, they keep 15 of 21 promises of the caption: count 2 of 3, "
        "shape 4 of 6, colour 4 of 6, relation 2 of 3, background 3 of 3; 1 of 3 pictures keeps all"
    )


def test_the_sentence_says_when_the_decoder_is_unsure_and_when_nothing_was_asked() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1, 32, 32, 3), dtype=np.uint8)
    made = run.Made(noise, (0,), (fidelity(noise[0], ""),), None, 23, 1.0, "")
    said = run.sentence(run.summarise(GenerateShapes(caption="", count=1, out="x"), made))
    assert said == "1 picture in 1.0 s: 23 calls of 43 ms; the decoder is unsure of 1 of 1 pictures"


def test_one_picture_alone_makes_the_same_pictures_again(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = tmp_path / "from_a_friend.png"
    alone.write_bytes((made / "syn_02.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    for source in (alone, made / "report.json"):
        out = tmp_path / source.stem
        assert main(["image", "shapes", "generate", "--settings", str(source), "--out", str(out)]) == 0
        for k in (1, 2):
            assert (pixels(out / f"syn_{k:02d}.png") == pixels(made / f"syn_{k:02d}.png")).all()
    assert "note" not in capsys.readouterr().err


def test_a_replay_with_another_seed_is_another_picture(made: Path, tmp_path: Path) -> None:
    more = ["--settings", str(made / "report.json"), "--seed", "9", "--count", "1", "--out", str(tmp_path / "out")]
    assert main(["image", "shapes", "generate", *more]) == 0
    assert (pixels(tmp_path / "out" / "syn_01.png") != pixels(made / "syn_01.png")).any()
    assert (pixels(tmp_path / "out" / "edges.png") == pixels(made / "edges.png")).all()


def test_no_path_of_the_users_disk_leaves_with_a_result(made: Path, own_map: Path) -> None:
    for path in made.iterdir():
        assert str(own_map.parent).encode() not in path.read_bytes()
    assert report_of(made)["edges"]["source"] == "mine.png"


def test_strength_0_gives_the_pictures_of_the_caption_alone(tmp_path: Path) -> None:
    assert generate(tmp_path / "free", "--count", "1") == 0
    assert generate(tmp_path / "off", "--count", "1", "--edges", "pair", "--strength", "0") == 0
    assert generate(tmp_path / "on", "--count", "1", "--edges", "pair") == 0
    free, off, on = (pixels(tmp_path / name / "syn_01.png") for name in ("free", "off", "on"))
    assert (off == free).all() and (on != free).any()
    assert report_of(tmp_path / "off")["report"]["effect"] == 0
    assert report_of(tmp_path / "free")["report"]["effect"] is None


def test_stop_leaves_nothing(tmp_path: Path) -> None:
    settings = GenerateShapes(caption=WORDS, steps=4, count=1, out=str(tmp_path / "out"))
    seen: list[Any] = []

    def report(done: int, total: int, note: str = "", preview: Any = None) -> None:
        seen.append(preview)
        if done == 4:
            raise Cancelled("stopped by the user")

    with pytest.raises(Cancelled):
        run.generate_shapes(settings, report, run_operation())
    assert list(tmp_path.iterdir()) == []
    assert seen[-1].shape == (1, 32, 32, 3), "a preview comes with every step"


def run_operation() -> Any:
    from domains.image.control.operations import GENERATE

    return GENERATE


def test_the_effect_grows_with_the_strength_and_is_0_without(weights: None) -> None:
    model = run.shape_model(True)
    settings = GenerateShapes(caption=WORDS, out="x")
    edges = example_edges("pair")
    effects = [effect(model, replace(settings, strength=s), edges) for s in (0.0, 0.2, 1.0)]
    assert effects[0] == 0 < effects[1] < effects[2]


def test_the_settings_name_what_the_model_knows() -> None:
    default = {option.name: option.default for option in GenerateShapes.options()}
    assert (default["steps"], default["guidance"], default["sampler"]) == (STEPS, GUIDANCE, SAMPLER)
    assert set(SAMPLERS) <= set(named.SAMPLERS) and set(MODES) <= set(KNOWN_MODES)
    fits = next(option for option in GenerateShapes.options() if option.name == "fit")
    assert fits.choices == FITS
    assert WEIGHTS.parent == CONTROL_WEIGHTS.parent


# ------------------------------------------------------------------------------------------------------- detect, scene


def test_detect_says_what_a_scene_shows(tmp_path: Path) -> None:
    words = "a figure pulling a square"
    drawn = ["image", "shapes", "scene", "--caption", words, "--seed", "3", "--out", str(tmp_path / "scene")]
    assert main(drawn) == 0
    picture = tmp_path / "scene" / f"syn_scene_x{ENLARGED}.png"
    assert main(["image", "shapes", "detect", "--image", str(picture), "--out", str(tmp_path / "seen")]) == 0
    truth = json.loads((tmp_path / "scene" / "scene.json").read_text())
    seen = json.loads((tmp_path / "seen" / "seen.json").read_text())
    assert seen["valid"] and seen["background"] == truth["background"]
    told = {(t["shape"], t["colour"], t["texture"]) for t in seen["things"]}
    assert told == {(t["shape"], t["colour"], t["texture"]) for t in truth["things"]}
    (relation,) = seen["relations"]
    assert relation["relation"] == truth["relation"]["relation"] == "pulling"
    edges, found = (pixels(tmp_path / a) > 127 for a in ("scene/edges.png", "seen/edges_seen.png"))
    assert edge_f1(found, edges) > 0.95


def test_a_scene_comes_with_masks_and_depth_that_fit_its_picture(tmp_path: Path) -> None:
    words = "an orange cross in front of a cyan square on a plain white background"
    assert main(["image", "shapes", "scene", "--caption", words, "--out", str(tmp_path / "out")]) == 0
    depth = pixels(tmp_path / "out" / "depth.png").astype(int)
    masks = [pixels(tmp_path / "out" / f"mask_{k}.png") > 127 for k in (1, 2)]
    assert not (masks[0] & masks[1]).any()
    near, far = sorted(int(np.median(depth[mask])) for mask in masks)
    assert near < far < 65535 and (depth[~(masks[0] | masks[1])] == 65535).all()
    assert "XML:com.adobe.xmp" not in text_of(tmp_path / "out" / "syn_scene.png")


@pytest.mark.parametrize("words", [*EXAMPLES.values(), "", "a large figure and a pink cross", "a box around a plus"])
def test_an_exact_scene_keeps_every_word_of_its_caption(words: str) -> None:
    for seed in (0, 1):
        made = scene_for(words, seed)
        one = fidelity(render(stacked([made]))[0], words)
        assert one.valid and one.kept == len(one.promises), (caption(made), one.promises)
    assert scene_for(words, 0) == scene_for(words, 0) != scene_for(words, 1)


@pytest.mark.parametrize(
    "words", ["a figure inside a star", "a large star holding a circle", "a red star and a red box"]
)
def test_a_caption_that_no_scene_can_keep_is_refused(words: str) -> None:
    with pytest.raises(UserError):
        scene_for(words, 0)


# --------------------------------------------------------------------------------------------------------------- edges


def test_canny_finds_the_contours_of_the_world_and_hardly_more() -> None:
    scenes = sample_scenes(3, 24, "test")
    exact = [exact_edges(scenes[row]) > 0.5 for row in range(24)]
    found = [canny(picture) > 0.5 for picture in render(scenes, 128)]
    assert np.mean([edge_f1(a, b) for a, b in zip(found, exact, strict=True)]) > 0.93


def test_a_flat_picture_has_no_edges_and_a_faint_one_has_some(tmp_path: Path) -> None:
    flat = np.full((64, 64, 3), 90, np.uint8)
    Image.fromarray(flat).save(tmp_path / "flat.png")
    with pytest.raises(UserError, match="no edges are found"):
        edge_map(str(tmp_path / "flat.png"), "canny")
    flat[16:48, 16:48] = 110
    Image.fromarray(flat).save(tmp_path / "faint.png")
    edges = edge_map(str(tmp_path / "faint.png"), "canny").values
    square = np.zeros((32, 32), bool)
    square[8:24, [8, 23]] = square[[8, 23], 8:24] = True
    assert edge_f1(edges > 0.5, square) > 0.95
