"""Our networks against those of diffusers and MONAI: the same architecture, the same weights, forward and train step.

Ours is made from theirs by shared/interop, so parameters are equal and outputs agree, or nothing is recorded. Every
peer is timed as it comes and in channels_last, and the fastest of them is what ours is compared with. One thread;
rounds of all are interleaved and medians compared. The clock is the processor time of the process, which on one thread
is the time on an idle machine: what else runs is not counted. Writes docs/measured/networks.json.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.interop.diffusers_networks import network_from_diffusers
from shared.interop.monai_networks import from_monai_unet
from shared.measured import record
from shared.networks.tokens import TokenAttention
from shared.precision import fast_dtype

ROUNDS = 5
Call = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """An architecture: our network, its peers by name, how each is called, and the size of a state."""

    name: str
    ours: nn.Module
    peers: Mapping[str, nn.Module]
    shape: tuple[int, ...]

    def calls(self) -> dict[str, tuple[nn.Module, Call]]:
        """Everybody, ours first; every peer twice, the second time in channels_last."""
        cond = {"class_labels": 0} if "DiT" in self.name else {}
        found: dict[str, tuple[nn.Module, Call]] = {}

        def labels(x: Tensor) -> dict[str, Tensor]:
            return {name: torch.zeros(x.shape[0], dtype=torch.int64) for name in cond}

        found["ours"] = (self.ours, lambda x, t: self.ours(x, t, labels(x)))
        layout: Any = torch.channels_last if len(self.shape) == 3 else torch.channels_last_3d
        for name, network in self.peers.items():

            def call(x: Tensor, t: Tensor, network: nn.Module = network) -> Tensor:
                said = network(x, t, **labels(x))
                return said if isinstance(said, Tensor) else said.sample

            def laid_out(x: Tensor, t: Tensor, call: Call = call) -> Tensor:
                return call(x.contiguous(memory_format=layout), t)

            found[name] = (network, call)
            if "DiT" not in self.name:
                found[f"{name}, channels_last"] = (network, laid_out)
        return found


def stirred(network: Any) -> Any:
    """No parameter at zero, so that no branch is closed; in eval mode, since theirs drops labels when it trains."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return network.eval()


def unets_2d(name: str, channels: tuple[int, ...], edge: int) -> Case:
    import diffusers
    from monai.networks.nets import DiffusionModelUNet

    last = len(channels) - 1
    down = tuple("AttnDownBlock2D" if level == last else "DownBlock2D" for level in range(last + 1))
    up = tuple("AttnUpBlock2D" if level == 0 else "UpBlock2D" for level in range(last + 1))
    common: dict[str, Any] = {"in_channels": 3, "out_channels": 3, "norm_num_groups": 8, "norm_eps": 1e-5}
    first: Any = diffusers.UNet2DModel(
        sample_size=edge,
        block_out_channels=channels,
        down_block_types=down,
        up_block_types=up,
        layers_per_block=2,
        attention_head_dim=32,
        **common,
    )
    attention = tuple(level == last for level in range(last + 1))
    second = DiffusionModelUNet(
        2, channels=channels, attention_levels=attention, num_res_blocks=2, num_head_channels=32, **common
    )
    return Case(name, network_from_diffusers(stirred(first)), {"diffusers": first, "MONAI": second}, (3, edge, edge))


def unet_3d(name: str, channels: tuple[int, ...], edge: int) -> Case:
    from monai.networks.nets import DiffusionModelUNet

    attention = tuple(level == len(channels) - 1 for level in range(len(channels)))
    theirs = DiffusionModelUNet(
        3,
        1,
        1,
        channels=channels,
        attention_levels=attention,
        num_res_blocks=1,
        norm_num_groups=8,
        num_head_channels=16,
    )
    return Case(name, from_monai_unet(stirred(theirs)), {"MONAI": theirs}, (1, edge, edge, edge))


def dit(name: str, heads: int) -> Case:
    import diffusers

    theirs: Any = diffusers.DiTTransformer2DModel(
        heads, 32, 3, num_layers=6, sample_size=32, patch_size=4, num_embeds_ada_norm=10
    )
    stirred(theirs)
    first = theirs.transformer_blocks[0].norm1.emb.state_dict()
    for block in theirs.transformer_blocks:
        block.norm1.emb.load_state_dict(first)
    return Case(name, network_from_diffusers(theirs), {"diffusers": theirs}, (3, 32, 32))


