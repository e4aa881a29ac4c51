"""Cards in place: which rows an adapter acts on, how strongly, where, and what undoes it.

    h <- h + gate * add(site, h, x, state),     gate = strength(progress) * branch * region * weight of the site

A row, or a position, whose gate is 0 keeps its bits: the sum is selected, not multiplied away. A call in which no row
is open computes nothing of the adapter. Branches are taken on Python values that change with the point of a run, never
on tensors, so a compiled network has one graph for "acts" and one for "rests".
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.adapters.adapter import Prepared
from shared.adapters.card import NULL, Card, progress
from shared.adapters.host import Host, Site
from shared.errors import UserError
from shared.process import Point

_LIVE: weakref.WeakKeyDictionary[nn.Module, list[Attachment]] = weakref.WeakKeyDictionary()


class Adapted(nn.Module):
    """A network with adapters in place; the call of the network itself, and `tell` for whoever runs it."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self.network = host.outer
        self._host = host

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.network(*args, **kwargs)

    def tell(self, at: Point, branches: Sequence[str], rows: Sequence[int] | None = None) -> None:
        """Before a call: the point of the run, and for each row of the batch its branch.

        rows   which sample of the run each row belongs to; None: whole copies of the batch, one after the other
        """
        for attachment in live(self._host.network):
            attachment.tell(at, branches, rows)


def live(network: nn.Module) -> Sequence[Attachment]:
    """The adapters that are in place on a network, outermost first."""
    return tuple(_LIVE.get(network, ()))


@contextmanager
def attached(host: Host, cards: Sequence[Card]) -> Iterator[Adapted]:
    """Host.attached: hooks in the order of the cards; all of them are removed however the block ends."""
    host.check()
    attachments = [Attachment(host, card) for card in cards]
    with ExitStack() as stack:
        for attachment in attachments:
            attachment.open(stack)
        here = _LIVE.setdefault(host.network, [])
        here += attachments
        stack.callback(_forget, here, attachments)
        yield Adapted(host)


def _forget(here: list[Attachment], gone: Sequence[Attachment]) -> None:
    here[:] = [attachment for attachment in here if attachment not in gone]


