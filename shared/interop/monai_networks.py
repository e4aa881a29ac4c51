"""Weights of MONAI's DiffusionModelUNet in our classical U-Net: the same outputs, our conditions, sites and speed.

    network = from_monai_unet(DiffusionModelUNet(...))            a network at hand
    network = monai_unet({"spatial_dims": 3, ...}, tensors)       the options of a bundle, and its weights

Options are those of DiffusionModelUNet's constructor. Its class_labels and context become conditions of the same names;
where MONAI's attention falls back on itself without a context, ours reads a null of zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from shared.checkpoints import place
from shared.errors import UserError
from shared.interop.renaming import Rules, geometric, refuse, refuse_unless, renamed, with_null_row
from shared.networks.classic_unet import ClassicUNet, ClassicUNetConfig

WHERE = "DiffusionModelUNet"
# The constructor's options and defaults, in its order.
DEFAULTS: dict[str, Any] = {
    "spatial_dims": None,
    "in_channels": None,
    "out_channels": None,
    "num_res_blocks": (2, 2, 2, 2),
    "channels": (32, 64, 64, 64),
    "attention_levels": (False, False, True, True),
    "norm_num_groups": 32,
    "norm_eps": 1e-6,
    "resblock_updown": False,
    "num_head_channels": 8,
    "with_conditioning": False,
    "transformer_num_layers": 1,
    "cross_attention_dim": None,
    "num_class_embeds": None,
    "upcast_attention": False,  # this and the last three say how, not what, is computed
    "dropout_cattn": 0.0,
    "include_fc": True,
    "use_combined_linear": False,
    "use_flash_attention": False,
}
ACCEPTED: dict[str, tuple[Any, ...]] = dict.fromkeys(DEFAULTS, ()) | {"spatial_dims": (2, 3), "dropout_cattn": (0.0,)}
RULES: Rules = (
    (r"^conv_in\.conv\.", "stem."),
    (r"^time_embed\.0\.", "time.first."),
    (r"^time_embed\.2\.", "time.second."),
    (r"^class_embedding\.", "classes.class_labels."),
    (r"^out\.0\.", "norm."),
    (r"^out\.2\.conv\.", "head."),
    (r"^middle_block\.resnet_1\.", "mid.blocks.0."),
    (r"^middle_block\.attention\.", "mid.attentions.0."),
    (r"^middle_block\.resnet_2\.", "mid.blocks.1."),
    (r"^(down|up)_blocks\.", r"\1."),
    (r"\.(downsampler\.op|upsampler\.postconv|downsampler|upsampler)\.", ".sample."),
    (r"\.attn\.to_([qkv])\.", r".attention.\1."),
    (r"\.attn\.out_proj\.", ".attention.out."),
    (r"\.proj_in\.conv\.", ".enter."),
    (r"\.proj_out\.conv\.", ".out."),
    (r"\.transformer_blocks\.(\d+)\.norm1\.", r".blocks.\1.norm_self."),
    (r"\.transformer_blocks\.(\d+)\.norm2\.", r".blocks.\1.norm_context."),
    (r"\.transformer_blocks\.(\d+)\.norm3\.", r".blocks.\1.norm_mlp."),
    (r"\.transformer_blocks\.", ".blocks."),
    (r"\.attn1\.to_([qkv])\.", r".attention.\1."),
    (r"\.attn1\.out_proj\.", ".attention.out."),
    (r"\.attn2\.to_([qkv])\.", r".context.\1."),
    (r"\.attn2\.out_proj\.", ".context.out."),
    (r"\.ff\.linear1\.", ".enter."),
    (r"\.ff\.linear2\.", ".out."),
    (r"\.resnets\.", ".blocks."),
    (r"\.norm1\.", ".norm_in."),
    (r"\.conv1\.conv\.", ".conv_in."),
    (r"\.time_emb_proj\.", ".modulation."),
    (r"\.norm2\.", ".norm_out."),
    (r"\.conv2\.conv\.", ".conv_out."),
    (r"\.skip_connection\.conv\.", ".shortcut."),
)


def from_monai_unet(network: nn.Module) -> ClassicUNet:
    """Our network with the weights of a DiffusionModelUNet; copies, in float32, in eval mode."""
    if type(network).__name__ != WHERE:
        raise UserError(f"is a {type(network).__name__}", where="network", remedy=f"pass a {WHERE} of MONAI")
    return monai_unet(_options_of(network), network.state_dict())


def monai_unet(options: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ClassicUNet:
    """Our network of a DiffusionModelUNet's options with its weights (state_dict); copies, in float32, in eval mode.

    Raises UserError for an option that has no counterpart, and for weights that are not of these options.
    """
    refuse_unless(options, ACCEPTED, where=WHERE)
    missing = [name for name in ("spatial_dims", "in_channels", "out_channels") if options.get(name) is None]
    if missing:
        raise UserError(f"{missing} not given", where=WHERE, remedy="pass the options of the constructor")
    config = _config({**DEFAULTS, **options})
    network = ClassicUNet(config)
    given = _whole_attention(dict(tensors), config)
    place(network, given | _null_of(network), where=WHERE)
    return network.eval()


def _config(options: Mapping[str, Any]) -> ClassicUNetConfig:
    channels = tuple(options["channels"])
    levels = [bool(attends) for attends in options["attention_levels"]]
    blocks, heads = options["num_res_blocks"], options["num_head_channels"]
    if isinstance(blocks, int):
        blocks = (blocks,) * len(channels)
    if isinstance(heads, int):
        heads = (heads,) * len(channels)
    if len(levels) != len(channels):
        refuse("attention_levels", tuple(levels), where=WHERE, remedy=f"give one a level, {len(channels)} of them")
    # A level without attention has heads that nothing reads; the middle reads the last.
    heads = [
        head if attends or level == len(channels) - 1 else 0
        for level, (head, attends) in enumerate(zip(heads, levels, strict=True))
    ]
    for width, head in zip(channels, heads, strict=True):
        if head and width % head:
            refuse("num_head_channels", head, where=WHERE, remedy=f"choose a divisor of {width}")
    classes = options["num_class_embeds"]
    return ClassicUNetConfig(
        dims=options["spatial_dims"],
        in_channels=options["in_channels"],
        out_channels=options["out_channels"],
        channels=channels,
        blocks=tuple(blocks),
        attention=tuple(level for level, attends in enumerate(levels) if attends),
        head_channels=tuple(heads),
        groups=options["norm_num_groups"],
        eps=options["norm_eps"],
        resample="block" if options["resblock_updown"] else "convolution",
        classes={} if classes is None else {"class_labels": classes},
        context=options["cross_attention_dim"] if options["with_conditioning"] else None,
        context_layers=options["transformer_num_layers"],
        time_frequencies=geometric(channels[0]),
    )


def _options_of(network: Any) -> dict[str, Any]:
    """The constructor's options, read back from the network they made."""
    weight, norm, middle = network.conv_in.conv.weight, network.out[0], network.middle_block.attention
    options = {
        "spatial_dims": weight.ndim - 2,
        "in_channels": network.in_channels,
        "out_channels": network.out_channels,
        "num_res_blocks": tuple(network.num_res_blocks),
        "channels": tuple(network.block_out_channels),
        "attention_levels": tuple(network.attention_levels),
        "norm_num_groups": norm.num_groups,
        "norm_eps": norm.eps,
        "resblock_updown": network.down_blocks[0].resblock_updown,
        "num_head_channels": tuple(network.num_head_channels),
        "with_conditioning": network.with_conditioning,
        "num_class_embeds": network.num_class_embeds,
    }
    if network.with_conditioning:
        first = middle.transformer_blocks[0]
        options["transformer_num_layers"] = len(middle.transformer_blocks)
        options["cross_attention_dim"] = first.attn2.to_k.in_features
        options["dropout_cattn"] = first.attn1.dropout_rate
    return options


