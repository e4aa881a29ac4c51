"""Low-rank updates: attached or merged they are the same, and merging can be undone to the bit."""

from __future__ import annotations

import pytest
import torch

from shared.adapters.card import Card
from shared.adapters.lora import LoRA, LoRAConfig
from shared.errors import UserError
from tests.shared.adapters.backbones import MAKERS, Backbone, backbone, stirred

EVERYWHERE = LoRAConfig(rank=2, alpha=3.0, targets=("*",))


@pytest.fixture(scope="module", params=list(MAKERS))
def made(request) -> Backbone:
    return backbone(request.param)


def test_on_every_layer_convolutions_included_merged_equals_attached(made):
    lora = stirred(LoRA(made.host, EVERYWHERE))
    base = made.run()
    with made.host.attached([Card(lora, strength=0.3)]) as adapted:
        attached = made.run(adapted)
    weights = {name: value.clone() for name, value in made.network.state_dict().items()}
    undo = lora.merge(made.host, strength=0.3)
    torch.testing.assert_close(made.run(), attached, rtol=2e-3, atol=2e-3)
    assert float((attached - base).abs().max()) > 0.05
    undo()
    assert all(torch.equal(value, weights[name]) for name, value in made.network.state_dict().items())
    assert torch.equal(made.run(), base)


def test_the_update_is_alpha_over_rank_times_up_down():
    made = backbone("unet")
    lora = stirred(LoRA(made.host, LoRAConfig(rank=2, alpha=3.0, targets=("stem", "*.qkv"), ranks={"stem": 1})))
    assert lora.paths == ("stem", "down.1.attention.qkv", "mid.attention.qkv")
    qkv, stem = lora.update("mid.attention.qkv"), lora.update("stem")
    torch.testing.assert_close(qkv.weight, 1.5 * qkv.up @ qkv.down)
    want = 3.0 * torch.einsum("or,rikl->oikl", stem.up[:, :, 0, 0], stem.down)
    torch.testing.assert_close(stem.weight, want)
    assert stem.down.shape == (1, 3, 3, 3) and stem.up.shape == (8, 1, 1, 1)


def test_nothing_is_merged_under_attached_adapters_and_nothing_where_no_layer_fits():
    made = backbone("unet")
    lora = made.lora()
    with made.host.attached([Card(lora)]), pytest.raises(UserError, match="has adapters in place"):
        lora.merge(made.host)
    with pytest.raises(UserError, match=r"\['\*\.nothing'\] fit none of the"):
        LoRA(made.host, LoRAConfig(targets=("*.nothing",)))
    with pytest.raises(UserError, match="a rank is 0"):
        LoRAConfig(rank=0)
