"""Cards: curves, weights of layers, and what they refuse."""

from __future__ import annotations

import pytest
import torch

from shared.adapters.card import Card, Curve
from shared.errors import UserError
from tests.shared.adapters.backbones import backbone


def at(curve: Curve, *places: float) -> list[float]:
    return curve.at(torch.tensor(places, dtype=torch.float64)).tolist()


def test_a_curve_is_linear_between_its_points_and_constant_beyond():
    curve = Curve(((0.2, 1.0), (0.6, 0.0), (0.8, 0.5)))
    assert at(curve, 0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 1.0) == pytest.approx([1, 1, 0.5, 0, 0.25, 0.5, 0.5])
    assert curve.constant is None and Curve(((0.5, 2.0),)).constant == 2.0


def test_a_window_has_sharp_edges():
    assert at(Curve.window(0.25, 0.75, 2.0), 0.0, 0.249, 0.25, 0.749, 0.75, 1.0) == [0, 0, 2, 2, 0, 0]
    assert at(Curve.window(0.0, 0.5), 0.0, 0.49, 0.5) == [1, 1, 0]
    assert at(Curve.window(0.5, 1.0), 0.0, 0.5, 1.0) == [0, 1, 1]
    assert Curve.window(0.0, 1.0, 0.7).constant == 0.7


@pytest.mark.parametrize("points", [(), ((0.5, 1.0), (0.2, 1.0)), ((0.0, 1.0), (1.5, 0.0)), ((0.0, float("nan")),)])
def test_points_that_make_no_curve_are_refused(points):
    with pytest.raises(UserError, match="strength: "):
        Curve(points)


def test_a_number_is_a_constant_curve():
    card = Card(backbone("unet").lora(), strength=0.5)
    assert card.curve == Curve(((0.0, 0.5),))


def test_weights_by_pattern_by_number_and_by_decay():
    lora = backbone("unet").lora()
    names = ["a.1", "a.2", "b.1"]
    assert Card(lora, layers={"*": 0.5, "a.*": 1.0, "a.2": 0.0}).weights(names) == {"a.1": 1, "a.2": 0, "b.1": 0.5}
    assert Card(lora, layers=(1.0, 0.0, 2.0)).weights(names) == {"a.1": 1, "a.2": 0, "b.1": 2}
    published = list(Card(lora, layers="prompt").weights([f"{i}" for i in range(13)]).values())
    assert published == pytest.approx([0.825 ** (12 - i) for i in range(13)])
    with pytest.raises(UserError, match="2 weights for 3 sites; give 3"):
        Card(lora, layers=(1.0, 0.0)).weights(names)
    with pytest.raises(UserError, match=r"\['c\*'\] fit none of the adapter's 3 sites"):
        Card(lora, layers={"c*": 1.0}).weights(names)


def test_conditions_regions_branches_and_rows_that_do_not_fit_are_refused():
    made = backbone("dit")
    control, lora, hint = made.control(), made.lora(), made.hints()["hint"]
    with pytest.raises(UserError, match=r"the condition has \[\], ControlNet wants \['hint'\]"):
        Card(control)
    with pytest.raises(UserError, match=r"the condition has \['hint'\], LoRA wants \[\]"):
        Card(lora, {"hint": hint})
    with pytest.raises(UserError, match=r"the region has shape \(1, 2, 8, 8\)"):
        Card(lora, region=torch.ones(1, 2, 8, 8))
    with pytest.raises(UserError, match="values 0 to 2"):
        Card(lora, region=torch.tensor([0.0, 2.0]).reshape(1, 1, 1, 2))
    with pytest.raises(UserError, match="choose both or cond"):
        Card(lora, branches="null")
    with pytest.raises(UserError, match="name prompt"):
        Card(lora, layers="style")
    with pytest.raises(UserError, match=r"condition and region have \[2, 3\] rows"):
        Card(control, {"hint": hint}, region=torch.ones(3, 1, 8, 8))
    with made.host.attached([Card(control, {"hint": hint}, strength=1.0)]) as adapted:
        assert adapted.network is made.network
    with (
        pytest.raises(UserError, match=r"the hint has shape \(2, 3, 8, 8\); pass \(rows, 1, and 2 spatial axes\)"),
        made.host.attached([Card(control, {"hint": hint.expand(2, 3, 8, 8)})]),
    ):
        pass


def test_an_adapter_on_another_network_is_refused():
    small, other = backbone("unet"), backbone("unet2d")
    lora = other.lora()
    with pytest.raises(UserError, match="has no site"), small.host.attached([Card(lora)]):
        pass
    with small.host.attached([Card(small.lora())]), pytest.raises(UserError, match="has adapters in place"):
        small.control()
