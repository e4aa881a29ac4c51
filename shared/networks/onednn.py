"""A 3-d convolution of one volume on a CPU, five times faster: oneDNN where torch would take its plain loop.

torch chooses between the two by batch and by batch x channels x depth x height (at::native, ConvParams::use_mkldnn); a
single volume of 32 voxels an edge stays below its limit and is unfolded in memory instead, though oneDNN is the faster
one at every size. The two differ by rounding. Training, with its batches and gradients, is left as it is.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class Conv3d(nn.Conv3d):
    """`nn.Conv3d`; without gradients, in float32 on a CPU that has oneDNN, by oneDNN whatever the size."""

    def forward(self, input: Tensor) -> Tensor:
        if not self._direct(input):
            return super().forward(input)
        options = (self.padding, self.stride, self.dilation, self.groups)
        out: Tensor = torch.ops.aten.mkldnn_convolution(input, self.weight, self.bias, *options)
        return out

    def _direct(self, x: Tensor) -> bool:
        plain = x.ndim == 5 and x.device.type == "cpu" and x.dtype == self.weight.dtype == torch.float32
        simple = self.padding_mode == "zeros" and not isinstance(self.padding, str)
        free = not (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling())
        return (
            plain and simple and free and torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled)
        )


def prefer_onednn(network: Network) -> Network:
    """The same network, parameters and names, whose 3-d convolutions are the class above from here on."""
    for module in network.modules():
        if type(module) is nn.Conv3d:
            module.__class__ = Conv3d
    return network
