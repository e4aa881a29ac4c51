"""The command line as a whole: help is quick and light, every mistake is one sentence."""

from __future__ import annotations

import functools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from shared.front.command import load
from suite.apps import DOMAINS, built_apps, domain_built
from suite.cli import OWN, main
from suite.train import STATE

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "gradio", "numpy", "matplotlib", "nibabel", "monai", "fastapi", "accelerate")
GROUPS = [[], *([name] for name in OWN), ["papers", "run"], *([name] for name in DOMAINS if domain_built(name))]


@pytest.mark.parametrize("words", GROUPS, ids=" ".join)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    program = (
        "import sys; from suite.cli import main; code = main(sys.argv[1:]);"
        f"found = sorted(set({HEAVY!r}) & set(sys.modules)); sys.exit(f'imported {{found}}' if found else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words, "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "Usage: suite" in done.stdout


def test_the_root_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr().out
    for name in (*OWN, *(domain for domain in DOMAINS if domain_built(domain))):
        assert f"\n  {name}" in printed


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("suite 0.")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["paperz"], "suite: no command 'paperz'; did you mean papers?"),
        (["zzz"], "the commands are hub, apps"),
        (["--wrong"], "No such option '--wrong'"),
        (["papers", "run"], "Missing argument 'SLUG'"),
        (["papers", "run", "nothing"], "no paper 'nothing'; see the slugs in: suite papers"),
        (["train", "medical/hearts"], "no recipe 'medical/hearts'; the recipes are medical/lesions"),
        (["train", "medical/lesions", "--minutes", "0"], "0.0 is not in the range x>0"),
        (["hub", "--host", "0.0.0.0"], "can be reached from other machines and has no password; add --password-file"),
        (["hub", "--port", "99999"], "99999 is not in the range 0<=x<=65535"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    args: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == 2
    printed = capsys.readouterr()
    assert said in printed.err and printed.err.count("\n") == 1 and printed.out == ""


def test_a_port_in_use_is_one_sentence_with_another_port(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["hub", "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert f"port {port} on 127.0.0.1 cannot be used" in said and "choose another: --port" in said


def test_an_address_of_another_machine_is_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "password").write_text("ada:long enough")
    assert main(["hub", "--host", "192.0.2.1", "--password-file", str(tmp_path / "password")]) == 2
    assert "cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize("domain", [name for name in DOMAINS if not domain_built(name)])
def test_a_domain_that_is_not_built_says_so(domain: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([domain, "anything"]) == 2
    assert f"{domain} is not built yet" in capsys.readouterr().err


def test_training_into_a_filled_folder_needs_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / STATE).touch()
    assert main(["train", "medical/lesions", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "add --resume" in said or "which is not there" in said


def test_where_nothing_was_trained_there_is_nothing_to_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("suite.train.load", lambda _: pytest.fail("refused before the recipe is imported"))
    assert main(["train", "medical/lesions", "--resume", "--out", str(tmp_path / "new")]) == 2
    said = capsys.readouterr().err
    assert "holds no training to go on from; leave out --resume" in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_training_says_at_once_what_it_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("suite.train.load", lambda _: lambda **how: None)
    assert main(["train", "medical/lesions", "--minutes", "2", "--out", str(tmp_path / "new")]) == 0
    assert f"medical/lesions, cpu: trains for 2 min into {tmp_path / 'new'}" in capsys.readouterr().err


def test_a_stopped_training_says_what_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from shared.training import state

    assert state.FILE == STATE

    def stopped(*, out: Path, saves: bool, **_: object) -> None:
        out.mkdir()
        (out / "metrics.jsonl").touch()
        if saves:
            (out / STATE).touch()
        raise KeyboardInterrupt

    for saves, words in ((True, "with --resume"), (False, "nothing was saved")):
        monkeypatch.setattr("suite.train.load", lambda _, s=saves: functools.partial(stopped, saves=s))
        out = tmp_path / str(saves)
        assert main(["train", "image/shapes", "--out", str(out)]) == 130
        assert words in capsys.readouterr().err
        assert main(["train", "image/shapes", "--out", str(out)]) == 2
        assert ("add --resume" in capsys.readouterr().err) == saves, "without a state there is nothing to resume"


def test_apps_are_listed_with_their_status(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["apps", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [row["app"] for row in listed] == [app.slug for app in built_apps()]
    monkeypatch.setattr("suite.apps.APPS", tuple(app for app in built_apps() if app.domain != "audio"))
    assert main(["apps"]) == 0
    said = capsys.readouterr().out
    assert "commands, no app yet: suite audio --help" in said and "audio" not in said.partition("not built yet: ")[2]


def test_models_are_a_table_for_people_and_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    cards = json.loads(capsys.readouterr().out)
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    assert not set("{}[]") & set(printed), "no raw JSON"
    lines = printed.splitlines()
    assert max(map(len, lines)) < 160
    head = lines[0]
    for card in cards:
        assert (ROOT / card["file"]).is_file()
        (row,) = (line for line in lines if line.startswith(card["name"] + " "))
        assert row[head.index("licence") :].startswith(card["licence"]), "columns stand below their heads"
        assert row[head.index("file") :] == card["file"]
        for name in card.get("metrics", {}):
            assert any(line.strip().startswith(name) for line in lines)


def test_batch_names_what_it_can_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["batch", "--help"]) == 0
    printed = capsys.readouterr().out
    for app in built_apps():
        for operation in load(app.operations):
            assert f"\n  {operation.name} " in printed
