"""The composition matrix: every process x head x sampler x {none, CFG, DPS, DDNM}, against exact answers.

| what | against | rule |
| --- | --- | --- |
| no guidance, and CFG at weight 1 | the exact (conditional) law | distance below the noise of exact samples |
| order, deterministic | the closed-form flow of a Gaussian | within 0.25 of the declared order over four halvings |
| order, stochastic | mean and covariance of a Gaussian, with no sampling | the same; ancestral also from one start |
| a constant injected fraction | its formula, on a Gaussian | 1e-10: its order is 0, it meets no law |
| CFG at other weights, DPS | a dense grid of the same guided field | converges at the declared order |
| DDNM | the constraint | 1e-6 |
| heads | the x0 head's trajectory | 1e-10 |
"""

from __future__ import annotations

import pytest
import torch

from shared.guidance.classifier_free import ClassifierFree
from shared.samplers.ddim import DDIM, DPMpp
from shared.samplers.heun import Heun
from tests.shared import matrix
from tests.shared.worlds import (
    DETERMINISTIC,
    GAUSSIAN_WORLDS,
    SAMPLERS,
    STOCHASTIC,
    WORLDS,
    World,
    fits,
    heads,
    label_of,
    pairs,
)

torch.set_num_threads(1)

worlds = pytest.mark.parametrize("world", WORLDS, ids=label_of)
gaussian_worlds = pytest.mark.parametrize("world", GAUSSIAN_WORLDS, ids=label_of)
# A constant fraction has no law. DPM-Solver++ of order 1 is the sampler without a filter, bit for bit (tested below),
# and goes through the matrix under that name.
LAWFUL = {name: sampler for name, sampler in SAMPLERS.items() if sampler.order > 0 and "dpmpp1" not in name}
# the clock of a table has kinks at its levels, which a step of the clock does not integrate at order 2
KINKED = {"vp linear", "vp cosine", "residual shift"}


def allowed(world: World, name: str, guide: str = "none") -> bool:
    """Student-t noise stands no ancestral step; ResShift's fraction goes up in noise on the first half of a bridge."""
    if not fits(world, SAMPLERS[name], guide):
        return False
    return not (name == "residual" and world.name == "bridge")


@pairs(WORLDS, [*LAWFUL, "langevin"])
def test_samples_follow_the_exact_law(world: World, name: str) -> None:
    if allowed(world, name):
        matrix.check_law(world, SAMPLERS[name])
    else:
        with pytest.raises(ValueError, match=r"Gaussian process|Gaussian noise law|injected fraction"):
            matrix.check_law(world, SAMPLERS[name])


@worlds
@pytest.mark.parametrize("name", ["dpmpp2", "ancestral"])
def test_guidance_of_weight_one_samples_the_conditional_law(world: World, name: str) -> None:
    if allowed(world, name):
        matrix.check_law(world, SAMPLERS[name], label=1, guidance=(ClassifierFree(1.0),))
    else:
        assert world.student and name == "ancestral"


@pairs(GAUSSIAN_WORLDS, [name for name in DETERMINISTIC if name in LAWFUL])
def test_deterministic_error_falls_with_the_declared_order(world: World, name: str) -> None:
    if name == "heun time" and world.name in KINKED:
        with pytest.raises(AssertionError, match="order"):
            matrix.check_deterministic_order(world, SAMPLERS[name])
    else:
        matrix.check_deterministic_order(world, SAMPLERS[name])


@pairs(GAUSSIAN_WORLDS, [name for name in STOCHASTIC if name in LAWFUL])
def test_stochastic_covariance_converges_with_the_declared_weak_order(world: World, name: str) -> None:
    if allowed(world, name):
        matrix.check_weak_order(world, SAMPLERS[name])
    else:
        with pytest.raises(ValueError, match="injected fraction"):
            matrix.check_weak_order(world, SAMPLERS[name])


@gaussian_worlds
@pytest.mark.parametrize("order", [1, 2])
def test_ancestral_steps_reverse_the_forward_process_from_any_start(world: World, order: int) -> None:
    matrix.check_reversal(world, DDIM("ancestral", DPMpp(order)))


@gaussian_worlds
@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_constant_fraction_does_what_its_formula_says(world: World, fraction: float) -> None:
    assert DDIM(fraction).order == 0
    matrix.check_constant_fraction(world, fraction)


@pairs(
    WORLDS,
    ["ddim", "dpmpp2", "plms4", "heun", "heun time", "ancestral", "euler time", "unipc2", "sde single", "langevin"],
)
def test_heads_give_the_same_trajectory(world: World, name: str) -> None:
    if allowed(world, name):
        matrix.check_heads(world, SAMPLERS[name], heads(world))
    else:
        assert world.student


@worlds
def test_heads_read_what_their_names_promise(world: World) -> None:
    for name, head in heads(world).items():
        matrix.check_head_meaning(world, name, head)


@pytest.mark.parametrize("guide", ["cfg", "dps"])
@pairs(WORLDS, [name for name in DETERMINISTIC if name in LAWFUL])
def test_guided_fields_converge_under_refinement(world: World, name: str, guide: str) -> None:
    if not allowed(world, name, guide):
        with pytest.raises(ValueError, match="true_score"):
            matrix.check_guided_converges(world, SAMPLERS[name], guide)
    elif not (name == "heun time" and world.name in KINKED):
        matrix.check_guided_converges(world, SAMPLERS[name], guide)
    else:
        assert isinstance(SAMPLERS[name], Heun)


@pytest.mark.parametrize("guide", ["cfg", "dps"])
@pairs(GAUSSIAN_WORLDS, [name for name in STOCHASTIC if name in LAWFUL])
def test_guided_stochastic_laws_converge_under_refinement(world: World, name: str, guide: str) -> None:
    if allowed(world, name):
        matrix.check_guided_law_converges(world, SAMPLERS[name], guide)
    else:
        assert world.name == "bridge"


@worlds
@pytest.mark.parametrize("pair", [("ddim", "dpmpp1"), ("ancestral", "sde dpmpp1")], ids=["ode", "sde"])
def test_first_order_filter_is_no_filter(world: World, pair: tuple[str, str]) -> None:
    if allowed(world, pair[0]):
        plain, filtered = (world.case(SAMPLERS[name], world.grid(8)).sample().x for name in pair)
        assert torch.equal(plain, filtered)
    else:
        assert world.student


@pairs(WORLDS, SAMPLERS)
def test_projection_meets_the_constraint(world: World, name: str) -> None:
    if allowed(world, name):
        matrix.check_projection(world, SAMPLERS[name])
    else:
        assert world.student or world.name == "bridge"
