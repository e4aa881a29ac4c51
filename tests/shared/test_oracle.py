"""Exact denoisers against numbers found another way: quadrature, Bayes by hand, and the score's definition."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from shared.denoiser import Query
from shared.noise import Bulk
from shared.oracle import ANY, DataSet, Mixture, Oracle, gaussian, mixture
from shared.process import StudentT, edm, flow, mean_reverting
from shared.testing import check_same_law, sliced_wasserstein
from tests.shared.worlds import (
    GAUSSIAN,
    HEADS,
    LABELS,
    MATRIX,
    MEANS,
    MEASURED,
    MIXTURE,
    POINTS,
    WORLDS,
    World,
    heads,
    label_of,
)


def log_density(truth: Mixture, u: Tensor, a: Tensor, sigma: Tensor) -> Tensor:
    """log p(u), u = a x0 + sigma n, from torch's own normal densities."""
    eye = torch.eye(truth.means.shape[1], dtype=torch.float64)
    parts = torch.distributions.MultivariateNormal(a * truth.means, a**2 * truth.covariances + sigma**2 * eye)
    return torch.logsumexp(truth.weights.log() + parts.log_prob(u[:, None]), 1)


TILTED = GAUSSIAN.covariances[0]
SKEWED = Mixture(MEANS, torch.stack([TILTED, TILTED.flip(0, 1), torch.eye(2) * 0.1]), MIXTURE.weights)


