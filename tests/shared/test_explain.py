"""What a run will do is said before it does it."""

from __future__ import annotations

import torch

from shared.denoiser import Denoiser, x0_head
from shared.explain import explain, stages
from shared.grid import grid
from shared.guidance.clamp import Clamp
from shared.guidance.known_region import KnownRegion
from shared.process import vp
from shared.run import Guidance
from shared.samplers.ddim import DDIM


class Projection(Clamp):
    """A clamp that says it is a projection."""

    projection = True


def test_the_stages_stand_in_the_order_in_which_they_act() -> None:
    known = KnownRegion(torch.zeros(1, 2), torch.tensor([[True, False]]))
    said = stages(DDIM("ancestral"), [Projection(-1, 1), known, Clamp(-2, 2), Guidance()])
    assert said == [
        "law", "noise", "predict", "correct (Clamp, Projection)", "step (DDIM)", "after (KnownRegion)", "observers",
    ]  # fmt: skip


def test_the_text_holds_route_parts_and_cost() -> None:
    process = vp("cosine", 300)
    network = torch.nn.Module()
    text = explain(
        Denoiser(network, process, x0_head()), DDIM("ancestral"), grid(process, 300, "levels").jumps(2, 2),
        guidance=[Clamp(-1, 1)],
    )  # fmt: skip
    assert "598 steps of the vp cosine process, decode, 149 jumps" in text
    assert "DDIM: needs gaussian, x0; gives" in text
    assert text.splitlines()[-1] == "598 calls in 598 batches, 0 back-propagations a sample"
