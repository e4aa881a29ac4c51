"""What README and CONTRIBUTING show works as shown: the code runs, the links lead somewhere, the tables are true."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from suite import papers
from suite.apps import APPS, DOMAINS, domain_built
from tests.conftest import ROOT
from tests.house.rules import files_of_the_tree

FENCE = re.compile(r"^```python(?P<kind>[^\n]*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)


def code_of(page: str, kind: str) -> str:
    """All Python blocks of a page that carry one word, joined."""
    blocks = [m["code"] for m in FENCE.finditer((ROOT / page).read_text()) if m["kind"].strip() == kind]
    assert blocks, f"{page} has no block {kind!r}"
    return "\n".join(blocks)


def run_code(code: str, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The code as a module of its own, run from a file as a reader would."""
    file = folder / f"{name}.py"
    file.write_text(code)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_quick_start_has_twelve_lines_and_keeps_its_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = code_of("README.md", "")
    assert len([line for line in code.splitlines() if line]) == 12
    x = run_code(code, "quick_start", tmp_path, monkeypatch).run.x
    assert x.shape == (500, 2)
    torch.testing.assert_close(x.sum(1), torch.full((500,), 2.5), atol=1e-5, rtol=0)
    assert x.std(0).min() > 0  # 500 samples, not one


def test_sampler_example_passes_its_own_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = run_code(code_of("CONTRIBUTING.md", "sampler"), "midpoint", tmp_path, monkeypatch)
    module.test_midpoint_has_the_order_and_the_calls_it_declares()
    monkeypatch.setattr(module.Midpoint, "order", 1)
    with pytest.raises(AssertionError):  # its check can fail
        module.check_order(lambda steps: steps**-2.0, declared=module.Midpoint.order, steps=(8, 16, 32, 64, 128))


def test_adapter_example_passes_its_own_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = run_code(code_of("CONTRIBUTING.md", "adapter"), "gain", tmp_path, monkeypatch)
    module.test_gain_starts_as_the_identity_acts_in_its_window_and_leaves_no_trace()
    monkeypatch.setattr(module.Gain, "add", lambda self, site, h, x, state: h)
    with pytest.raises(AssertionError):  # its check can fail
        module.test_gain_starts_as_the_identity_acts_in_its_window_and_leaves_no_trace()


def test_paper_example_runs_through_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = json.loads((papers.LEDGER / "bdia.json").read_text())
    name = "suite.experiments.second_order"
    entry |= {"slug": "second-order", "status": "built", "module": name, "threshold": 0.5, "rule": "ratio of errors"}
    (tmp_path / "second-order.json").write_text(json.dumps(entry))
    monkeypatch.setattr(papers, "LEDGER", tmp_path)
    module = run_code(code_of("CONTRIBUTING.md", "paper"), name, tmp_path, monkeypatch)
    module.__spec__ = importlib.util.spec_from_loader(name, loader=None)
    result = papers.run_experiment("second-order", seed=3, out=tmp_path / "out")
    assert result["status"] == "held" and result["measured"] < 0.5 * result["baseline"]
    assert result["negative_control"] == pytest.approx(result["baseline"], rel=1e-9)
    assert (tmp_path / "out" / "second-order.png").stat().st_size > 0


def test_app_example_runs_as_a_command_and_builds_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from shared.front.command import invoke
    from shared.front.jobs import JobRunner

    module = run_code(code_of("CONTRIBUTING.md", "app"), "example_app", tmp_path, monkeypatch)
    out = tmp_path / "points"
    assert invoke(module.app, ["--count", "50", "--out", str(out)], program="suite example") == 0
    assert len((out / "points.csv").read_text().splitlines()) == 50
    again = ["--settings", str(out / "points.json"), "--out", str(tmp_path / "again")]
    assert invoke(module.app, again, program="suite example") == 0
    assert (tmp_path / "again" / "points.csv").read_bytes() == (out / "points.csv").read_bytes()
    assert invoke(module.app, ["--count", "0", "--out", str(tmp_path / "none")], program="suite example") == 2
    assert not (tmp_path / "none").exists()

    async def build() -> Any:
        return module.page(JobRunner())

    blocks = asyncio.run(build())  # outside of an event loop Gradio makes loops that it never closes
    assert "Mean of the points" in {getattr(block, "label", None) for block in blocks.blocks.values()}


# -- what the pages say about the repository -------------------------------------------------------


def pages() -> list[Path]:
    """Markdown of the repository."""
    return [path for path in files_of_the_tree() if path.suffix == ".md"]


def make(*arguments: str) -> str:
    """What make prints, also when make itself runs these tests."""
    own = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=own, capture_output=True, text=True, check=True).stdout


def test_every_link_to_a_file_leads_to_a_file() -> None:
    links = [
        (page, target)
        for page in pages()
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
        if "://" not in target
    ]
    assert len(links) >= 5
    broken = [f"{page.relative_to(ROOT)} -> {target}" for page, target in links if not (page.parent / target).exists()]
    assert not broken


