"""Training an adapter on a frozen network, with the loop that trains networks.

    with training(base, adapter) as trainee:
        report = fit(trainee, loss, batch_at, settings=settings, out=folder)      # shared/training/loop.py
        trainee.load_state_dict(report.ema)

The trainee's parameters, and so its gradients, optimizer, averages and saved states, are the adapter's alone. It is
called as the base is, and takes the adapter's conditions out of `cond`, beside those of the base.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from shared.adapters.adapter import Adapter, Prepared
from shared.adapters.host import Host, Site, host_of


class Trainee(nn.Module):
    """The base with one adapter at strength 1; only the adapter is registered. `training` makes it."""

    def __init__(self, host: Host, adapter: Adapter) -> None:
        super().__init__()
        self.adapter = adapter
        self._host = host  # no module of ours: the base has no part in parameters, state and modes
        self._sites = [host.site(name) for name in adapter.sites(host)]

    def forward(self, x: Tensor, time: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        """The adapted base; `cond` holds the conditions of the base and those of the adapter."""
        own = {name: cond[name] for name in self.adapter.conditions}
        rest = {name: value for name, value in cond.items() if name not in own}
        return self.adapted(self.adapter.prepare(own), x, time, rest)

    def adapted(self, prepared: Prepared, *args: Any, **kwargs: Any) -> Any:
        """The base with the adapter on a prepared condition, called as the base is: a foreign base has its own way."""
        host, adapter = self._host, self.adapter
        entry, state = adapter.entry(host) or "", prepared

        def begin(given: tuple[Any, ...], named: dict[str, Any]) -> None:
            nonlocal state
            state = adapter.begin(given, named, prepared)

        def added(site: Site) -> Any:
            return lambda h, given: h + adapter.add(site, h, given, state).to(h.dtype)

        with ExitStack() as stack:
            for handle in (host.before(entry, begin), *(host.on(site, added(site)) for site in self._sites)):
                stack.callback(handle.remove)
            return host.outer(*args, **kwargs)

    def _apply(self, fn: Any, recurse: bool = True) -> Trainee:
        self._host.network._apply(fn, recurse)  # the base goes where the adapter goes
        return super()._apply(fn, recurse)


@contextmanager
def training(network: nn.Module, adapter: Adapter) -> Iterator[Trainee]:
    """The trainee; meanwhile the network is frozen and in eval mode, afterwards as it was, the adapter in eval mode."""
    host = host_of(network)
    host.check()
    wanted, mode = {p: p.requires_grad for p in network.parameters()}, network.training
    network.requires_grad_(False).eval()
    try:
        yield Trainee(host, adapter)
    finally:
        for parameter, grad in wanted.items():
            parameter.requires_grad_(grad)
        network.train(mode)
        adapter.eval()
