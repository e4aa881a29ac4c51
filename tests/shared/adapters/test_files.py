"""Adapter files: they come back as they went in, and belong to the base they were made for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.adapters import files
from shared.adapters.adapter import Adapter
from shared.adapters.card import Card
from shared.adapters.controlnet import ControlNet, ControlNetConfig
from shared.adapters.diffusers_controlnet import StockControlNet
from shared.adapters.host import host_of
from shared.errors import UserError
from tests.shared.adapters.backbones import MAKERS, Backbone, adapter_of, backbone, stirred
from tests.shared.test_checkpoints import CARD


@pytest.fixture
def dit() -> Backbone:
    return backbone("dit")


@pytest.mark.parametrize("name", list(MAKERS))
@pytest.mark.parametrize("kind", ["control", "lora"])
def test_an_adapter_comes_back_as_it_went_in_on_every_host(name, kind, tmp_path):
    made = backbone(name)
    adapter, condition = adapter_of(kind, made)
    stirred(adapter)
    path = tmp_path / "adapter.safetensors"
    if isinstance(adapter, StockControlNet):
        with pytest.raises(UserError, match=r"adapter\.safetensors: a ControlNetModel .*save_pretrained\(folder\)"):
            files.save(path, adapter, made.host, CARD)
        assert not list(tmp_path.iterdir())
        back: Adapter = as_the_refusal_says(adapter, tmp_path)
    else:
        card = files.save(path, adapter, made.host, CARD, dtype=torch.float32)
        back, read = files.load(path, made.host)
        assert read == json.loads(json.dumps(card)) and not back.training
        assert read["base"]["class"] == type(made.network).__name__
    outputs = []
    for one in (back, adapter):
        with made.host.attached([Card(one, condition)]) as adapted:
            outputs.append(made.run(adapted))
    assert torch.equal(*outputs) and not torch.equal(outputs[0], made.run())


def as_the_refusal_says(adapter: StockControlNet, folder: Path) -> StockControlNet:
    network: Any = adapter.network
    network.save_pretrained(folder)
    return StockControlNet(type(network).from_pretrained(folder, low_cpu_mem_usage=False))


def test_a_base_that_went_through_half_precision_is_the_same_base(dit, tmp_path):
    path = tmp_path / "adapter.safetensors"
    files.save(path, stirred(dit.lora()), dit.host, CARD)
    dit.network.half().float()
    assert files.load(path, dit.host)[1]["name"] == CARD["name"]


def test_other_weights_another_configuration_and_another_class_are_refused(dit, tmp_path):
    path = tmp_path / "adapter.safetensors"
    adapter = dit.control()
    files.save(path, adapter, dit.host, CARD)
    other = backbone("dit")
    with torch.no_grad():
        other.network.get_parameter("head.bias").add_(1)
    with pytest.raises(UserError, match=r"was made for weights [0-9a-f]{12}, these are [0-9a-f]{12}; use the base"):
        files.load(path, other.host)
    card = json.loads(path.with_suffix(".json").read_text())
    card["base"]["config"]["layers"] = 4
    path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(UserError, match=r"was made for a DiT with layers 4 \(here 3\)"):
        files.load(path, dit.host)
    with pytest.raises(UserError, match="was made for a DiT, this is a UNet"):
        files.load(path, backbone("unet").host)


def test_a_changed_file_and_a_checkpoint_of_a_network_are_refused(dit, tmp_path):
    from shared import checkpoints

    path = tmp_path / "adapter.safetensors"
    files.save(path, dit.lora(), dit.host, CARD)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="sha256"):
        files.load(path, dit.host)
    checkpoints.save(path, dit.network, CARD)
    with pytest.raises(UserError, match="holds 'dit', which is no adapter"):
        files.load(path, dit.host)


def test_the_number_of_copied_blocks_is_kept(dit, tmp_path):
    path = tmp_path / "adapter.safetensors"
    adapter = ControlNet(host_of(dit.network), ControlNetConfig(channels=1, width=8, blocks=2))
    files.save(path, adapter, dit.host, CARD)
    back, _ = files.load(path, dit.host)
    assert back.sites(dit.host) == ("block.0", "block.1")
    with pytest.raises(UserError, match="9 of 3 blocks"):
        ControlNet(host_of(dit.network), ControlNetConfig(blocks=9))
