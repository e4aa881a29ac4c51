"""Seven tiny networks with a host, a call for each, and adapters to attach: what the contract tests run over.

Every parameter is stirred: zero-initialised layers would hide an adapter that is wired to the wrong place.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from shared.adapters.adapter import Adapter
from shared.adapters.controlnet import ControlNet, ControlNetConfig
from shared.adapters.host import Host, host_of
from shared.adapters.lora import LoRA, LoRAConfig
from shared.networks.dit import DiT, DiTConfig
from shared.networks.text import TextConfig
from shared.networks.unet import UNet, UNetConfig

ROWS = 2
WORDS = 3
WIDE = 32  # of the words that diffusers' networks are given


def stirred(module: nn.Module, seed: int = 1) -> Any:
    """The module with no parameter at zero, as after some training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def drawn(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Backbone:
    """A network, the tensors of a call (batch-first, ROWS rows), what else the call needs, and the size of a hint."""

    name: str
    network: nn.Module
    tensors: dict[str, Any]
    rest: dict[str, Any]
    hint: tuple[int, ...]
    call: Callable[..., Tensor]

    @property
    def host(self) -> Host:
        return host_of(self.network)

    def run(self, network: nn.Module | None = None, tensors: dict[str, Any] | None = None) -> Tensor:
        """What the network says, without gradients."""
        with torch.no_grad():
            return self.call(network or self.network, tensors or self.tensors, self.rest)

    def rows(self, index: list[int]) -> dict[str, Any]:
        """The tensors of some rows, in any order and number."""
        return {name: value[index] for name, value in self.tensors.items()}

    def control(self) -> ControlNet:
        return ControlNet(self.host, ControlNetConfig(channels=1, width=8))

    def lora(self, rank: int = 2) -> LoRA:
        return LoRA(self.host, LoRAConfig(rank=rank, alpha=3.0))

    def hints(self, rows: int = ROWS, seed: int = 3) -> dict[str, Tensor]:
        return {"hint": torch.rand(rows, 1, *self.hint, generator=torch.Generator().manual_seed(seed))}


def _ours(network: nn.Module, tensors: dict[str, Any], rest: dict[str, Any]) -> Tensor:
    cond = {name: value for name, value in tensors.items() if name not in ("x", "time")}
    return network(tensors["x"], tensors["time"], cond)


def _theirs(network: nn.Module, tensors: dict[str, Any], rest: dict[str, Any]) -> Tensor:
    return network(**tensors, **rest, return_dict=False)[0]


def unet() -> Backbone:
    config = UNetConfig(2, 3, 3, channels=(8, 16), blocks=1, groups=4, heads=2, attention=(1,), vectors={"v": 2})
    tensors = {"x": drawn(ROWS, 3, 8, 8), "time": torch.tensor([0.3, 0.8]), "v": drawn(ROWS, 2)}
    return Backbone("unet", stirred(UNet(config)), tensors, {}, (8, 8), _ours)


def dit(name: str = "dit", local: int | None = None) -> Backbone:
    text = TextConfig(vocabulary=10, length=WORDS, layers=1, heads=2)
    config = DiTConfig(2, 3, 3, width=32, layers=3, heads=2, patch=2, local=local, text=text)
    words = torch.tensor([[1, 2, 3], [4, 5, 0]])
    tensors = {"x": drawn(ROWS, 3, 8, 8), "time": torch.tensor([0.3, 0.8]), "text": words}
    return Backbone(name, stirred(DiT(config)), tensors, {}, (8, 8), _ours)


def dit_local() -> Backbone:
    """The same with a way at x's own resolution beside its tokens."""
    return dit("dit_local", 4)


def _latents(size: int) -> dict[str, Any]:
    words = drawn(ROWS, WORDS, WIDE, seed=4)
    return {
        "hidden_states": drawn(ROWS, 4, size, size),
        "timestep": torch.tensor([5.0, 9.0]),
        "encoder_hidden_states": words,
    }


def unet2d() -> Backbone:
    from diffusers import UNet2DConditionModel

    network = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDE,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    tensors = _latents(8)
    tensors["sample"] = tensors.pop("hidden_states")
    return Backbone("unet2d", stirred(network), tensors, {}, (8, 8), _theirs)


def pixart() -> Backbone:
    from diffusers import PixArtTransformer2DModel

    network = PixArtTransformer2DModel(
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=4,
        cross_attention_dim=WIDE,
        caption_channels=WIDE,
        in_channels=4,
        out_channels=4,
        sample_size=8,
        use_additional_conditions=False,
    )
    rest = {"added_cond_kwargs": {"resolution": None, "aspect_ratio": None}}
    return Backbone("pixart", stirred(network), _latents(8), rest, (8, 8), _theirs)


def sd3() -> Backbone:
    from diffusers import SD3Transformer2DModel

    network = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=WIDE,
        caption_projection_dim=32,
        pooled_projection_dim=64,
        pos_embed_max_size=32,
    )
    tensors = _latents(8) | {"pooled_projections": drawn(ROWS, 64)}
    return Backbone("sd3", stirred(network), tensors, {}, (8, 8), _theirs)


def flux() -> Backbone:
    from diffusers import FluxTransformer2DModel

    network = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDE,
        pooled_projection_dim=WIDE,
        axes_dims_rope=[4, 4, 8],
    )
    cells = torch.arange(16)
    tensors = _latents(4) | {"pooled_projections": drawn(ROWS, WIDE)}
    tensors["hidden_states"] = tensors["hidden_states"].flatten(2).transpose(1, 2)
    tensors["timestep"] = tensors["timestep"] / 1000
    rest = {"img_ids": torch.stack([0 * cells, cells // 4, cells % 4], 1).float(), "txt_ids": torch.zeros(WORDS, 3)}
    return Backbone("flux", stirred(network), tensors, rest, (4, 4), _theirs)


MAKERS = {
    "unet": unet,
    "dit": dit,
    "dit_local": dit_local,
    "unet2d": unet2d,
    "pixart": pixart,
    "sd3": sd3,
    "flux": flux,
}


def backbone(name: str) -> Backbone:
    """One of them, seeded; diffusers warns of its own deprecated parts while it is imported and used."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MAKERS[name]()


def adapter_of(kind: str, backbone: Backbone) -> tuple[Adapter, dict[str, Tensor]]:
    """An adapter as it starts, and a condition for it: "lora", or "control", which for diffusers' U-Net is its own."""
    torch.manual_seed(5)
    if kind == "lora":
        return backbone.lora(), {}
    if backbone.name != "unet2d":
        return backbone.control(), backbone.hints()
    from diffusers import ControlNetModel

    from shared.adapters.diffusers_controlnet import StockControlNet

    network: Any = backbone.network
    control = ControlNetModel.from_unet(network, conditioning_channels=1, conditioning_embedding_out_channels=(8, 16))
    return StockControlNet(control), {"image": torch.rand(ROWS, 1, 16, 16, generator=torch.Generator().manual_seed(3))}
