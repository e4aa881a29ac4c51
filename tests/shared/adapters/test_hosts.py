"""Hosts: every place they name is one that the network listens to, and stock ControlNets act as in their pipelines."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import nn

from shared.adapters.card import Card, Curve
from shared.adapters.diffusers_controlnet import StockControlNet
from shared.adapters.diffusers_hosts import following
from shared.adapters.host import host_of
from shared.errors import UserError
from shared.interop.scheduler_config import read, trained
from tests.shared.adapters.backbones import MAKERS, ROWS, Backbone, backbone, drawn, stirred

# The last block of Stable Diffusion 3 drops its words, so a query of theirs has no say.
DEAF = {"sd3": ["transformer_blocks.1.attn.add_q_proj"]}


@pytest.fixture(scope="module", params=list(MAKERS))
def made(request) -> Backbone:
    return backbone(request.param)


@pytest.fixture(scope="module")
def theirs() -> dict[str, Backbone]:
    return {name: backbone(name) for name in ("unet2d", "sd3", "flux")}


def test_every_site_is_heard_and_as_wide_as_it_says(made):
    """One call, one gradient: what is added at a site that the network listens to moves its answer."""
    base, host, added, widths = made.run(), made.host, {}, {}
    handles = []
    for site in host.sites():

        def nothing(h, x, site=site):
            widths[site.name] = h.shape[-1 if site.last else 1]
            added[site.name] = torch.zeros_like(h, requires_grad=True)
            return h + added[site.name]

        handles.append(host.on(site, nothing))
    made.call(made.network, made.tensors, made.rest).square().sum().backward()
    for handle in handles:
        handle.remove()
    made.network.zero_grad(set_to_none=True)
    assert widths == {site.name: site.channels for site in host.sites()}
    deaf = [name for name, zero in added.items() if zero.grad is None or not zero.grad.any()]
    assert deaf == DEAF.get(made.name, [])
    assert torch.equal(made.run(), base)


def test_a_site_knows_what_it_was_given_and_positions_are_those_of_the_picture(made):
    host = made.host
    site = next(site for site in host.sites() if site.kind == "linear" and site.space)
    seen: list[Any] = []

    def see(h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        seen.append((h, x))
        return h

    handle = host.on(site, see)
    shapes: list[Any] = []
    watch = host.before("", lambda args, kwargs: shapes.extend(host.shapes(args, kwargs)))
    made.run()
    handle.remove()
    watch.remove()
    h, x = seen[0]
    torch.testing.assert_close(h, host.module(site)(x))
    grain = host.grain
    assert shapes[0] == tuple(n // g for n, g in zip(made.hint, grain, strict=True))


def test_a_network_without_a_host_and_an_unknown_site_are_refused(made):
    with pytest.raises(UserError, match="do not know the network Linear; use UNet, DiT, diffusers' UNet2D"):
        host_of(nn.Linear(2, 2))
    with pytest.raises(UserError, match=r"has no site 'block\.99'"):
        made.host.site("block.99")


def test_a_wrapped_network_is_hosted_inside_and_called_outside(theirs):
    from shared.interop.denoisers import from_diffusers

    made = theirs["unet2d"]
    denoiser = from_diffusers(made.network, {"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear"})
    host = host_of(denoiser.network)
    assert host.network is made.network
    with host.attached([Card(stirred(made.lora()))]) as adapted:
        assert adapted.network is denoiser.network
        assert host_of(adapted).network is made.network


def test_fused_projections_are_refused(theirs):
    network = copy.deepcopy(theirs["unet2d"].network)
    network.fuse_qkv_projections()
    with pytest.raises(UserError, match="fused projections"), host_of(network).attached([]):
        pass
    network.unfuse_qkv_projections()
    with host_of(network).attached([]) as adapted:
        assert adapted.network is network


def quiet(make: Any, *args: Any, **options: Any) -> Any:
    """A network of diffusers, which warns of its own deprecated parts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return stirred(make(*args, **options))


