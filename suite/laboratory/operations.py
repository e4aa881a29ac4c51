"""What a user can ask of the laboratory; command line, page, API and MCP are made from it. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shared.front.operation import Operation, Outcome, Report
from shared.front.settings import REQUIRED, Settings, option

TRUTHS: Final = ("three-parts", "correlated", "ring", "lattice", "moons", "roll")
PROCESSES: Final = (
    "vp-cosine",
    "vp-linear",
    "vp-angle",
    "ve",
    "edm",
    "flow",
    "mean-reverting",
    "residual-shift",
    "bridge",
)
LAWS: Final = ("gaussian", "student-t")
HEADS: Final = ("x0", "eps", "v", "velocity", "edm", "residual")
SAMPLERS: Final = (
    "ddim",
    "euler-time",
    "heun",
    "heun-time",
    "dpmpp_2s",
    "dpmpp_2m",
    "dpmpp_3m",
    "unipc",
    "plms",
    "ddpm",
    "euler_ancestral",
    "dpmpp_sde",
    "dpmpp_2m_sde",
    "dpmpp_3m_sde",
    "langevin",
    "resshift",
    "ddim-half",
    "lcm",
)
SPACINGS: Final = ("uniform", "levels", "log_snr", "karras")
GUIDES: Final = ("none", "label", "dps", "ddnm", "known")


@dataclass(frozen=True, kw_only=True)
class Experiment(Settings):
    """One run on a law whose answer is known, and what it is compared with."""

    truth: str = option("three-parts", choices=TRUTHS, help="The law of the clean values; moons and roll are finite.")
    process: str = option("vp-cosine", choices=PROCESSES, help="How clean values become noise.")
    law: str = option("gaussian", choices=LAWS, help="The law of the noise; student-t needs a finite truth.")
    dof: int = option(
        4, low=1, high=100, advanced=True, unit="degrees of freedom", help="Heaviness of Student-t tails, 1 heaviest."
    )
    head: str = option("x0", choices=HEADS, help="What the network is asked to say.")
    error: float = option(
        0.0, low=0, high=1, help="Error of the network, as a part of what it has to say; 0 is the exact answer."
    )
    sampler: str = option("ddim", choices=SAMPLERS, help="How the run steps from noise to data.")
    steps: int = option(25, low=1, high=200, unit="steps", help="Steps from noise to data.")
    spacing: str = option("uniform", choices=SPACINGS, help="Where along the clock the steps lie.")
    start: float = option(
        1.0,
        low=0.5,
        high=1,
        unit="of the clock",
        advanced=True,
        help="Where the run starts; 1 is the noisy end, a little less avoids what is singular there.",
    )
    guide: str = option("none", choices=GUIDES, help="How the run is steered.")
    weight: float = option(
        2.0, low=0, high=10, help="Strength of the guidance: 1 is the plain condition or the full pull."
    )
    label: int = option(1, low=0, high=1, help="The label that is asked for, under the guidance label.")
    value: float = option(
        0.5, low=-3, high=3, help="What was measured: the sum of both coordinates, or the second one under known."
    )
    noise: float = option(0.3, low=0.05, high=2, help="Standard deviation of the measurement, under dps.")
    repeats: int = option(
        5, low=1, high=20, help="How often each stretch is walked under known; 1 means without jumps back up in noise."
    )
    samples: int = option(500, low=10, high=2000, unit="samples", help="How many samples to draw.")
    seed: int = option(0, kind="seed", help="Same seed, same samples.")
    convergence: bool = option(True, help="Measure the error against the number of calls, beside other samplers.")
    out: str = option(REQUIRED, kind="folder", help="Folder for the results; made when absent, refused when not empty.")


def run(settings: Experiment, report: Report) -> Outcome:
    """Run an `Experiment`."""
    from suite.laboratory.run import experiment

    return experiment(settings, report, RUN)


RUN = Operation(
    "laboratory_run",
    Experiment,
    run,
    command=("laboratory", "run"),
    help="Run a combination of process, head, sampler and guidance on a law whose exact answer is known.",
)