def _whole_attention(tensors: dict[str, Tensor], config: ClassicUNetConfig) -> dict[str, Tensor]:
    """Our names; a fused query, key and value taken apart, and a projection out where the network has none."""
    for name in [name for name in tensors if ".qkv." in name]:
        for part, value in zip("qkv", tensors.pop(name).chunk(3), strict=True):
            tensors[name.replace(".qkv.", f".to_{part}.")] = value
    for name in [name for name in tensors if name.endswith((".proj_in.conv.weight", ".proj_out.conv.weight"))]:
        tensors[name] = tensors[name].flatten(1)  # 1 x 1 convolutions are linear layers of ours
    for name in [name for name in tensors if name.endswith((".attn.to_q.weight", ".attn1.to_q.weight"))]:
        out = name.replace(".to_q.", ".out_proj.")
        if out not in tensors:
            tensors[out] = torch.eye(tensors[name].shape[0])
            tensors[out.replace("weight", "bias")] = torch.zeros(tensors[name].shape[0])
    classes = "class_embedding.weight"
    if config.classes and classes in tensors:
        tensors[classes] = with_null_row(tensors[classes])
    return renamed(tensors, RULES)


def _null_of(network: ClassicUNet) -> dict[str, Tensor]:
    return {} if network.null_context is None else {"null_context": torch.zeros_like(network.null_context)}
