"""`suite laboratory app`: the laboratory's page without the landing page."""

from __future__ import annotations

from suite.hub import alone

command = alone("laboratory")
