"""`python -m domains.audio.spectrogram.compare`: the small networks on equal CPU time, by the error that both minimise.

Same clips, same seeds, one row a network: parameters, CPU seconds a step, share of them that the data takes, steps
done, and the error of x0 on held-out clips at three places of the clock. A network's own loss says nothing here: one
says v, others x0. The first row is the linear filter of prior.py alone, without any training. `--record` puts the table
into docs/measured/spectrogram_start.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from domains.audio.spectrogram.clips import statistics
from domains.audio.spectrogram.measure import validation
from domains.audio.spectrogram.mel import SMALL_RANGE
from domains.audio.spectrogram.model import Format, Spectrograms
from domains.audio.spectrogram.train import MUON_LENGTH, SIZES, Clips, Size, fresh, loss_of
from shared.errors import Cancelled
from shared.measured import record
from shared.training.loop import Batch, TrainReport, TrainSettings, fit


def compared(names: Sequence[str], seconds: float, clips: int) -> Iterator[dict[str, Any]]:
    """One row a size of train.SIZES, each trained for so many CPU seconds, its data included, `clips` a step."""
    codec, level = statistics(SMALL_RANGE, paper=False)
    for name in names:
        size = replace(SIZES[name], rows=clips)
        form = Format(size.says, False, codec, level)
        network = fresh(size, form)
        batches = Clips(size, form)
        batches(0)  # the first pieces, which a long run does not notice
        steps, spent, data = _trained(network, form, size, batches, seconds)
        held_out = Clips(size, form, seed=101, split="test")
        errors = validation(Spectrograms(network.eval(), form, {}), held_out, count=1)
        yield {
            "network": name,
            "parameters": sum(p.numel() for p in network.parameters()),
            "seconds a step": round(spent / steps, 3),
            "data": round(data / spent, 3),
            "steps": steps,
            **{key: entry["value"] for key, entry in errors.items()},
        }


def alone() -> dict[str, Any]:
    """The row of the filter that the network of the recipe begins with."""
    size = SIZES["cpu"]
    codec, level = statistics(SMALL_RANGE, paper=False)
    form = Format(size.says, False, codec, level)
    held_out = Clips(size, form, seed=101, split="test")
    errors = validation(Spectrograms(fresh(size, form).eval(), form, {}), held_out, count=1)
    return {"network": "filter alone", "steps": 0, **{key: entry["value"] for key, entry in errors.items()}}


def entries(rows: Sequence[Mapping[str, Any]], seconds: float) -> dict[str, dict[str, Any]]:
    """The table of docs/measured, whose columns are those of a trained row."""
    columns = list(rows[-1])
    cells = [[row.get(column) for column in columns] for row in rows]
    return {"table": {"columns": columns, "rows": cells, "digits": 3}, "seconds": {"value": seconds, "unit": "s"}}


def _trained(
    network: torch.nn.Module, form: Format, size: Size, batches: Clips, seconds: float
) -> tuple[int, float, float]:
    """Train in place; steps, CPU seconds in all, and those of the data."""
    begin, data, done = time.process_time(), 0.0, 0

    def timed(step: int) -> Batch:
        nonlocal data
        at = time.process_time()
        batch = batches(step)
        data += time.process_time() - at
        return batch

    def watch(report: TrainReport) -> None:
        nonlocal done
        done = report.step
        if time.process_time() - begin >= seconds:
            raise Cancelled("the time is over")

    settings = TrainSettings(
        steps=10**7,
        lr=size.lr,
        warmup=20,
        schedule="constant",
        ema=size.ema,
        muon=size.muon,
        muon_length=MUON_LENGTH,
    )
    with tempfile.TemporaryDirectory() as folder:
        try:
            fit(network, loss_of(form), timed, settings=settings, out=Path(folder), observers=[watch])
        except Cancelled:
            pass
    return done, time.process_time() - begin, data


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Train the small networks for equal CPU time and compare them.")
    parser.add_argument("--seconds", type=float, default=30.0, help="CPU seconds a network")
    parser.add_argument("--clips", type=int, default=16, help="a step")
    parser.add_argument("--networks", nargs="+", choices=sorted(SIZES), default=["cpu", "unet", "dit"])
    parser.add_argument("--record", action="store_true", help="into docs/measured")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for row in itertools.chain([alone()], compared(asked.networks, asked.seconds, asked.clips)):
        print(json.dumps(row), flush=True)
        rows.append(row)
    if asked.record:
        command = f"python -m domains.audio.spectrogram.compare --seconds {asked.seconds:g} --record"
        record("spectrogram_start", entries(rows, asked.seconds), command=command)


if __name__ == "__main__":
    main()
