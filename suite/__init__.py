"""The front door: command line, hub, job runner, doctor, paper ledger."""

from __future__ import annotations

import os

# The arithmetic threads of the CPU wait asleep instead of spinning. On idle cores that is as fast; beside other work a
# spinning thread keeps the one it waits for off its core, and a call of a network takes ten to thirty times as long.
# It is read when torch is first imported, so it stands here, before everything.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
