"""The rules of the house that a program can check, each a function from a file to the sentences of what it breaks.

They read syntax trees where they can, so that a rule's own name in a string or a comment is not a breach.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LONGEST_FILE = 420  # lines; one idea a file
LARGEST_FILE = 15 * 2**20  # bytes; a checkpoint
LARGEST_CHECKPOINTS = 80 * 2**20  # bytes; all of them

PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "joblib"}
VAGUE_NAMES = {"utils.py", "helpers.py", "misc.py", "common.py"}
TEXT = {
    ".cff",
    ".cfg",
    ".css",
    ".html",
    ".ini",
    ".js",
    ".json",
    ".lock",
    ".md",
    ".py",
    ".toml",
    ".txt",
    ".yaml",
    ".yml",
}
INDEX_ADDRESS = re.compile(r"--(extra-)?index-url|find-links|/simple/?\s*$|https?://\S+\.(whl|tar\.gz)\b")
UNFINISHED = re.compile(r"\b(T[O]DO|FIX[M]E|XX[X])\b")  # a class in each word keeps this line out of its own net
MACHINE_PATH = re.compile(r"(?<![\w.~])/(work|root)/")


def files_of_the_tree() -> list[Path]:
    """Every file that is, or is about to be, in the repository: tracked, or untracked and not ignored."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    return sorted(path for name in set(names) - {""} if (path := ROOT / name).is_file())


# -- calls and imports -----------------------------------------------------------------------------


def dotted(node: ast.expr) -> str:
    """`np.load` for the expression np.load; empty when it is not a plain chain of names."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := dotted(node.value)):
        return f"{base}.{node.attr}"
    return ""


def keyword_is(call: ast.Call, name: str, value: object) -> bool:
    """Whether the call spells `name=value` with a literal."""
    return any(k.arg == name and isinstance(k.value, ast.Constant) and k.value.value is value for k in call.keywords)


def imported(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Top-level packages that an import statement names."""
    if isinstance(node, ast.Import):
        yield from (alias.name.split(".")[0] for alias in node.names)
    elif node.module and not node.level:
        yield node.module.split(".")[0]


def unsafe_code(source: str) -> list[str]:
    """Pickles, unchecked torch.load, eval and exec, shells."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found += [(node.lineno, f"imports {name}, which unpickles") for name in imported(node) if name in PICKLES]
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        if name in {"eval", "exec"}:
            found.append((node.lineno, f"calls {name}"))
        if name == "torch.load" and not keyword_is(node, "weights_only", True):
            found.append((node.lineno, "calls torch.load without weights_only=True"))
        if keyword_is(node, "allow_pickle", True):
            found.append((node.lineno, "allows pickled arrays"))
        if keyword_is(node, "shell", True) or name in {"os.system", "os.popen"}:
            found.append((node.lineno, "hands a string to a shell"))
    return [f"line {line} {what}" for line, what in sorted(found)]


ASSERTING = re.compile(r"^(assert|check|expect|raises|fail)")


def tests_that_assert_nothing(source: str) -> list[str]:
    """Test functions without an assert, a raises, a call whose name says that it checks, or one that does in turn."""
    functions = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    checking: set[str] = set()  # functions of this file that assert, found from the inside out

    def asserts(node: ast.AST) -> bool:
        if isinstance(node, ast.Assert):
            return True
        if not isinstance(node, ast.Call):
            return False
        parts = ast.unparse(node.func).split(".")
        return parts[-1] in checking or any(ASSERTING.match(part) for part in parts)

    while found := {f.name for f in functions if f.name not in checking and any(map(asserts, ast.walk(f)))}:
        checking |= found
    return [
        f"line {f.lineno} {f.name} asserts nothing"
        for f in functions
        if f.name.startswith("test") and f.name not in checking
    ]


# -- text ------------------------------------------------------------------------------------------


def lines_matching(text: str, pattern: re.Pattern[str], what: str) -> list[str]:
    """One sentence for each line of `text` that the pattern finds something in."""
    return [f"line {n} {what}" for n, line in enumerate(text.splitlines(), 1) if pattern.search(line)]


def unfinished(source: str) -> list[str]:
    """Marks of work that was left undone."""
    return lines_matching(source, UNFINISHED, "is marked as unfinished")


def index_addresses(text: str) -> list[str]:
    """Addresses of package indexes and of single wheels."""
    return lines_matching(text, INDEX_ADDRESS, "carries the address of a package index")


def machine_paths(text: str) -> list[str]:
    """Absolute paths of the machine somebody happened to write on."""
    return lines_matching(text, MACHINE_PATH, "names a folder of one machine")


# -- whole files -----------------------------------------------------------------------------------


def breaches_of(path: Path) -> Iterator[str]:
    """Everything one file breaks, each as `file: line N what`."""
    name = path.relative_to(ROOT).as_posix()
    in_tests = name.startswith("tests/")
    if path.stat().st_size > LARGEST_FILE:
        yield f"{name}: {path.stat().st_size / 2**20:.1f} MiB; the bound is {LARGEST_FILE // 2**20}"
    if path.suffix not in TEXT and path.name not in {"Makefile", "run", "NOTICE"}:
        return
    text = path.read_text(encoding="utf-8")
    rules: list[Callable[[str], list[str]]] = [machine_paths]
    if path.suffix == ".py":
        if path.name in VAGUE_NAMES:
            yield f"{name}: the name does not say the file's one idea"
        if not in_tests and (lines := len(text.splitlines())) > LONGEST_FILE:
            yield f"{name}: {lines} lines; the bound is {LONGEST_FILE}"
        rules += [unsafe_code, unfinished]
        if path.name.startswith("test_"):
            rules.append(tests_that_assert_nothing)
    else:
        rules.append(index_addresses)
    for rule in rules:
        yield from (f"{name}: {sentence}" for sentence in rule(text))