def test_every_place_that_the_notice_names_is_there() -> None:
    named = re.findall(r"\b(?:domains|shared|suite)/[\w/]+", (ROOT / "NOTICE").read_text())
    assert named and not [place for place in named if not (ROOT / place).exists()]


def test_the_page_of_the_documentation_lists_every_other() -> None:
    listed = set(re.findall(r"\]\((\w+\.md)\)", (ROOT / "docs" / "README.md").read_text()))
    assert listed == {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}


def test_architecture_says_what_the_loss_of_lesions_gives_to_the_scan_around() -> None:
    from domains.medical.lesions.train import CONTEXT

    assert CONTEXT == 1.0  # another weight needs other words
    page = " ".join((ROOT / "docs" / "architecture.md").read_text().split())
    assert "counts as much as the mean over the lesion" in page and "smaller term for the scan" not in page


def test_table_of_apps_says_what_the_registry_says() -> None:
    rows = re.findall(r"^\| `([\w/]+)` \| .* \| ([^|]+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    expected = {app.slug: "ready" if app.built and app.status == "ready" else "being built" for app in APPS}
    waiting = set(DOMAINS) - {app.domain for app in APPS}
    expected |= {domain: "commands only" if domain_built(domain) else "not built yet" for domain in waiting}
    assert dict(rows) == expected


def test_table_of_apps_takes_size_and_training_of_every_app_from_the_cards() -> None:
    from suite.measured import MARKED

    lines = re.findall(r"^\| `([\w/]+)` \|(.*)\|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    rows = {name: [cell.strip() for cell in cells.split(" | ")] for name, cells in lines}
    for app in APPS:
        _, size, minutes, _ = rows[app.slug]
        for cell, what in ((size, "mib"), (minutes, "minutes")):
            marked = MARKED.fullmatch(cell)
            assert marked is not None and marked["key"] == f"cards.{app.slug}.{what}", f"{app.slug}: {cell}"
            assert (marked["body"] == "-") == (not app.checkpoints), f"{app.slug}: {cell}"
    for name in rows.keys() - {app.slug for app in APPS}:
        assert rows[name][1:3] == ["-", "-"]


def test_readme_shows_a_result_and_a_page_that_the_suite_made() -> None:
    shown = re.findall(r"!\[([^\]]+)\]\(docs/pictures/([\w.]+)\)", (ROOT / "README.md").read_text())
    assert {"_page_" in file for _, file in shown} == {True, False}
    assert all(len(words.split()) > 5 for words, _ in shown)  # said in words, too


def test_bare_make_explains_every_target() -> None:
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets is not None
    said = make()
    assert [line.split()[1] for line in said.splitlines()] == [t for t in targets[1].split() if t != "help"]


def test_how_long_a_proof_takes_is_measured_and_never_typed() -> None:
    said = {line.split()[1]: line for line in make().splitlines()}["prove"]
    measured = json.loads((ROOT / "docs" / "measured" / "lefusion_downstream.json").read_text())["entries"]
    assert measured["cpu_minutes"]["value"] > 30 and "hours" in said  # one table of one proof; there are many
    script = (ROOT / "benchmarks" / "proof" / "lefusion_downstream.py").read_text()
    for text in (said, script):
        assert not re.search(r"\b(an hour|half|\d+ ?(min|minutes|hours|h))\b", text)


def test_every_make_target_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        target for page in pages() for target in re.findall(r"(?:`|^ {4})make ([a-z]+)", page.read_text(), re.MULTILINE)
    }
    assert {"demo", "test"} <= named <= targets


def test_commands_of_the_readme_are_the_ones_make_runs() -> None:
    readme = (ROOT / "README.md").read_text()
    said = make("-n", "-W", "pyproject.toml", "setup")
    installs = [line for line in said.splitlines() if "pip install" in line]
    assert len(installs) == 2
    assert all(line in readme for line in installs)


def test_every_command_line_of_the_readme_has_the_options_it_shows() -> None:
    from click.testing import CliRunner

    from suite.cli import app

    shown = re.findall(r"^ {4}suite (.+)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert shown
    for line in shown:
        words = line.split()
        names = words[: next((i for i, word in enumerate(words) if word.startswith("--")), len(words))]
        answer = CliRunner().invoke(app, [*names, "--help"])
        assert answer.exit_code == 0, line
        for flag in (word for word in words if word.startswith("--")):
            assert re.search(rf"(?m)^ +{re.escape(flag)}\b", answer.output), f"{flag} in: {line}"


def test_citation_and_package_agree_on_version_and_licence() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"version: {project['version']}\n" in citation and f"license: {project['license']}\n" in citation
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text()
    assert "Apache License" in (ROOT / "LICENSE").read_text()
