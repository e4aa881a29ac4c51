"""Errors that a user can act on."""

from __future__ import annotations


class UserError(ValueError):
    """Bad input: one sentence that says what is wrong, where, and how to mend it.

    The command line prints it and exits with code 2; a page shows it as a message. It is never a traceback.

    what    what is wrong, with the offending numbers ("the mask has shape (10, 10), the image (182, 218, 182)")
    where   the file, option or field
    remedy  what the user can do ("resample the mask to the grid of the image")
    """

    def __init__(self, what: str, *, where: str = "", remedy: str) -> None:
        self.what, self.where, self.remedy = what, where, remedy
        place = f"{where}: " if where else ""
        super().__init__(f"{place}{what}; {remedy}")


class Cancelled(Exception):
    """Raised by an observer of a run whose user pressed Stop; nothing has been written."""