class Attachment:
    """One card on one host."""

    def __init__(self, host: Host, card: Card) -> None:
        self.host, self.card = host, card
        names = card.adapter.sites(host)
        self.weights = {name: weight for name, weight in card.weights(names).items() if weight != 0}
        if card.region is not None:
            flat = [name for name in self.weights if not host.site(name).space]
            if flat:
                raise UserError(
                    f"{len(flat)} sites have no positions of the picture ({', '.join(flat[:3])})",
                    where="region",
                    remedy="take the region away, or give these sites weight 0 in layers",
                )
        constant = card.curve.constant
        self.off = not self.weights or constant == 0
        self.even = constant if constant is not None and card.branches == "both" else None  # no row differs
        self.active = not self.off
        self.gate: Tensor | None = None  # (rows,) strengths
        self.index: Tensor | None = None  # (rows,) row of the condition
        self.state: Any = None
        self.shapes: list[tuple[int, ...]] = []
        self.device = next((p.device for p in host.network.parameters()), torch.device("cpu"))
        mine = {p.device for p in card.adapter.parameters()}
        if mine - {self.device}:
            raise UserError(
                f"the adapter is on {sorted(map(str, mine))}, the network on {self.device}",
                where="adapter",
                remedy="move one to the other",
            )
        self.prepared: Prepared = {}
        self.region = None if card.region is None else card.region.to(self.device)
        if not self.off:
            with torch.no_grad():
                self.prepared = card.adapter.prepare({k: v.to(self.device) for k, v in card.condition.items()})

    # ------------------------------------------------------------------------------------------------------- in place

    def open(self, stack: ExitStack) -> None:
        """Hook the host; what `stack` holds undoes it."""
        if self.off:
            return
        host, adapter = self.host, self.card.adapter
        handles = [host.before("", self._arrive)]
        entry = adapter.entry(host)
        if entry is not None:
            handles.append(host.before(entry, self._begin))
        for name, weight in self.weights.items():
            handles.append(host.on(name, self._change(host.site(name), weight)))
        handles.append(host.finished(self._leave))
        for handle in handles:
            stack.callback(handle.remove)

    def tell(self, at: Point, branches: Sequence[str], rows: Sequence[int] | None) -> None:
        """Strength of each row at this point, and the row of the condition that it goes by."""
        count = len(branches)
        most = max(self.card.rows, default=1)
        if most > 1:
            self.index = self._belongs(most, count, rows).to(self.device)
        if self.even is not None or self.off:
            return
        strength = self.card.curve.at(progress(at))
        if strength.ndim:
            strength = strength[self._belongs(strength.shape[0], count, rows)]
        acts = torch.tensor([self.card.branches == "both" or branch != NULL for branch in branches])
        gate = torch.where(acts, strength, 0.0).float()
        self.active = bool(gate.any())
        if self.gate is None or self.gate.shape != gate.shape:
            self.gate = gate.to(self.device)
        else:
            self.gate.copy_(gate)

    @staticmethod
    def _belongs(most: int, count: int, rows: Sequence[int] | None) -> Tensor:
        """(rows,) which of `most` samples each row of the batch belongs to."""
        if rows is None:
            if count % most:
                raise UserError(
                    f"a batch of {count} rows does not hold whole copies of {most} samples",
                    where="adapter",
                    remedy=f"give conditions of one row, or let max_rows be a multiple of {most}",
                )
            return torch.arange(count) % most
        if max(rows) >= most:
            raise UserError(
                f"row {max(rows)} of a run whose conditions have {most} rows",
                where="adapter",
                remedy="give one a sample",
            )
        return torch.as_tensor(rows)

    # ------------------------------------------------------------------------------------------------ in a network call

    def _arrive(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.even is None and self.gate is None:
            raise UserError(
                "the adapter was not told where the run is",
                where="adapter",
                remedy="run the network through a Denoiser, or call adapted.tell(at, branches) before each call",
            )
        self.shapes = self.host.shapes(args, kwargs)
        if self.active and self.card.adapter.entry(self.host) is None:
            self.state = self.card.adapter.begin(args, kwargs, self._rows(self.prepared))

    def _begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.active:
            self.state = self.card.adapter.begin(args, kwargs, self._rows(self.prepared))

    def _leave(self) -> None:
        self.state = None

    def _rows(self, prepared: Prepared) -> Prepared:
        """What belongs to each row of the batch; tensors of one row stay one row."""
        if self.index is None:
            return prepared
        return {name: value if value.shape[0] == 1 else value[self.index] for name, value in prepared.items()}

    def _change(self, site: Site, weight: float) -> Any:
        adapter = self.card.adapter

        def change(h: Tensor, x: Tensor) -> Tensor:
            if not self.active:
                return h
            added = adapter.add(site, h, x, self.state).to(h.dtype)
            return self._mix(site, weight, h, added)

        return change

    def _mix(self, site: Site, weight: float, h: Tensor, added: Tensor) -> Tensor:
        if self.even is not None:
            scale = weight * self.even
            if self.region is None:
                return h + (added if scale == 1 else scale * added)
            gate = torch.full((1,), scale, device=h.device)
        else:
            assert self.gate is not None  # _arrive saw to it
            gate = weight * self.gate
        gate = gate.to(h.dtype).reshape(-1, *[1] * (h.ndim - 1))
        if self.region is not None:
            gate = gate * self._region_at(site, h)
        return torch.where(gate != 0, h + gate * added, h)

    def _region_at(self, site: Site, h: Tensor) -> Tensor:
        """The region in the shape that multiplies h: by area from its own size to the site's."""
        assert self.region is not None
        region = self._rows({"region": self.region})["region"].to(h.dtype)
        if not site.last:
            return F.interpolate(region, size=h.shape[2:], mode="area")
        count = h.shape[1]
        fits = [shape for shape in self.shapes if _size(shape) <= count]
        if h.ndim != 3 or not fits:
            raise UserError(
                f"site {site.name} has shape {tuple(h.shape)}, the picture {self.shapes}",
                where="region",
                remedy="give this site weight 0 in layers",
            )
        picture = F.interpolate(region, size=fits[0], mode="area").flatten(2).transpose(1, 2)  # (B, N, 1)
        words = count - picture.shape[1]
        return F.pad(picture, (0, 0, words, 0) if self.host.words_first else (0, 0, 0, words))


def _size(shape: Sequence[int]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size