def test_a_controlnet_for_stable_diffusion_acts_as_through_the_arguments_of_the_network(theirs):
    from diffusers import ControlNetModel

    made = theirs["unet2d"]
    options = {"conditioning_channels": 1, "conditioning_embedding_out_channels": (8, 16)}
    control = quiet(ControlNetModel.from_unet, made.network, **options)
    image = torch.rand(ROWS, 1, 16, 16)
    with torch.no_grad():
        down, mid = control(**made.tensors, controlnet_cond=image, return_dict=False)
    named = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
    with made.host.attached([Card(StockControlNet(control), {"image": image})]) as adapted:
        got = made.run(adapted)
    assert torch.equal(got, made.run(tensors=made.tensors | named)) and not torch.equal(got, made.run())


def test_a_controlnet_for_flux_acts_as_through_the_arguments_of_the_network(theirs):
    from diffusers import FluxControlNetModel

    made = theirs["flux"]
    sizes = {"attention_head_dim": 16, "num_attention_heads": 2}
    control = quiet(FluxControlNetModel.from_transformer, made.network, num_layers=1, num_single_layers=2, **sizes)
    image = drawn(ROWS, 16, 4)
    with torch.no_grad():
        double, single = control(**made.tensors, **made.rest, controlnet_cond=image, return_dict=False)
    named = {"controlnet_block_samples": double, "controlnet_single_block_samples": single}
    with made.host.attached([Card(StockControlNet(control), {"image": image})]) as adapted:
        got = made.run(adapted)
    assert torch.equal(got, made.run(tensors=made.tensors | named)) and not torch.equal(got, made.run())


def test_a_controlnet_for_stable_diffusion_3_acts_as_through_the_arguments_of_the_network(theirs):
    from diffusers import SD3ControlNetModel

    made = theirs["sd3"]
    control = quiet(SD3ControlNetModel.from_transformer, made.network, num_layers=1, num_extra_conditioning_channels=0)
    image = drawn(ROWS, 4, 8, 8)
    with torch.no_grad():
        (found,) = control(**made.tensors, controlnet_cond=image, return_dict=False)
    with made.host.attached([Card(StockControlNet(control), {"image": image})]) as adapted:
        got = made.run(adapted)
    assert torch.equal(got, made.run(tensors=made.tensors | {"block_controlnet_hidden_states": found}))
    assert not torch.equal(got, made.run())
    with pytest.raises(UserError, match="a SD3ControlNetModel does not fit a FluxTransformer2DModel"):
        StockControlNet(control).sites(theirs["flux"].host)


@pytest.mark.parametrize(
    ("name", "config"),
    [("unet2d", {"_class_name": "DDIMScheduler"}), ("flux", {"_class_name": "FlowMatchEulerDiscreteScheduler"})],
)
def test_in_a_stock_pipeline_strength_and_branch_follow_its_timestep(theirs, name, config):
    """Called as a pipeline with guidance calls: one timestep, the rows without the prompt first."""
    made, known = theirs[name], trained(read(config))
    lora = stirred(made.lora())
    scale = 1000 if name == "flux" else 1
    tensors = made.rows([0, 1, 0, 1])
    early, late = (torch.tensor(t) for t in (900.0, 100.0))
    share = [known.process.at(known.time(t)) for t in (early, late)]
    middle = float(sum(torch.sigmoid(at.log_snr) for at in share) / 2)
    card = Card(lora, strength=Curve.window(middle, 1.0), branches="cond")

    def at(network: nn.Module, timestep: torch.Tensor) -> torch.Tensor:
        return made.run(network, tensors | {"timestep": timestep.expand(4) / scale})

    with made.host.attached([card]) as adapted, following(adapted, config):
        out = [at(made.network, timestep) for timestep in (early, late)]
    base = [at(made.network, timestep) for timestep in (early, late)]
    assert torch.equal(out[0], base[0])
    assert torch.equal(out[1][:ROWS], base[1][:ROWS])
    assert all(not torch.equal(x, y) for x, y in zip(out[1][ROWS:], base[1][ROWS:], strict=True))
