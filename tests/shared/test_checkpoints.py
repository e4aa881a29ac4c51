"""Checkpoints: what goes in comes out, and whatever does not fit, was changed or is incomplete is refused whole."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import checkpoints
from shared.errors import UserError
from shared.networks.unet import UNet, UNetConfig

torch.set_num_threads(1)

CARD = {
    "name": "test",
    "recipe": "shared/test",
    "data": [{"name": "squares", "licence": "CC0-1.0", "attribution": "made here"}],
    "licence": "Apache-2.0",
    "minutes": 1.5,
    "metrics": {"loss": {"value": 0.2, "floor": 1.0, "ceiling": 0.1}},
}


def make(**options) -> UNet:
    config = {"dims": 2, "in_channels": 1, "out_channels": 1, "channels": (8, 16), "blocks": 1, "vectors": {"v": 2}}
    network = UNet(UNetConfig(**config | options))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.1)
    return network.eval()


@pytest.fixture
def saved(tmp_path):
    network = make()
    path = tmp_path / "net.safetensors"
    checkpoints.save(path, network, CARD)
    return path, network


def edit(path, **changes):
    card = path.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | changes))


def test_weights_and_configuration_come_back_as_they_went_in(saved):
    path, network = saved
    back, card = checkpoints.load(path, recipe="shared/test")
    assert back.config == network.config and not back.training
    for name, value in network.state_dict().items():
        assert torch.equal(back.state_dict()[name], value.half().float()), name
    x = torch.randn(1, 1, 8, 8)
    assert torch.isfinite(back(x, torch.zeros(1), {})).all() and next(back.parameters()).requires_grad
    assert {*CARD, "network", "parameters", "dtype", "sha256", "created", "version"} == set(card)


def test_float32_is_exact(tmp_path):
    network = make()
    checkpoints.save(tmp_path / "net.safetensors", network, CARD, dtype=torch.float32)
    back, _ = checkpoints.load(tmp_path / "net.safetensors")
    x, t = torch.randn(1, 1, 8, 8), torch.ones(1)
    assert torch.equal(back(x, t, {}), network(x, t, {}))


def test_the_same_weights_make_the_same_file(saved, tmp_path):
    path, network = saved
    checkpoints.save(tmp_path / "again.safetensors", network, CARD)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_a_good_checkpoint_verifies_and_a_missing_one_says_so(saved, tmp_path):
    assert checkpoints.verify(saved[0]).ok
    report = checkpoints.verify(tmp_path / "none.safetensors")
    assert not report.ok and "there is no such file" in report.message


@given(place=st.integers(0, 10**9), value=st.integers(1, 255))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_anywhere_is_found(saved, place, value):
    path, _ = saved
    good = path.read_bytes()
    bad = bytearray(good)
    bad[place % len(bad)] ^= value
    path.write_bytes(bad)
    report = checkpoints.verify(path)
    path.write_bytes(good)
    assert not report.ok and "sha256" in report.message


def test_a_cut_file_with_a_matching_hash_is_still_refused(saved):
    path, _ = saved
    path.write_bytes(path.read_bytes()[:100])
    edit(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        checkpoints.load(path)


def test_a_partial_match_is_refused_with_the_list_and_changes_nothing():
    network, other = make(), make(channels=(8, 24), vectors={"w": 2})
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(UserError) as caught:
        checkpoints.place(network, other.state_dict(), where="adapter.safetensors")
    sentence = str(caught.value)
    assert "5 missing: " in sentence and "vectors.v.0.weight" in sentence
    assert "5 unexpected: " in sentence and "vectors.w.0.weight" in sentence
    assert "down.1.blocks.0.norm_in.weight ((24,), not (16,))" in sentence and "and 18 more" in sentence
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"network": {"kind": "os.system", "config": {}}},
            r"kind 'os.system'; use a checkpoint of \['classic_unet', 'dit', .*'unet'.*\]",
        ),
        ({"network": {"kind": "unet", "config": {"dims": 2}}}, "does not describe a network"),
        ({"network": {"kind": "unet", "config": {"dims": 7, "in_channels": 1, "out_channels": 1}}}, "not 7"),
        ({"network": {"kind": "unet", "config": {"colour": "red"}}}, "colour"),
        ({"network": "unet"}, "is no checkpoint card"),
        ({"sha256": None}, "is no checkpoint card"),
        ({"parameters": "many"}, "is no checkpoint card"),
        ({"recipe": "medical/lesions"}, "made by the recipe 'medical/lesions', not 'shared/test'"),
    ],
)
def test_a_card_that_does_not_belong_is_refused(saved, changes, sentence):
    edit(saved[0], **changes)
    with pytest.raises(UserError, match=sentence):
        checkpoints.load(saved[0], recipe="shared/test")


@pytest.mark.parametrize("text", ["", "[1]", "{", '"x"', "{}", "\x00"])
def test_a_damaged_card_is_one_sentence(saved, text):
    saved[0].with_suffix(".json").write_text(text)
    report = checkpoints.verify(saved[0])
    assert not report.ok and "is no checkpoint card" in report.message


def test_the_weights_of_another_configuration_are_refused(saved, tmp_path):
    path, _ = saved
    other = make(channels=(8, 24))
    checkpoints.save(tmp_path / "other.safetensors", other, CARD)
    edit(path, network=json.loads((tmp_path / "other.json").read_text())["network"])
    with pytest.raises(UserError, match=r"does not fit the network .*misshaped"):
        checkpoints.load(path)


@pytest.mark.parametrize("lost", checkpoints.FROM_THE_AUTHOR)
def test_an_incomplete_card_is_not_written(tmp_path, lost):
    with pytest.raises(UserError, match=f"the card lacks {lost}"):
        checkpoints.save(tmp_path / "net.safetensors", make(), {k: v for k, v in CARD.items() if k != lost})
    assert os.listdir(tmp_path) == []


def test_data_without_licence_and_attribution_is_not_written(tmp_path):
    with pytest.raises(UserError, match="licence and attribution"):
        checkpoints.save(tmp_path / "net.safetensors", make(), CARD | {"data": [{"name": "found somewhere"}]})
    assert os.listdir(tmp_path) == []


def test_weights_that_half_precision_cannot_hold_are_not_written(tmp_path):
    network = make()
    with torch.no_grad():
        network.head.bias.fill_(1e6)
    with pytest.raises(UserError, match=r"\['head.bias'\] are not finite in float16"):
        checkpoints.save(tmp_path / "net.safetensors", network, CARD)
    assert os.listdir(tmp_path) == []


def test_more_than_fifteen_mebibytes_are_not_written(tmp_path):
    network = make(dims=3, channels=(48, 192), blocks=4)
    with pytest.raises(UserError, match=r"MiB of weights, 15 are allowed"):
        checkpoints.save(tmp_path / "net.safetensors", network, CARD)
    assert os.listdir(tmp_path) == []


def test_a_file_that_is_too_large_is_refused_before_it_is_read(saved):
    with saved[0].open("r+b") as file:
        file.truncate(checkpoints.LARGEST + 1)
    with pytest.raises(UserError, match=r"15\.0 MiB, 15 are allowed"):
        checkpoints.load(saved[0])


def test_a_full_disk_leaves_the_old_checkpoint_untouched(saved, monkeypatch):
    path, _ = saved
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match=r"cannot be written \(No space left"):
        checkpoints.save(path, make(), CARD)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
