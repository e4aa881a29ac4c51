"""The ledger's lesion experiment: each part can fail, and the verdict follows the rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from domains.medical.lesions.downstream.statistics import Interval
from domains.medical.lesions.presets import Preset
from suite.experiments import lefusion
from suite.papers import paper, run_experiment


def test_the_gated_fit_agrees_inside_the_mask_and_one_gated_elsewhere_does_not() -> None:
    truth, unknown = lefusion.world()
    everywhere, inside = torch.ones(lefusion.SIZE, dtype=torch.float64), unknown.double()
    full = lefusion.fitted(truth, everywhere, 2000)[unknown]
    assert (lefusion.fitted(truth, inside, 2000)[unknown] - full).abs().max() < lefusion.AGREE
    assert (lefusion.fitted(truth, 1 - inside, 2000)[unknown] - full).abs().max() > 0.1


def test_the_fit_is_the_exact_denoiser_up_to_sampling_noise() -> None:
    truth, _ = lefusion.world()
    at = lefusion.process().at(150.0)
    a, sigma, covariance = at.a, at.sigma, truth.covariances[0]
    exact = a * covariance @ torch.linalg.inv(a**2 * covariance + sigma**2 * torch.eye(lefusion.SIZE))
    said = lefusion.fitted(truth, torch.ones(lefusion.SIZE, dtype=torch.float64), 2000)
    assert (said - exact).abs().max() < 0.06 < exact.abs().max()


def test_more_repeats_bring_inpainting_nearer_to_the_exact_conditional() -> None:
    errors = lefusion.inpainting(*lefusion.world(), 2000)
    assert errors["covariance"]["1"] > 2 * errors["covariance"]["exact"]
    assert errors["covariance"]["10"] < errors["covariance"]["1"]
    assert errors["mean"]["10"] < errors["mean"]["1"]


def outcome(nearest: float, once: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the two parts would return: an E2 share and an E3 error with one repeat."""
    near = Interval(nearest, nearest, nearest)
    low = Interval(0.3, 0.3, 0.3)
    texture = {"nearest": near, "correlation": Interval(0.95, 0.9, 0.97), "nearest_shuffled": low, "baseline": 1 / 3}
    texture |= {"correlation_shuffled": Interval(0.0, -0.1, 0.1)}
    texture |= {"each": {"nearest": [nearest] * lefusion.SEEDS, "nearest_shuffled": [0.3] * lefusion.SEEDS}}
    errors = {"1": once, "2": 0.12, "10": 0.08, "exact": 0.03}
    covariance = {key: Interval(value, value - 0.01, value + 0.01) for key, value in errors.items()}
    return texture, {"gated": 1e-9, "gated_elsewhere": 1.0, "covariance": covariance, "mean": covariance}


@pytest.mark.parametrize(
    ("nearest", "once", "status"),
    [(0.9, 0.2, "held"), (0.79, 0.2, "partly held"), (0.9, 0.05, "partly held"), (0.5, 0.03, "not held")],
)
def test_the_verdict_follows_the_rule_of_the_ledger(
    nearest: float, once: float, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texture, exact = outcome(nearest, once)
    monkeypatch.setattr(lefusion, "textures", lambda seeds: texture)
    monkeypatch.setattr(lefusion, "exactness", lambda seeds: exact)
    result = run_experiment("lefusion", seed=1, out=tmp_path)
    assert result["status"] == status and result["sub_seeds"] == [5, 6, 7, 8, 9]
    assert result["negative_control"] == 0.3 and result["ci_low"] == nearest
    assert json.loads((tmp_path / "lefusion.json").read_text())["texture"]["nearest"]["value"] == nearest
    assert (tmp_path / "lefusion.png").stat().st_size > 5000


def test_a_model_whose_shuffled_requests_pass_too_is_not_listening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texture, exact = outcome(0.9, 0.2)
    monkeypatch.setattr(lefusion, "textures", lambda seeds: texture | {"nearest_shuffled": Interval(0.85, 0.8, 0.9)})
    monkeypatch.setattr(lefusion, "exactness", lambda seeds: exact)
    assert lefusion.run(0, tmp_path)["status"] == "partly held"


def test_texture_control_is_asked_of_the_shipped_model_with_every_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    class Listening:
        """Fills every lesion with numbers drawn from the asked histogram."""

        asked: ClassVar[list[Any]] = []

        def fill(self, fills: Any, contrasts: Any, **options: Any) -> list[np.ndarray]:
            self.asked.append((len(fills), options["tolerance"]))
            return [np.full_like(f.unit, (int(np.argmax(f.texture["FLAIR"])) + 0.5) / 8 - 1) for f in fills]

    even = {
        name: dict.fromkeys(("FLAIR", "T1", "T2"), np.full(64, value))
        for name, value in (("faint", -0.3), ("typical", 0.2), ("bright", 0.7))
    }
    monkeypatch.setattr(lefusion, "load_presets", lambda: {name: Preset(one, one) for name, one in even.items()})
    monkeypatch.setattr(lefusion.LesionModel, "from_pretrained", lambda: Listening())
    mask = np.zeros((16, 16, 16), bool)
    mask[5:10, 5:10, 5:10] = True
    monkeypatch.setattr(
        lefusion, "held_out_scans", lambda count: [(np.zeros((3, 16, 16, 16), np.float32), mask)] * count
    )
    found = lefusion.textures([0, 1, 2, 3, 4])
    assert found["nearest"] == Interval(1.0, 1.0, 1.0) and found["correlation"].value == pytest.approx(1)
    assert found["guided_nearest"] == Interval(1.0, 1.0, 1.0)
    plain = [count for count, tolerance in Listening.asked if tolerance is None]
    guided = [tolerance for _, tolerance in Listening.asked if tolerance is not None]
    assert plain == [12] * 5  # the claim is measured on the plain method
    assert len(guided) == 5 and all(0 < one["FLAIR"] < 0.02 for one in guided)
    assert (
        found["nearest_shuffled"].value < 0.7 and found["lesions"] == 60 and found["baseline"] == pytest.approx(1 / 3)
    )


def test_the_threshold_of_the_entry_is_the_one_that_is_judged() -> None:
    assert paper("lefusion").threshold == lefusion.LEAST
