"""What an adapter is: parameters beside a network that say, at some of its sites, what to add.

    begin once a network call -> state;   at each site  h <- h + strength * add(site, h, x, state)

Strength, curve, region, branch and the weight of a layer belong to the card an adapter is attached with (card.py), and
the host's side of it multiplies (attached.py): an adapter knows none of them. What add returns is added, so adapters
whose change does not read h commute up to rounding; those that modulate h act in the order of their cards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from shared.adapters.host import Host, Site

Condition = Mapping[str, Tensor]  # batch-first tensors, one row a sample or one for all
Prepared = Mapping[str, Tensor]


class Adapter(nn.Module):
    """Base of every adapter: parameters, and methods with neutral defaults; write only the ones you need.

    additive    the change does not read h: such adapters may be attached in any order
    conditions  names that `prepare` wants; empty: the adapter takes no condition
    """

    additive: ClassVar[bool] = True
    conditions: tuple[str, ...] = ()

    def sites(self, host: Host) -> tuple[str, ...]:
        """Names of the sites it changes, in the order of a forward pass; raises UserError when it does not fit."""
        raise NotImplementedError

    def prepare(self, condition: Condition) -> Prepared:
        """What a condition comes to, whatever the time: computed once a run, kept, gathered by row for each call."""
        return {}

    def entry(self, host: Host) -> str | None:
        """Path of the module before which `begin` is called; "" is the network itself, None is never."""
        return None

    def begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], prepared: Prepared) -> Any:
        """Once a network call: what the entry module is about to be given -> what `add` gets as its state."""
        return prepared

    def add(self, site: Site, h: Tensor, x: Tensor, state: Any) -> Tensor:  # `apply` is nn.Module's own
        """What is to be added at a site, at strength 1. h: what the site says; x: what it was given."""
        raise NotImplementedError
