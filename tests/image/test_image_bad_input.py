"""Bad input to `suite image shapes ...`: one sentence that says how to mend it, exit code 2, nothing written."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from domains.image.control import run
from domains.image.control.operations import MODEL_CAPTION
from domains.image.page.visit import Visit, map_of, read_replay
from domains.image.shapes.captions import parse
from shared.errors import UserError
from suite.cli import main
from tests.image import untrained


@pytest.fixture(scope="module", autouse=True)
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("weights")
    untrained.written(folder)
    with pytest.MonkeyPatch.context() as patch:
        untrained.use(patch, folder)
        yield
    run.shape_model.cache_clear()


def refused(arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run, see exit code 2 and one sentence and no new file; return the sentence."""
    before = sorted(str(path) for path in folder.rglob("*"))
    code = main(arguments)
    lines = [line for line in capsys.readouterr().err.split("\r")[-1].splitlines() if line.strip()]
    assert code == 2
    assert len(lines) == 1 and "Traceback" not in lines[0], lines
    assert ";" in lines[0], "a sentence says what is wrong; and how to mend it"
    assert sorted(str(path) for path in folder.rglob("*")) == before
    return lines[0]


def generate(out: Path, *more: str, words: str = "a red circle") -> list[str]:
    return ["image", "shapes", "generate", "--caption", words, "--steps", "2", "--count", "1", "--out", str(out), *more]


CAPTIONS = {
    "a red dragon": "'dragon'",
    "a red": "no thing",
    "a circle on a purple background": "background",
    "a star and a star and a star and a star": "4 things",
    "a star left of a star above a star": "two relations",
}


def test_a_caption_that_is_refused_is_shown_one_that_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for out in ((), ("--out", str(tmp_path))):  # no folder, and one that may not be used: the caption comes first
        said = refused(["image", "shapes", "generate", "two red circles", *out], tmp_path, capsys)
        assert said.startswith("--caption: the word 'two' is not known") and f"as in '{MODEL_CAPTION}'" in said
        (tmp_path / "mine.txt").touch()
    assert len(parse(MODEL_CAPTION).nouns) == 3


@pytest.mark.parametrize("words", CAPTIONS)
def test_a_caption_beyond_the_grammar_is_refused(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert CAPTIONS[words] in refused(generate(tmp_path / "out", words=words), tmp_path, capsys)
    assert CAPTIONS[words] in refused(
        ["image", "shapes", "scene", "--caption", words, "--out", str(tmp_path / "out")], tmp_path, capsys
    )


@pytest.mark.parametrize(
    "more",
    [("--count", "0"), ("--count", "17"), ("--steps", "1"), ("--strength", "3"), ("--seed", "-1"), ("--mode", "loud"),
     ("--sampler", "magic"), ("--guidance", "nan"), ("--edges", "example:none"), ("--edges", "map.tiff"),
     ("--control-from", "0.6", "--control-until", "0.5"), ("--detector", "depth")],
    ids=" ".join,
)  # fmt: skip
def test_a_value_out_of_range_is_refused(
    more: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert more[-2] in refused(generate(tmp_path / "out", *more), tmp_path, capsys)


def broken(folder: Path, kind: str) -> Path:
    """An edge map with something wrong."""
    path = folder / "broken.png"
    if kind == "text":
        path.write_text("no picture")
    elif kind == "empty":
        path.touch()
    elif kind == "black on white":
        lines = np.full((64, 64), 255, np.uint8)
        lines[20, :] = 0
        Image.fromarray(lines).save(path)
    elif kind == "nothing drawn":
        Image.new("L", (64, 64)).save(path)
    elif kind == "cut":
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:900])
    return path


KINDS = {
    "text": "not a PNG",
    "empty": "is empty",
    "black on white": "--detector canny",
    "nothing drawn": "the edge map is empty",
    "cut": "cut short",
    "absent": "no such file",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_edge_map_is_refused(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = broken(tmp_path, kind)
    sentence = refused(generate(tmp_path / "out", "--edges", str(path)), tmp_path, capsys)
    assert "broken.png" in sentence and KINDS[kind] in sentence


@pytest.mark.parametrize("kind", ["text", "empty", "cut", "absent"])
def test_a_broken_picture_is_refused_by_detect(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = broken(tmp_path, kind)
    arguments = ["image", "shapes", "detect", "--image", str(path), "--out", str(tmp_path / "out")]
    assert KINDS[kind] in refused(arguments, tmp_path, capsys)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert "not an empty folder" in refused(generate(tmp_path / "out"), tmp_path, capsys)


def test_absent_weights_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "WEIGHTS", tmp_path / "shapes.safetensors")
    run.shape_model.cache_clear()
    try:
        assert "shapes.safetensors" in refused(generate(tmp_path / "out"), tmp_path, capsys)
    finally:
        run.shape_model.cache_clear()


SETTINGS = {
    "no settings": ("{}", "--caption"),
    "another operation": (json.dumps({"operation": "image_scene", "settings": {}}), "image_scene"),
    "a lost edge map": (json.dumps({"settings": {"caption": "", "edges": "lost.png"}}), "lost.png"),
    "not JSON": ("hello", "is not JSON"),
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_settings_that_cannot_be_used_are_refused(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, words = SETTINGS[kind]
    path = tmp_path / "settings.json"
    path.write_text(text)
    arguments = ["image", "shapes", "generate", "--settings", str(path), "--out", str(tmp_path / "out")]
    assert words in refused(arguments, tmp_path, capsys)
    if kind != "a lost edge map":
        with pytest.raises(UserError):
            read_replay(str(path))


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    limit = 400  # bytes a file may have: less than any result

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    arguments = ["image", "shapes", "scene", "--out", str(tmp_path / "out")]
    found = subprocess.run(
        [sys.executable, "-m", "suite.cli", *arguments],
        preexec_fn=small, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert found.returncode == 2 and "Traceback" not in found.stderr, found.stderr
    assert list(tmp_path.rglob("*")) == []


# ---------------------------------------------------------------------------------------- what a browser may send


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(held=st.one_of(st.none(), st.text(max_size=60), st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["map", "under", "x"]), inner),
    max_leaves=5,
).map(json.dumps)))  # fmt: skip
def test_an_editor_that_holds_nonsense_is_an_empty_map(held: str | None) -> None:
    found = map_of(held)
    assert found.shape == (32, 32) and not found.any()


def test_a_file_that_was_refused_stays_refused_until_it_is_mended(tmp_path: Path) -> None:
    visit = Visit()
    visit.take(str(broken(tmp_path, "text")), "canny", "crop")
    assert "broken.png" in visit.trouble and str(tmp_path) not in visit.trouble
    with pytest.raises(UserError, match=r"broken\.png"):
        visit.asked(visit.editor())
