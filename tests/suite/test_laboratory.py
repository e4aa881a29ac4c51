"""The laboratory: every law under every process, refusals with a remedy, distances that mean something, files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shared.errors import Cancelled, UserError
from shared.oracle import DataSet, Mixture
from shared.samplers.named import SAMPLERS as NAMED
from suite.cli import main
from suite.laboratory import operations
from suite.laboratory.measures import WITHIN, distance, wanted
from suite.laboratory.operations import RUN, Experiment
from suite.laboratory.recipe import PROCESSES, REMEDIES, SAMPLERS, TRUTHS, WITH_END, Bench, bench
from suite.laboratory.run import Result, run
from suite.laboratory.truths import density, lattice, moons, roll, spread, three_parts
from suite.laboratory.words import GUIDES, HEADS, LAWS, REFUSED, seeing, why
from suite.laboratory.words import PROCESSES as PROCESS_WORDS
from suite.laboratory.words import SAMPLERS as SAMPLER_WORDS
from suite.laboratory.words import TRUTHS as TRUTH_WORDS


def settings(**values: Any) -> Experiment:
    """A small run."""
    return Experiment(**{"samples": 200, "steps": 20, "convergence": False, "out": "unused", **values})


def silent(done: int, total: int, note: str = "", preview: Any = None) -> None:
    """A report that nobody reads."""


def made(**values: Any) -> Result:
    return run(bench(settings(**values)), silent)


# A sampler that can start at the process's own noisy end, and a spacing that reaches the law in twenty steps.
SUITED: dict[str, dict[str, Any]] = {"edm": {"spacing": "karras"}, "bridge": {"sampler": "ddpm"}}


# -------------------------------------------------------------------------------------------------- combinations


@pytest.mark.parametrize("process", operations.PROCESSES)
@pytest.mark.parametrize("truth", operations.TRUTHS)
def test_every_law_is_reached_under_every_process(truth: str, process: str) -> None:
    result = made(truth=truth, process=process, **({"sampler": "dpmpp_2m"} | SUITED.get(process, {})))
    assert result.made == result.declared
    assert result.far is not None and result.far.reached, result.far


@pytest.mark.parametrize("sampler", operations.SAMPLERS)
def test_every_sampler_runs_and_spends_what_it_declares(sampler: str) -> None:
    result = made(sampler=sampler, process="flow")
    assert result.finite and result.made == result.declared > 0


@pytest.mark.parametrize("head", operations.HEADS)
def test_heads_agree_where_the_network_is_exact_and_differ_where_it_errs(head: str) -> None:
    way = {"process": "residual-shift", "steps": 10, "samples": 50}
    exact, wrong = (made(head=head, error=error, **way).samples for error in (0.0, 0.1))
    torch.testing.assert_close(exact, made(**way).samples, rtol=1e-9, atol=1e-9)
    assert (wrong - exact).abs().max() > 0.01
    if head != "x0":
        assert (wrong - made(error=0.1, **way).samples).abs().max() > 1e-3


@pytest.mark.parametrize("guide", operations.GUIDES)
@pytest.mark.parametrize("truth", ["three-parts", "moons"])
def test_every_guidance_runs_on_mixtures_and_on_finite_sets(truth: str, guide: str) -> None:
    result = made(truth=truth, guide=guide, weight=1.0, repeats=2, samples=50)
    assert result.finite and result.made == result.declared
    if guide in ("ddnm", "known"):
        assert result.missed is not None and result.missed < 1e-6


def test_guidance_towards_a_label_reaches_the_conditional_law_at_weight_one() -> None:
    result = made(guide="label", label=1, weight=1.0, samples=400)
    assert result.law is not None and result.law.promised and result.far is not None and result.far.reached
    other = three_parts().draw(400, 5, 0)
    assert not distance(other, result.law).reached


def test_jumps_bring_a_known_coordinate_nearer_to_its_conditional_law() -> None:
    far = [made(guide="known", repeats=n, sampler="ddpm", samples=400, steps=25).far for n in (1, 10)]
    assert far[0] is not None and far[1] is not None and far[1].value < 0.7 * far[0].value


def test_lists_of_names_have_one_entry_for_each_choice() -> None:
    assert set(operations.TRUTHS) == set(TRUTHS) == set(TRUTH_WORDS)
    assert set(operations.PROCESSES) == set(PROCESSES) == set(PROCESS_WORDS)
    assert set(operations.SAMPLERS) == set(SAMPLERS) == set(SAMPLER_WORDS)
    assert set(operations.HEADS) == set(HEADS) and set(operations.LAWS) == set(LAWS)
    assert set(operations.GUIDES) == set(GUIDES)
    assert {call.args[0] for call in SAMPLERS.values() if call.name == "named"} == set(NAMED)  # none is left out


# ------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("values", "what", "remedy"),
    [
        ({"law": "student-t"}, "no closed form", "moons or roll"),
        ({"law": "student-t", "truth": "moons", "sampler": "ddpm"}, "needs 'gaussian'", "without fresh noise"),
        ({"law": "student-t", "truth": "moons", "guide": "dps"}, "needs 'true_score'", "ddnm"),
        ({"process": "bridge"}, "no noise can be told apart", "ddpm or lcm"),
        ({"process": "bridge", "sampler": "resshift"}, "injected fraction", "ddpm"),
        ({"process": "flow", "head": "eps"}, "eps head has no finite", "--start of 0.999"),
        ({"process": "flow", "spacing": "karras"}, "needs a start with a > 0", "--start of 0.999"),
        ({"process": "residual-shift", "spacing": "levels", "steps": 16}, "do not fit 15 levels", "fewer steps"),
        ({"head": "residual"}, "has no known end", "mean-reverting"),
        ({"truth": "correlated", "guide": "label"}, "no labels", "another truth"),
        ({"guide": "ddnm", "weight": 2.0}, "overshoots", "at most 1"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_call_with_a_remedy(
    values: dict[str, Any], what: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def called(*given: Any) -> None:
        raise AssertionError("the network was called")

    monkeypatch.setattr("shared.oracle.Exact.forward", called)
    with pytest.raises(UserError) as refused:
        bench(settings(**values))
    assert what in str(refused.value) and remedy in refused.value.remedy


STUDENT = {"law": "student-t", "truth": "moons"}


@pytest.mark.parametrize(
    ("values", "where", "remedy"),
    [
        ({**STUDENT, "sampler": "ddpm"}, "--sampler", "a sampler without fresh noise"),
        ({**STUDENT, "sampler": "ddim", "guide": "known", "repeats": 1}, "--guide", "ddnm"),
        ({**STUDENT, "sampler": "ddim", "guide": "known", "repeats": 3}, "--guide", "ddnm"),
        ({**STUDENT, "sampler": "ddim", "guide": "dps"}, "--guide", "needs no score"),
        ({"process": "flow", "spacing": "karras"}, "--spacing", "uniform spacing"),
        ({"process": "flow", "head": "eps"}, "--head", "x0"),
    ],
    ids=["sampler", "guide", "route", "score", "spacing", "head"],
)
def test_a_refusal_names_the_option_of_the_part_that_needs_it(values: dict[str, Any], where: str, remedy: str) -> None:
    with pytest.raises(UserError) as refused:
        bench(settings(**values))
    assert refused.value.where == where and remedy in refused.value.remedy
    assert where == "--sampler" or "a sampler without fresh noise" not in str(refused.value)


@pytest.mark.parametrize("words", REFUSED)
def test_every_explanation_of_a_refusal_belongs_to_one(words: str) -> None:
    said = [
        {"law": "student-t"},
        {"law": "student-t", "truth": "moons", "sampler": "ddpm"},
        {"law": "student-t", "truth": "moons", "guide": "dps"},
        {"process": "bridge"},
        {"process": "bridge", "sampler": "resshift"},
        {"process": "flow", "head": "eps"},
        {"process": "flow", "spacing": "karras"},
        {"head": "residual"},
        {"truth": "correlated", "guide": "label"},
        {"guide": "ddnm", "weight": 2.0},
    ]
    refused = []
    for values in said:
        with pytest.raises(UserError) as error:
            bench(settings(**values))
        refused.append(str(error.value))
    assert any(words in sentence and why(sentence) == REFUSED[words] for sentence in refused)


@pytest.mark.parametrize("start", ["vp-angle", "flow", "bridge"])
def test_the_remedy_of_a_start_inside_works(start: str) -> None:
    result = made(process=start, head="eps", start=0.999, sampler="dpmpp_2m", spacing="log_snr")
    assert result.far is not None and result.far.reached
    assert len(REMEDIES) > 5


# ------------------------------------------------------------------------------------------------------ distances


def test_exact_samples_reach_the_floor_and_wrong_ones_do_not() -> None:
    law = wanted(bench(settings()))
    assert law is not None
    exact = three_parts().draw(500, 99)
    assert distance(exact, law).reached
    assert not distance(exact + torch.tensor([0.4, 0.0]), law).reached
    assert not distance(1.2 * exact, law).reached
    assert not distance(three_parts().draw(500, 7, 0), law).reached


def test_too_few_steps_a_wrong_spacing_and_a_wrong_network_are_seen() -> None:
    for values in ({"steps": 2}, {"process": "edm", "steps": 15}, {"process": "flow", "error": 0.5}):
        result = made(samples=500, **values)
        assert result.far is not None and result.far.ratio > WITHIN, values


@pytest.mark.parametrize(
    "truth", [three_parts(), lattice(), moons(), roll()], ids=["parts", "lattice", "moons", "roll"]
)
def test_a_density_holds_the_mass_of_the_samples_it_describes(truth: Mixture | DataSet) -> None:
    edge = torch.linspace(-5, 5, 201, dtype=torch.float64)
    places = torch.cartesian_prod(edge, edge)
    values = density(truth, places, 0.8, 0.3, torch.tensor([0.2, -0.1], dtype=torch.float64))
    area = float(edge[1] - edge[0]) ** 2
    assert float(values.sum() * area) == pytest.approx(1, abs=1e-3)
    draws = 0.8 * truth.draw(20_000, 1) + 0.3 * torch.randn(20_000, 2, generator=torch.Generator().manual_seed(2))
    draws = draws + torch.tensor([0.2, -0.1])
    for coordinate in (0, 1):
        exact = float((values * places[:, coordinate] ** 2).sum() * area)
        assert float((draws[:, coordinate] ** 2).mean()) == pytest.approx(exact, rel=0.05)
    assert 0.8 < spread(truth) < 1.6


# ----------------------------------------------------------------------------------------------------------- words


def test_words_follow_the_choice_and_fill_in_its_numbers() -> None:
    told = dict(seeing(settings(guide="known", value=0.7, repeats=3, law="student-t", truth="moons", dof=5, error=0.2)))
    text = " ".join(told.values())
    assert "0.7" in text and "3 times" in text and "5 degrees" in text and "20%" in text
    for process in operations.PROCESSES:
        (words,) = [words for title, words in seeing(settings(process=process)) if process in title]
        assert 2 <= words.count(". ") + words.count(": ") + 1 <= 6 and "{" not in words
    assert "y = (1.5, -1.5)" in PROCESS_WORDS["bridge"] and {"bridge"} <= WITH_END


def test_the_story_of_a_run_names_parts_order_and_cost() -> None:
    told = bench(settings(guide="label", sampler="heun-time", process="flow")).explained
    assert "Heun" in told and "combine (ClassifierFree)" in told and "78 calls" in told


# --------------------------------------------------------------------------------------------------- command line


def test_the_command_writes_samples_pictures_and_a_sidecar_that_replays(tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    words = ["laboratory", "run", "--samples", "40", "--steps", "8", "--truth", "ring", "--process", "flow"]
    assert main([*words, "--no-convergence", "--out", str(first)]) == 0
    names = {"samples.csv", "run.npz", "run.png", "run.svg", "reproduce.py", "laboratory.json"}
    assert {file.name for file in first.iterdir()} == names
    with np.load(first / "run.npz", allow_pickle=False) as held:
        assert held["states"].shape == (9, 40, 2) and held["time"][0] == 1 and held["time"][-1] == 0
        rows = list(csv.reader((first / "samples.csv").read_text().splitlines()))[1:]
        assert np.array_equal(held["samples"], np.array(rows, dtype=np.float64))
        assert np.array_equal(held["states"][-1], held["samples"])
    assert (first / "run.png").read_bytes()[:4] == b"\x89PNG" and b"<svg" in (first / "run.svg").read_bytes()[:2000]
    sidecar = json.loads((first / "laboratory.json").read_text())
    assert sidecar["report"]["calls"] == sidecar["report"]["calls_declared"] == 8
    assert main(["laboratory", "run", "--settings", str(first / "laboratory.json"), "--out", str(again)]) == 0
    for name in names - {"laboratory.json", "run.npz"}:
        assert (again / name).read_bytes() == (first / name).read_bytes(), name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--steps", "0"], "--steps: 0 is out of range; allowed: 1 to 200 steps"),
        (["--process", "magic"], "--process: 'magic' is not a choice"),
        (["--process", "bridge"], "no noise can be told apart at t = 1.0, where sigma = 0; choose ddpm or lcm"),
        (["--law", "student-t"], "--truth: the law three-parts has no closed form under Student-t noise"),
    ],
)
def test_a_mistake_is_one_sentence_exit_code_2_and_no_file(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["laboratory", "run", *words, "--out", str(tmp_path / "made")]) == 2
    printed = capsys.readouterr().err
    assert said in printed and printed.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("after", [3, 30])
def test_stop_leaves_nothing_behind_in_the_run_or_in_the_charts(after: int, tmp_path: Path) -> None:
    seen: list[int] = []

    def stop(done: int, total: int, note: str = "", preview: Any = None) -> None:
        seen.append(done)
        if len(seen) > after:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        RUN.run(settings(samples=20, convergence=True, out=str(tmp_path / "made")), stop)
    assert len(seen) == after + 1 and list(tmp_path.iterdir()) == []


def test_a_page_can_show_the_run_before_its_charts(tmp_path: Path) -> None:
    shown: list[Result] = []

    def look(done: int, total: int, note: str = "", preview: Any = None) -> None:
        if preview is not None:
            shown.append(preview)
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        RUN.run(settings(samples=20, convergence=True, out=str(tmp_path / "made")), look)
    assert isinstance(shown[0].bench, Bench) and shown[0].convergence is None and shown[0].finite