@pytest.mark.parametrize("truth", [MIXTURE, GAUSSIAN, SKEWED], ids=["round", "gaussian", "skewed"])
@pytest.mark.parametrize("t", [0.05, 0.5, 0.95])
def test_denoiser_is_the_score_of_the_density(truth: Mixture, t: float) -> None:
    """Tweedie: E[x0 | u] = (u + sigma^2 grad log p(u)) / a."""
    at = flow().at(t)
    u = torch.randn(20, 2, dtype=torch.float64, requires_grad=True)
    (score,) = torch.autograd.grad(log_density(truth, u, at.a, at.sigma).sum(), u)
    wanted = (u + at.sigma**2 * score) / at.a
    torch.testing.assert_close(truth.clean(u, at, flow().law, {}).detach(), wanted.detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dof", [1, 4, 50])
def test_data_set_under_student_noise_is_bayes_with_its_density(dof: int) -> None:
    """r_i ~ density of a multivariate t with dof degrees of freedom, here as an integral over its chi-square."""
    truth, at = DataSet(MEANS), edm().at(0.7)
    u = torch.tensor([[0.2, 0.1], [-1.5, 3.0]], dtype=torch.float64)
    # n = z sqrt(dof / c): given c, Gaussian of variance dof / c; average over quantiles of c
    quantile = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
    from scipy.stats import chi2

    c = torch.from_numpy(chi2.ppf(quantile.numpy(), dof))[:, None, None]
    variance = at.sigma**2 * dof / c
    far = (u[:, None] - MEANS).square().sum(-1)
    density = (torch.exp(-far / (2 * variance)) / variance).mean(0)
    wanted = (density / density.sum(1, keepdim=True)) @ MEANS
    torch.testing.assert_close(truth.clean(u, at, StudentT(dof), {}), wanted, rtol=2e-3, atol=2e-3)


def test_student_noise_of_many_degrees_is_gaussian() -> None:
    u, at = torch.randn(9, 2, dtype=torch.float64), edm().at(0.4)
    nearly, gaussian_law = POINTS.clean(u, at, StudentT(10**7), {}), POINTS.clean(u, at, edm().law, {})
    torch.testing.assert_close(nearly, gaussian_law, rtol=1e-4, atol=1e-4)


def test_labels_restrict_the_law_and_any_does_not() -> None:
    u, at = torch.randn(4, 2, dtype=torch.float64), flow().at(0.4)
    labels = torch.tensor([0, 1, ANY, 1])
    got = MIXTURE.clean(u, at, flow().law, {"label": labels})
    laws = [MIXTURE if label == ANY else MIXTURE.given_label(label) for label in labels.tolist()]
    alone = [law.clean(u, at, flow().law, {}) for law in laws]
    torch.testing.assert_close(got, torch.stack([rows[i] for i, rows in enumerate(alone)]))
    assert set(DataSet(MEANS, LABELS).draw(50, 0, label=0)[:, 0].tolist()) == {-1.2}
    assert MIXTURE.given_label(1).weights.tolist() == pytest.approx([0, 0.6, 0.4])


def test_posterior_is_bayes_on_a_lattice() -> None:
    """Mean and covariance of p(x0 | y), summed over a fine lattice of prior times likelihood."""
    std = 0.3
    axis = torch.linspace(-5, 5, 601, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis)
    log = log_density(SKEWED, x, torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64))
    log = log - (x @ MATRIX.T - MEASURED).square().sum(1) / (2 * std**2)
    weight = torch.softmax(log, 0)[:, None]
    mean = (weight * x).sum(0)
    covariance = ((weight * (x - mean)).T) @ (x - mean)
    posterior = SKEWED.posterior(MATRIX, MEASURED[0], std)
    torch.testing.assert_close(posterior.mean, mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(posterior.covariance, covariance, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("truth", [MIXTURE, SKEWED, GAUSSIAN], ids=["round", "skewed", "gaussian"])
def test_draws_have_the_stated_moments(truth: Mixture) -> None:
    rows = 40000
    x = truth.draw(rows, 3)
    spread = truth.covariance.diagonal().max().item()
    assert (x.mean(0) - truth.mean).abs().max() < 5 * math.sqrt(spread / rows)
    assert (torch.cov(x.T) - truth.covariance).abs().max() < 5 * spread * math.sqrt(3 / rows)
    assert torch.equal(truth.draw(10, 3), truth.draw(10, 3)) and not torch.equal(truth.draw(10, 3), truth.draw(10, 4))


@pytest.mark.parametrize("world", WORLDS, ids=label_of)
def test_oracles_answer_in_the_terms_of_every_head(world: World) -> None:
    at = world.process.at(world.grid(4).t[2])
    x = world.start(world.grid(4), 6)
    wanted = world.truth.clean(world.process.shifted(x, at, world.ends(6)), at, world.process.law, {})
    for head in heads(world).values():
        pred = Oracle(world.truth, world.process, head).predict(x, at, {"main": Query(None)}, world.ends(6))["main"]
        torch.testing.assert_close(pred.x0, wanted, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(world.process.join(pred.x0, pred.eps, at, world.ends(6)), x, rtol=1e-9, atol=1e-9)


def test_times_of_their_own_give_each_row_its_answer() -> None:
    process, truth = mean_reverting(), MIXTURE
    t, x, y = (
        torch.tensor([0.2, 0.6, 0.9]),
        torch.randn(3, 2, dtype=torch.float64),
        torch.zeros(3, 2, dtype=torch.float64),
    )
    for name in ("x0", "edm"):
        oracle = Oracle(truth, process, HEADS[name])
        whole = oracle.predict(x, process.at(t), {"main": Query(None)}, y)["main"].x0
        for i in range(3):
            alone = oracle.predict(x[i : i + 1], process.at(t[i]), {"main": Query(None)}, y[:1])["main"].x0
            torch.testing.assert_close(whole[i : i + 1], alone, rtol=1e-9, atol=1e-9)


def test_states_of_any_shape_and_type_are_answered_in_kind() -> None:
    truth = gaussian(torch.zeros(6), torch.eye(6))
    x = torch.randn(4, 2, 3, requires_grad=True)
    pred = Oracle(truth, flow()).predict(x, flow().at(0.5), {"main": Query(None)})["main"]
    assert pred.x0.shape == (4, 2, 3) and pred.x0.dtype == torch.float32
    torch.testing.assert_close(pred.x0, x)  # a x / (a^2 + sigma^2) at a = sigma = 1/2
    assert torch.autograd.grad(pred.x0.sum(), x)[0].allclose(torch.ones(()))


def test_distance_between_laws_sees_a_shift_and_not_a_reordering() -> None:
    x = MIXTURE.draw(1000, 0)
    assert sliced_wasserstein(x, x.flip(0)) == 0
    shifted = sliced_wasserstein(x, x + torch.tensor([0.2, 0.0]))
    assert shifted == pytest.approx(0.2 * 2 / math.pi, rel=0.2)  # 0.2 |cos| on average
    assert check_same_law(MIXTURE.draw(1000, 77), MIXTURE.draw) < 1.5
    with pytest.raises(AssertionError, match="times the sampling noise"):
        check_same_law(x + 0.2, MIXTURE.draw)
    wide = mixture(MEANS, 0.6, MIXTURE.weights)
    with pytest.raises(AssertionError, match="from the exact law"):
        check_same_law(wide.draw(1000, 0), MIXTURE.draw)
    with pytest.raises(ValueError, match="of one size"):
        sliced_wasserstein(x, x[:9])


def test_bulk_noise_is_drawn_in_the_type_of_the_state() -> None:
    like = torch.empty(3, 2, dtype=torch.float64)
    assert Bulk(0).draw(0, like).dtype == torch.float64 and Bulk(0).draw(0, like.float()).dtype == torch.float32
