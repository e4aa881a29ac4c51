"""Points in time: the spacings, what they refuse, and the way back."""

from __future__ import annotations

import pytest
import torch

from shared.grid import Grid, grid, own_times
from shared.process import edm, flow, vp
from shared.run import Sampler
from shared.samplers.ddim import DDIM
from shared.samplers.euler import Euler
from shared.samplers.heun import Heun
from shared.testing import fitted_order
from tests.shared import matrix
from tests.shared.worlds import WORLDS

SPACINGS = ["uniform", "levels", "trailing", "leading", "log_snr", "karras"]


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_every_spacing_has_its_steps_and_ends_clean(spacing: str, steps: int) -> None:
    found = grid(vp("linear"), steps, spacing)
    assert found.steps == steps and found.t[-1] == 0
    assert found.t[0] == 1000 or spacing == "leading"
    if spacing in ("levels", "trailing", "leading"):
        assert torch.equal(found.t, found.t.round())


def test_spacings_by_noise_are_even_in_what_they_say() -> None:
    log_snr = grid(vp("linear"), 9, "log_snr").whole.log_snr[:-1].diff()
    torch.testing.assert_close(log_snr, log_snr[:1].expand_as(log_snr), rtol=1e-6, atol=1e-9)
    points = grid(edm(80.0), 9, "karras", near=0.002).whole
    assert points.sigma[-2].item() == pytest.approx(0.002)
    root = (points.sigma[:-1] ** (1 / 7)).diff()
    torch.testing.assert_close(root, root[:1].expand_as(root), rtol=1e-6, atol=1e-9)


def test_a_shift_moves_times_towards_noise_and_keeps_the_ends() -> None:
    plain, shifted = (grid(flow(), 10, shift=shift).t for shift in (1.0, 3.0))
    torch.testing.assert_close(shifted, 3 * plain / (1 + 2 * plain))
    table = grid(vp("linear"), 4, shift=3.0).t
    assert table[0] == 1000 and table[-1] == 0 and table[2] == 750


@pytest.mark.parametrize(
    ("sampler", "falls"),
    [(DDIM(), 1), (Euler(), 1), (Heun(), 3), (Heun("time"), 3)],
    ids=["ddim", "euler", "heun", "heun time"],
)
def test_encoding_walks_the_same_grid_back_to_the_start(sampler: Sampler, falls: int) -> None:
    """Errors of the way there and back cancel in even powers of the step: order 2 comes back with order 3."""
    world, steps, errors = WORLDS[5], (16, 32, 64, 128), []
    for n in steps:
        decode = matrix.order_grid(world, n)
        assert torch.equal(decode.reversed().reversed().t, decode.t) and decode.reversed().direction == "encode"
        encode = world.case(sampler, decode.reversed(), 6)
        back = world.case(sampler, decode, 6)
        there = encode.sample().x
        again = matrix.sample(back.denoiser, sampler, decode, noise=back.drawn, x=there).x
        assert (there - encode.x).norm() > 0.1, "nothing was encoded"
        errors.append((again - encode.x).norm().item())
    order = fitted_order(steps, errors)
    assert abs(order - falls) < 0.3, f"the round trip has order {order:.2f}: {errors}"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: grid(flow(), 0), "at least one step, got 0"),
        (lambda: grid(flow(), 5.5), "a whole number of steps, at least one step, got 5.5"),
        (lambda: grid(flow(), float("nan")), "a whole number of steps, at least one step, got nan"),
        (lambda: grid(vp("linear"), 5, "karras", rho=0), "rho is a finite number > 0, got 0"),
        (lambda: grid(flow(), 5, shift=float("nan")), "shift is > 0"),
        (
            lambda: grid(flow(), 4, "even"),
            "unknown spacing 'even'; choose uniform, levels, trailing, leading, log_snr, karras",
        ),
        (lambda: grid(flow(), 4, "log_snr"), "needs a start with a > 0"),
        (
            lambda: grid(flow(), 4, "karras", shift=2.0),
            "shift is > 0 and belongs to uniform spacing, got 2.0 with karras",
        ),
        (lambda: grid(flow(), 4, shift=0.0), "shift is > 0"),
        (lambda: grid(flow(), 4, "levels"), "4 steps do not fit 1 levels"),
        (lambda: grid(flow(), 4, "leading"), "do not fit 1 levels"),
        (lambda: grid(vp("linear", 50), 51, "trailing"), "51 steps do not fit 50 levels"),
        (lambda: own_times(flow(), [0.9, 0.4, 0.4, 0.1]), r"times\[1\] = 0.4 and then 0.4"),
        (lambda: own_times(flow(), [0.9, 0.95]), r"from noisy to clean without standing still, got times\[0\] = 0.9"),
        (lambda: own_times(flow(), [0.9, float("nan")]), "lies outside|without standing still"),
        (lambda: own_times(flow(), [0.9]), "n >= 1, got shape"),
        (lambda: Grid(flow(), torch.tensor([[0.9, 0.5], [0.5, 0.6]])), r"got times\[0\]"),
        (lambda: own_times(flow(), [0.9, -0.5]).whole, "outside"),
    ],
)
def test_a_grid_that_cannot_be_walked_is_refused_with_its_numbers(make, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()