def cases() -> Iterator[Case]:
    """Every architecture in two sizes, one after the other: the first is gone when the next is made."""
    yield dit("DiT, 192 wide", 6)
    yield dit("DiT, 384 wide", 12)
    yield unets_2d("U-Net, 16² pixels", (32, 64), 16)
    yield unets_2d("U-Net, 32² pixels", (32, 64, 64), 32)
    yield unet_3d("U-Net, 8³ voxels", (16, 32), 8)
    yield unet_3d("U-Net, 16³ voxels", (16, 32, 32), 16)


# -------------------------------------------------------------------------------------------------------------- timing


def medians(runs: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Milliseconds of processor time of each, medians over interleaved rounds; the first round warms up."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(rounds + 1):
        for name, run in runs.items():
            start = time.process_time()
            run()
            if round_:
                taken[name].append((time.process_time() - start) * 1e3)
    return {name: statistics.median(values) for name, values in taken.items()}


def forward(call: Call, x: Tensor, t: Tensor, dtype: torch.dtype | None) -> Tensor:
    with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype is not None):
        return call(x, t)


def train(network: nn.Module, call: Call, x: Tensor, t: Tensor, dtype: torch.dtype | None) -> None:
    """Forward, backward and a plain step downhill, so small that outputs stay what they are."""
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        loss = F.mse_loss(call(x, t).float(), x)
    loss.backward()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=1e-12)
                parameter.grad = None


def compare(case: Case, rows: int, dtype: torch.dtype | None) -> list[list[Any]]:
    """Two rows of the table: forward and train step."""
    x, t = torch.randn(rows, *case.shape), torch.linspace(0, 999, rows)
    calls, out = case.calls(), []
    reference = forward(calls["ours"][1], x, t, None)
    first = next(iter(case.peers))
    torch.testing.assert_close(reference, forward(calls[first][1], x, t, None), rtol=1e-4, atol=1e-4)
    for what in ("forward", "train step"):

        def run(name: str, what: str = what) -> Callable[[], object]:
            network, call = calls[name]
            if what == "forward":
                return lambda: forward(call, x, t, dtype)
            return lambda: train(network, call, x, t, dtype)

        taken = medians({name: run(name) for name in calls})
        best = min((name for name in calls if name != "ours"), key=taken.__getitem__)
        word = "float32" if dtype is None else str(dtype).removeprefix("torch.")
        out.append([case.name, what, word, rows, taken["ours"], taken[best], best, taken["ours"] / taken[best]])
        print(f"{case.name:40} {what:11} {word:9} batch {rows}  ", end="")
        print("  ".join(f"{name} {value:.1f} ms" for name, value in taken.items()), flush=True)
    return out


def three_linears() -> float:
    """Query, key and value by three Linears over one fused Linear: ratio of a forward and backward of attention."""
    three, fused = TokenAttention(192, 6), nn.Linear(192, 576)
    x = torch.randn(16, 76, 192, requires_grad=True)

    def apart() -> None:
        three(x).sum().backward()

    def together() -> None:
        q, k, v = fused(x).unflatten(2, (3, 6, 32)).permute(2, 0, 3, 1, 4)
        three.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)).sum().backward()

    taken = medians({"apart": apart, "together": together}, 21)
    return taken["apart"] / taken["together"]


def main() -> None:
    """Time all architectures and record."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    dtypes = [None] if fast_dtype() is None else [None, fast_dtype()]  # elsewhere bfloat16 is emulated: no comparison
    rows: list[list[Any]] = []
    for case in cases():
        for batch in (1, 8):
            for dtype in dtypes:
                rows += compare(case, batch, dtype)
    columns = ["network", "what", "precision", "batch", "ours, ms", "best peer, ms", "best peer", "ratio"]
    record(
        "networks",
        {
            "speed": {"columns": columns, "rows": rows, "digits": 3},
            "worst_ratio": {"value": max(row[-1] for row in rows), "digits": 2},
            "median_ratio": {"value": statistics.median(row[-1] for row in rows), "digits": 2},
            "three_linears": {"value": three_linears(), "digits": 2},
        },
        command="make bench",
    )


if __name__ == "__main__":
    main()
