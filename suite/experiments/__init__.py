"""Experiments of the paper ledger: one module a paper, named after its slug with underscores for dashes.

Each holds ``run(seed: int, out: Path) -> dict``: it computes the claim's numbers from one seed in at most three minutes
on a CPU, saves its plot as ``<slug>.png`` in ``out``, and returns at least ``status`` (held, partly held or not held),
``measured``, ``baseline`` and ``negative_control``. Threshold and rule stand in the ledger entry, committed before the
first number.
"""
