"""A convolutional way beside the tokens of a transformer, for detail smaller than a patch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from shared.networks.layers import (
    CONVOLUTIONS,
    GroupNorm,
    ResidualBlock,
    Upsample,
    convolution,
    depth_to_space,
    space_to_depth,
    zero,
)

GROUPS = 8  # of the norms, or as many as divide the channels


class LocalWay(nn.Module):
    """A convolutional way from x to the answer that reads into the tokens and refines what they say, so that detail
    smaller than a patch need not pass through them.

    f_0 = enter(x);   f_k+1 = coarser(down(f_k));   tokens += read(patches of silu(f_K));   g = patches of write(tokens)
    g_k = up(f_k + g), g = finer(g_k) from K to 0;   answer += leave(silu(norm(g_0)))

    The long skips and the convolution at the end are those of U-ViT (Bao et al. 2023), where both lower the FID of
    pictures; the blocks are those of the U-Net, one a level and direction (one level alone has none on the way down).
    `read` and `leave` start at zero: the way can be added to a network that is trained already, which says at first
    what it said before.
    """

    def __init__(
        self, widths: Sequence[int], patch: Sequence[int], *, c_in: int, c_out: int, token: int, embedding: int
    ) -> None:
        """widths of the levels, finest first; patch of x a token; channels of x, answer, tokens and embedding."""
        super().__init__()
        dims = len(patch)
        self.patch = tuple(p // 2 ** (len(widths) - 1) for p in patch)  # on the coarsest level
        steps = list(zip(widths, widths[1:], strict=False))

        def block(c: int) -> ResidualBlock:
            return ResidualBlock(dims, c, embedding, groups=math.gcd(GROUPS, c), dropout=0.0, factorised=False)

        self.enter = convolution(dims, c_in, widths[0])
        self.down = nn.ModuleList(block(c) for c in widths if steps)
        self.coarser = nn.ModuleList(CONVOLUTIONS[dims](c, below, 2, stride=2) for c, below in steps)
        self.read = nn.Linear(widths[-1] * math.prod(self.patch), token)
        self.write = nn.Linear(token, widths[-1] * math.prod(self.patch))
        self.up = nn.ModuleList(block(c) for c in widths)
        self.finer = nn.ModuleList(Upsample(dims, below, c, (2,) * dims) for c, below in steps)
        self.norm = GroupNorm(math.gcd(GROUPS, widths[0]), widths[0])
        self.leave = convolution(dims, widths[0], c_out)
        zero(self.read)
        zero(self.leave)

    def maps(self, x: Tensor, embedding: Tensor) -> list[Tensor]:
        """What is seen on every level, finest first: (B, C_k, *spatial / 2^k)."""
        f, found = self.enter(x), []
        for level in range(len(self.up)):
            if self.down:
                f = self.down[level](f, embedding)
            found.append(f)
            if level < len(self.coarser):
                f = self.coarser[level](f)
        return found

    def tokens(self, f: Tensor) -> Tensor:
        """What the coarsest map adds to the tokens (B, N, D)."""
        return self.read(space_to_depth(F.silu(f), self.patch).flatten(2).transpose(1, 2))

    def forward(self, maps: Sequence[Tensor], h: Tensor, cells: Sequence[int], embedding: Tensor) -> Tensor:
        """What the maps and the last tokens (B, N, D), on a grid of `cells`, add to the answer (B, C_out, *spatial)."""
        g = depth_to_space(self.write(h).transpose(1, 2).unflatten(2, cells), self.patch)
        for level in reversed(range(len(self.up))):
            g = self.up[level](maps[level] + g, embedding)
            if level:
                g = self.finer[level - 1](g)
        return self.leave(F.silu(self.norm(g)))

    def sites_before(self) -> dict[str, nn.Module]:
        """Names of what is passed before the tokens, in order."""
        found: dict[str, nn.Module] = {"enter": self.enter}
        for level in range(len(self.down)):
            found[f"down.{level}"] = self.down[level]
            if level < len(self.coarser):
                found[f"coarser.{level}"] = self.coarser[level]
        return found | {"read": self.read}

    def sites_after(self) -> dict[str, nn.Module]:
        """Names of what is passed after the tokens, in order."""
        found: dict[str, nn.Module] = {"write": self.write}
        for level in reversed(range(len(self.up))):
            found[f"up.{level}"] = self.up[level]
            if level:
                found[f"finer.{level - 1}"] = self.finer[level - 1]
        return found | {"leave": self.leave}
