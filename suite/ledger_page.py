"""docs/papers.md from the ledger: `python -m suite.ledger_page` writes it, `--check` fails where the two differ."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from shared.front.atomic import write_atomic
from shared.measured import ROOT
from suite.papers import Paper, papers

PAGE = ROOT / "docs" / "papers.md"


def page() -> str:
    """The whole page: a table of all papers, then claim, rule and numbers of each that is built."""
    entries = papers()
    built = [entry for entry in entries if entry.status != "not built"]
    lines = [
        "# The paper ledger",
        "",
        f"{len(built)} of {len(entries)} papers are built. `suite papers run SLUG` repeats an experiment.",
        "This page is made from `suite/ledger/*.json` by `make docs`.",
        "",
        "| # | slug | what it gives | status | measured | baseline |",
        "| --- | --- | --- | --- | --- | --- |",
        *(_row(entry) for entry in entries),
    ]
    for entry in built:
        lines += ["", *_section(entry)]
    return "\n".join(lines) + "\n"


def _row(entry: Paper) -> str:
    cells = (entry.number, f"`{entry.slug}`", entry.gives, entry.status, _figure(entry), _number(entry.baseline))
    return "| " + " | ".join(map(str, cells)) + " |"


def _section(entry: Paper) -> list[str]:
    seconds = f", {entry.seconds:.0f} s" if entry.seconds is not None else ""
    return [
        f"## {entry.slug}",
        "",
        entry.title,
        "",
        f"- **Claim.** {entry.claim}",
        f"- **Rule.** {entry.rule}",
        f"- **Verdict.** {entry.status}: measured {_figure(entry)}, baseline {_number(entry.baseline)}, "
        f"negative control {_number(entry.negative_control)}, seeds {entry.seeds}.",
        f"- **Again.** `{entry.command}`{seconds}; {entry.date}, {entry.machine}, commit {entry.commit}.",
    ]


def _figure(entry: Paper) -> str:
    if entry.measured is None:
        return "not measured"
    span = f" ({_number(entry.ci_low)} to {_number(entry.ci_high)})" if entry.ci_low is not None else ""
    return _number(entry.measured) + span


def _number(value: float | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.3g}"


def main(args: Sequence[str]) -> int:
    """Write the page, or with --check say whether it is up to date."""
    text = page()
    if "--check" not in args:
        write_atomic(PAGE, text)
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write("docs/papers.md differs from the ledger; run: make docs\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
