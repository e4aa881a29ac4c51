"""Fill the pages from measured numbers, and fail where a page says another one.

A page quotes an entry of docs/measured/NAME.json (see shared.measured) between two markers, and what stands between
them is replaced:

    It takes <!-- measured set_up.disk -->5.6 GB<!-- / --> on the disk.        a value, with its interval if it has one
    <!-- measured lesions.arms -->                                             a table; the markers stand on lines of
    <!-- / -->                                                                 their own
    <!-- measured set_up --><!-- / -->                                         how, when and on what it was measured
    <!-- measured cards.image/shapes.mib --><!-- / -->                         from the cards of an app's checkpoints

`python -m suite.measured` fills the pages, `--check` changes nothing and fails where a page and its number differ.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from shared.errors import UserError
from shared.front.atomic import write_atomic
from shared.measured import ROOT, load, shown
from suite.models import of_apps

MARKED = re.compile(r"(<!-- measured (?P<key>[\w./\-]+) -->)(?P<body>.*?)(<!-- / -->)", re.DOTALL)
OPENED = re.compile(r"<!-- measured (?P<key>[\w./\-]+) -->")
CLOSE = "<!-- / -->"
CARDS = "cards"  # the page that is read from the cards of the checkpoints, and from no file of its own
CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def origin(page: Mapping[str, Any]) -> str:
    """One clause that says how, when and on what a page was measured."""
    return f"`{page['command']}`, {page['date']}, commit {page['commit']}, {page['machine']}, load {page['load']}"


def quote(key: str, pages: Mapping[str, Mapping[str, Any]]) -> str:
    """What stands between the markers of `key`: NAME.ENTRY, or NAME alone for where it comes from."""
    name, _, entry = key.partition(".")
    if name not in pages:
        raise UserError(f"nothing is recorded under {name!r}", where=key, remedy="measure it, or take the marker out")
    entries = pages[name]["entries"]
    if not entry and name != CARDS:
        return origin(pages[name])
    if entry not in entries:
        raise UserError(f"{name}.json has no entry {entry!r}", where=key, remedy=f"name one of {', '.join(entries)}")
    return shown(key, entries[entry])


def fill(text: str, pages: Mapping[str, Mapping[str, Any]], wrong: list[UserError]) -> str:
    """The text with every marked number replaced; fenced code blocks stay as they are.

    A marker that cannot be filled stays as it is, and what is wrong with it is put into `wrong`.
    """
    pieces, last = [], 0
    for fence in CODE.finditer(text):
        pieces += [fill_plain(text[last : fence.start()], pages, wrong), fence[0]]
        last = fence.end()
    return "".join([*pieces, fill_plain(text[last:], pages, wrong)])


def fill_plain(text: str, pages: Mapping[str, Mapping[str, Any]], wrong: list[UserError]) -> str:
    """`fill` for text without code blocks; where a marker is never closed, nothing is filled."""
    opened = list(OPENED.finditer(text))
    ends = [*(found.start() for found in opened[1:]), len(text)]
    never = [found["key"] for found, end in zip(opened, ends, strict=False) if CLOSE not in text[found.end() : end]]
    for key in never:
        wrong.append(UserError("a measured marker is not closed", where=key, remedy=f"end it with {CLOSE}"))
    if never:
        return text

    def put(found: re.Match[str]) -> str:
        try:
            return f"{found[1]}{quote(found['key'], pages)}{found[4]}"
        except UserError as error:
            wrong.append(error)
            return found[0]

    return MARKED.sub(put, text)


def pages_that_quote(root: Path = ROOT) -> Iterator[Path]:
    """Markdown of the repository: the top folder, docs, and what stands beside checkpoints."""
    yield from sorted(root.glob("*.md"))
    for folder in ("docs", "domains", "shared", "suite"):
        yield from sorted((root / folder).rglob("*.md"))


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Fill the pages, or with --check say which ones differ; 0 = all agree, 1 = drift, 2 = a marker is wrong.

    Every wrong marker and every page that differs is named, not only the first.
    """
    parser = argparse.ArgumentParser(
        prog="python -m suite.measured", description="Fill pages from docs/measured/*.json."
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail when a page differs from its numbers"
    )
    check = parser.parse_args(arguments).check
    try:
        recorded = {**load(root / "docs" / "measured"), CARDS: {"entries": of_apps()}}
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    bad, drifted = list[str](), list[str]()
    for path in pages_that_quote(root):
        name, text, wrong = path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"), list[UserError]()
        filled = fill(text, recorded, wrong)
        bad += [f"{name}: {error}" for error in wrong]
        if filled != text:
            drifted.append(name)
            if not check:
                write_atomic(path, filled)
    for line in bad:
        print(line, file=sys.stderr)
    if check and drifted:
        print(f"numbers differ from docs/measured in {', '.join(drifted)}; run `make docs`", file=sys.stderr)
    for name in () if check else drifted:
        print(f"filled {name}")
    return 2 if bad else int(check and bool(drifted))


if __name__ == "__main__":
    raise SystemExit(main())
