"""Progress of a whole run, in network calls and lesions, from what each variation counts for itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from domains.medical.lesions.add import Prepared
from shared.front.operation import Report
from shared.front.progress import counted


class Counting:
    """Counts over all variations: calls done, calls in all, and how many lesions are drawn.

    report   is told (calls done, calls in all, note); ``calls`` are those of one site, ``variations`` are to come
    Lesions that failed their quality check are drawn again: those calls come on top, since nobody knows them before.
    """

    def __init__(self, prepared: Prepared, report: Report, *, calls: int, variations: int) -> None:
        self.report, self.calls, self.variations = report, calls, variations
        self.lesions = np.cumsum([0, *lesions_by_site(prepared)])
        self.begun = 0  # variations
        self.before = 0  # calls of earlier rounds; a round draws each of its sites once
        self.done = self.total = 0  # calls of this round
        self.again = False

    def announce(self) -> None:
        """Say what the whole run costs, before it begins."""
        lesions, sites = counted(int(self.lesions[-1]), "lesion"), len(self.lesions) - 1
        if sites:
            note = f"{lesions} in {sites} patch{'' if sites == 1 else 'es'}"
            self.report(0, self.variations * sites * self.calls, note)

    def variation(self) -> Callable[[int, int, str], None]:
        """What the next variation reports to: (calls done, calls of this round, where it is)."""
        self._close()
        self.begun += 1
        self.again = False
        return self._said

    def _said(self, done: int, total: int, _: str) -> None:
        if done < self.done:
            self._close()
            self.again = True
        self.done, self.total = done, total
        to_come = (self.variations - self.begun) * (len(self.lesions) - 1) * self.calls
        self.report(self.before + done, self.before + total + to_come, self._note())

    def _note(self) -> str:
        sites, every = self.done // self.calls, int(self.lesions[-1])
        if self.again:
            words = f"{every} of {every} lesions done, drawing again: {sites} of {self.total // self.calls} places"
        else:
            words = f"{self.lesions[sites]} of {every} lesions done"
        return words + (f", variation {self.begun} of {self.variations}" if self.variations > 1 else "")

    def _close(self) -> None:
        self.before += self.done
        self.done = self.total = 0


def lesions_by_site(prepared: Prepared) -> list[int]:
    """How many lesions (26 neighbours) each site holds; those near each other share one."""
    return [len(site.lesions) for site in prepared.sites]
