"""The tree keeps the rules of the house, and every rule is able to say no."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.house import rules


def test_no_file_of_the_tree_breaks_a_rule() -> None:
    breaches = [sentence for path in rules.files_of_the_tree() for sentence in rules.breaches_of(path)]
    assert not breaches, "\n".join(breaches)


def test_all_checkpoints_together_stay_below_their_bound() -> None:
    total = sum(path.stat().st_size for path in rules.files_of_the_tree() if path.suffix == ".safetensors")
    assert total <= rules.LARGEST_CHECKPOINTS


# The planted text is spelled in two parts where a rule would find it here too.
PLANTED = [
    (rules.unsafe_code, "import pickle"),
    (rules.unsafe_code, "from pickle import loads"),
    (rules.unsafe_code, "def f():\n    import cloudpickle as c"),
    (rules.unsafe_code, "eval('1')"),
    (rules.unsafe_code, "exec(text)"),
    (rules.unsafe_code, "torch.load(path)"),
    (rules.unsafe_code, "torch.load(path, weights_only=False)"),
    (rules.unsafe_code, "np.load(path, allow_pickle=True)"),
    (rules.unsafe_code, "subprocess.run('ls | wc', shell=True)"),
    (rules.unsafe_code, "os.system('ls')"),
    (rules.unfinished, "x = 1  # " + "todo".upper() + ": more"),
    (rules.index_addresses, "--index-url https://example.org/simple"),
    (rules.index_addresses, "--find-links wheels"),
    (rules.index_addresses, 'url = "https://example.org/a-1.0.whl"'),
    (rules.machine_paths, "open('/" + "work/x.nii')"),
    (rules.machine_paths, "see /" + "root/cache"),
    (rules.tests_that_assert_nothing, "def test_it():\n    run()"),
    (rules.tests_that_assert_nothing, "def run():\n    return 1\n\ndef test_it():\n    run()"),
    (rules.tests_that_assert_nothing, "class TestIt:\n    def test_it(self):\n        x = 1"),
]


@pytest.mark.parametrize(("rule", "text"), PLANTED)
def test_a_planted_breach_is_found(rule: Callable[[str], list[str]], text: str) -> None:
    assert rule(text)


ALLOWED = [
    (rules.unsafe_code, "model.eval()\nre.compile('x').exec\n"),
    (rules.unsafe_code, "torch.load(path, weights_only=True)"),
    (rules.unsafe_code, "np.load(path)\nsubprocess.run(['ls'], check=True)"),
    (rules.unsafe_code, "'import pickle; eval(x)'  # torch.load(path)"),
    (rules.index_addresses, "uv pip compile --no-emit-index-url"),
    (rules.index_addresses, "a simple sampler"),
    (rules.machine_paths, "see docs/work/plan.md and ~/root/x"),
    (rules.tests_that_assert_nothing, "def test_it():\n    with pytest.raises(ValueError):\n        run()"),
    (rules.tests_that_assert_nothing, "def refused():\n    assert f() == 2\n\ndef test_it():\n    refused()"),
    (rules.tests_that_assert_nothing, "def test_it():\n    expect(page).to_have_title('x')"),
    (rules.tests_that_assert_nothing, "def test_it():\n    torch.testing.assert_close(a, b)"),
]


@pytest.mark.parametrize(("rule", "text"), ALLOWED)
def test_what_only_looks_like_a_breach_is_let_through(rule: Callable[[str], list[str]], text: str) -> None:
    assert not rule(text)
