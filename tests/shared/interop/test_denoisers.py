"""Networks of other libraries as denoisers: sampling them here ends where their own loop ends."""

from __future__ import annotations

import json

import pytest
import torch

from shared.errors import UserError
from shared.grid import Grid, own_times
from shared.guidance.clamp import Clamp
from shared.guidance.classifier_free import ClassifierFree
from shared.interop.denoisers import KNOWN, MONAI, from_diffusers, from_monai
from shared.interop.timesteps import grid_like
from shared.noise import PerSample
from shared.sample import sample
from shared.samplers.ddim import DDIM, DPMpp
from tests.shared.interop.stock import BETAS, loop, text_to_image, tiny_unet

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of the libraries

STEPS, ROWS = 6, 2
NOISE = PerSample.of(0, ROWS)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(ROWS, *shape, generator=torch.Generator().manual_seed(seed))


def ends_together(mine: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


class Called(torch.nn.Module):
    """A network with its conditions bound, for a stock loop."""

    def __init__(self, network, **bound) -> None:
        super().__init__()
        self.network, self.bound = network, bound

    @torch.no_grad()
    def forward(self, x, t):
        time = t.expand(len(x)) if torch.is_tensor(t) else torch.full((len(x),), t)
        said = self.network(x, timestep=time, return_dict=False, **self.bound)[0]
        return said[:, : x.shape[1]]


def test_an_unconditional_unet() -> None:
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=3, out_channels=3, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    stock = diffusers.DDIMScheduler(clip_sample=False, prediction_type="v_prediction")
    run = sample(from_diffusers(unet, stock), DDIM(), grid_like(stock.config, STEPS), noise=NOISE, x=drawn(3, 8, 8))
    ends_together(run.x, loop(stock, STEPS, drawn(3, 8, 8), network=Called(unet)))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_text_conditioned_unet_with_classifier_free_guidance(prediction: str) -> None:
    unet, text, empty = tiny_unet(), drawn(5, 16, seed=1), drawn(5, 16, seed=2)
    stock = diffusers.DPMSolverMultistepScheduler(**BETAS, prediction_type=prediction)
    with_text, without = Called(unet, encoder_hidden_states=text), Called(unet, encoder_hidden_states=empty)

    class Guided(torch.nn.Module):
        def forward(self, x, t):
            return without(x, t) + 3.0 * (with_text(x, t) - without(x, t))

    denoiser = from_diffusers(unet, stock, null={"encoder_hidden_states": empty})
    run = sample(
        denoiser,
        DDIM(filter=DPMpp(2)),
        grid_like(stock.config, STEPS),
        noise=NOISE,
        x=drawn(4, 8, 8),
        cond={"encoder_hidden_states": text},
        guidance=[ClassifierFree(3.0)],
    )
    ends_together(run.x, loop(stock, STEPS, drawn(4, 8, 8), network=Guided()))


def test_added_conditions_reach_a_unet_of_the_large_kind() -> None:
    unet = tiny_unet(
        addition_embed_type="text_time", addition_time_embed_dim=4, projection_class_embeddings_input_dim=32
    )
    text, pooled, times = drawn(5, 16, seed=1), drawn(8, seed=2), torch.arange(6.0).expand(ROWS, 6)
    stock = diffusers.DDIMScheduler(**BETAS, clip_sample=False)
    bound = {"encoder_hidden_states": text, "added_cond_kwargs": {"text_embeds": pooled, "time_ids": times}}
    cond = {"encoder_hidden_states": text, "text_embeds": pooled, "time_ids": times}
    grid = grid_like(stock.config, STEPS)
    run = sample(from_diffusers(unet, stock), DDIM(), grid, noise=NOISE, x=drawn(4, 8, 8), cond=cond)
    ends_together(run.x, loop(stock, STEPS, drawn(4, 8, 8), network=Called(unet, **bound)))


def test_a_class_conditioned_transformer_keeps_its_variance_in_aux() -> None:
    torch.manual_seed(0)
    network = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2, sample_size=8,
        patch_size=2, num_embeds_ada_norm=10,
    ).eval()  # fmt: skip
    labels = torch.tensor([1, 4])
    stock = diffusers.DDIMScheduler(clip_sample=False)
    denoiser, grid = from_diffusers(network, stock), grid_like(stock.config, STEPS)
    seen = []

    def look(state, step, tr) -> None:
        if tr is not None:
            seen.append(tr.first.base.aux["variance"].shape)

    run = sample(denoiser, DDIM(), grid, noise=NOISE, x=drawn(4, 8, 8), cond={"class_labels": labels}, observers=[look])
    ends_together(run.x, loop(stock, STEPS, drawn(4, 8, 8), network=Called(network, class_labels=labels)))
    assert seen == [(ROWS, 4, 8, 8)] * STEPS


def test_a_transformer_of_the_pixart_kind() -> None:
    torch.manual_seed(0)
    network = diffusers.PixArtTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2, sample_size=8,
        patch_size=2, cross_attention_dim=16, caption_channels=12,
    ).eval()  # fmt: skip
    text = drawn(5, 12, seed=1)
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    stock = diffusers.DPMSolverMultistepScheduler(**BETAS)
    bound = {
        "encoder_hidden_states": text,
        "encoder_attention_mask": mask,
        "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
    }
    grid = grid_like(stock.config, STEPS)
    cond = {"encoder_hidden_states": text, "encoder_attention_mask": mask}
    run = sample(from_diffusers(network, stock), DDIM(filter=DPMpp(2)), grid, noise=NOISE, x=drawn(4, 8, 8), cond=cond)
    ends_together(run.x, loop(stock, STEPS, drawn(4, 8, 8), network=Called(network, **bound)))


def test_a_flow_of_the_stable_diffusion_3_kind() -> None:
    torch.manual_seed(0)
    network = diffusers.SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=16, caption_projection_dim=16, pooled_projection_dim=12,
    ).eval()  # fmt: skip
    cond = {"encoder_hidden_states": drawn(5, 16, seed=1), "pooled_projections": drawn(12, seed=2)}
    stock = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    grid = grid_like(stock.config, STEPS)
    run = sample(from_diffusers(network, stock), DDIM(), grid, noise=NOISE, x=drawn(4, 8, 8), cond=cond)
    ends_together(run.x, loop(stock, STEPS, drawn(4, 8, 8), network=Called(network, **cond)))


def test_a_flow_of_the_flux_kind_sees_latents_as_pictures() -> None:
    from diffusers import FluxPipeline

    torch.manual_seed(0)
    network = diffusers.FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, pooled_projection_dim=12, guidance_embeds=True, axes_dims_rope=(4, 4, 8),
    ).eval()  # fmt: skip
    cond = {
        "encoder_hidden_states": drawn(5, 16, seed=1),
        "pooled_projections": drawn(12, seed=2),
        "guidance": torch.full((ROWS,), 3.5),
    }
    stock = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    places = FluxPipeline._prepare_latent_image_ids(ROWS, 4, 3, "cpu", torch.float32)

    class Packed(torch.nn.Module):
        @torch.no_grad()
        def forward(self, x, t):
            said = network(
                x, timestep=t.expand(ROWS) / 1000, img_ids=places, txt_ids=torch.zeros(5, 3), return_dict=False, **cond
            )
            return said[0]

    x = drawn(4, 8, 6)
    packed = loop(stock, STEPS, FluxPipeline._pack_latents(x, ROWS, 4, 8, 6), network=Packed(), mu=0.6)
    grid = grid_like(stock.config, STEPS, mu=0.6)
    run = sample(from_diffusers(network, stock), DDIM(), grid, noise=NOISE, x=x, cond=cond)
    ends_together(run.x, FluxPipeline._unpack_latents(packed, 8, 6, 1))


# -- MONAI -------------------------------------------------------------------------------------------------------------


def monai_unet(**options):
    from monai.networks.nets import DiffusionModelUNet

    torch.manual_seed(0)
    shape = {"spatial_dims": 2, "in_channels": 1, "out_channels": 1, "channels": (8, 16), "num_res_blocks": 1}
    layers = {"attention_levels": (False, True), "norm_num_groups": 4, "num_head_channels": 8}
    network = DiffusionModelUNet(**{**shape, **layers, **options}).eval()
    with torch.no_grad():
        for weight in network.out.parameters():  # starts at zero, and would say nothing
            weight.normal_(std=0.1)
    return network


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_unet_of_monai_ends_where_monai_ends(prediction: str) -> None:
    from monai.networks.schedulers import DDIMScheduler

    # All levels: with fewer, MONAI's steps do not end at the next of its own timesteps.
    betas = {"num_train_timesteps": 12, "beta_start": 1e-3, "beta_end": 0.4}
    network, stock = monai_unet(), DDIMScheduler(**betas, clip_sample=False, prediction_type=prediction)
    x = drawn(1, 8, 8)
    with torch.no_grad():
        for t in stock.timesteps:
            x, _ = stock.step(network(x, torch.full((ROWS,), int(t))), int(t), x)
    denoiser = from_monai(network, stock)
    times = torch.cat([stock.timesteps.double() + 1, torch.zeros(1, dtype=torch.float64)])
    run = sample(denoiser, DDIM(), Grid(denoiser.process, times), noise=NOISE, x=drawn(1, 8, 8))
    ends_together(run.x, x)


def test_conditions_of_monai_by_name() -> None:
    from monai.networks.schedulers import DDPMScheduler

    network = monai_unet(in_channels=3, with_conditioning=True, cross_attention_dim=6, num_class_embeds=4)
    cond = {"context": drawn(1, 6), "class_labels": torch.tensor([0, 3]), "concat": drawn(2, 8, 8, seed=4)}
    denoiser = from_monai(network, DDPMScheduler())
    at = denoiser.process.at(300.0)
    said = sample(
        denoiser, DDIM(), Grid(denoiser.process, torch.tensor([300.0, 0.0])), noise=NOISE, x=drawn(1, 8, 8), cond=cond
    ).x
    with torch.no_grad():
        x_in = torch.cat([drawn(1, 8, 8), cond["concat"]], 1)
        eps = network(x_in, torch.full((ROWS,), 299), context=cond["context"], class_labels=cond["class_labels"])
    ends_together(said, (drawn(1, 8, 8) - at.sigma.item() * eps) / at.a.item())


def test_the_rectified_flow_of_monai_has_the_opposite_sign_and_ends_where_monai_ends() -> None:
    from monai.networks.schedulers import RFlowScheduler

    network, stock = monai_unet(), RFlowScheduler(use_discrete_timesteps=False)
    stock.set_timesteps(5)
    x, times = drawn(1, 8, 8), stock.timesteps.float()
    with torch.no_grad():
        for t in times:
            x, _ = stock.step(network(x, t.expand(ROWS)), float(t), x)
    denoiser = from_monai(network, stock)
    grid = Grid(denoiser.process, torch.cat([times.double() / 1000, torch.zeros(1, dtype=torch.float64)]))
    run = sample(denoiser, DDIM(), grid, noise=NOISE, x=drawn(1, 8, 8))
    ends_together(run.x, x)


# -- folders and refusals ----------------------------------------------------------------------------------------------


def test_a_folder_of_a_pipeline_says_everything(tmp_path) -> None:
    pipeline = text_to_image(tmp_path / "words")
    pipeline.save_pretrained(tmp_path / "pipeline")
    cond = {"encoder_hidden_states": drawn(5, 16, seed=1)}

    def ends(denoiser) -> torch.Tensor:
        grid = grid_like(pipeline.scheduler.config, STEPS)
        return sample(denoiser, DDIM(), grid, noise=NOISE, x=drawn(4, 8, 8), cond=cond).x

    want = ends(from_diffusers(pipeline.unet, pipeline.scheduler))
    assert torch.equal(ends(from_diffusers(tmp_path / "pipeline")), want)
    network_alone = from_diffusers(tmp_path / "pipeline" / "unet", tmp_path / "pipeline" / "scheduler")
    assert torch.equal(ends(network_alone), want)


def test_pickled_weights_and_foreign_classes_are_refused_in_one_sentence(tmp_path) -> None:
    unet = tiny_unet()
    unet.save_pretrained(tmp_path / "pickled", safe_serialization=False)
    assert not list((tmp_path / "pickled").glob("*.safetensors"))
    with pytest.raises(UserError, match="give the weights as safetensors") as refused:
        from_diffusers(tmp_path / "pickled", diffusers.DDIMScheduler())
    assert "\n" not in str(refused.value)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps({"_class_name": "os.system"}))
    with pytest.raises(UserError, match=r"os\.system of diffusers is not known here; known are UNet2DModel, .*Flux"):
        from_diffusers(tmp_path / "other", diffusers.DDIMScheduler())
    with pytest.raises(UserError, match="holds no network of diffusers"):
        from_diffusers("stabilityai/stable-diffusion-3")
    with pytest.raises(UserError, match=r"Linear of MONAI is not known here; known are DiffusionModelUNet, SPADE"):
        from_monai(torch.nn.Linear(1, 1), None)
    with pytest.raises(UserError, match="a network alone does not say how it was trained"):
        from_diffusers(unet)


@pytest.mark.parametrize("library", ["diffusers", "MONAI"])
def test_the_clipping_of_a_scheduler_is_a_guidance_of_the_run(library: str) -> None:
    """A denoiser clips nothing; asked for as its docstring says, the run ends in the scheduler's range."""
    torch.manual_seed(0)
    if library == "diffusers":
        stock = diffusers.DDIMScheduler(clip_sample_range=0.5)
        network = diffusers.UNet2DModel(
            sample_size=8, block_out_channels=(8,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
            layers_per_block=1, norm_num_groups=4, add_attention=False,
        ).eval()  # fmt: skip
        denoiser, ends = from_diffusers(network, stock), (-0.5, 0.5)
    else:
        nets, schedulers = pytest.importorskip("monai.networks.nets"), pytest.importorskip("monai.networks.schedulers")
        stock = schedulers.DDIMScheduler(1000, clip_sample_min=0.0, clip_sample_max=0.5)
        network = nets.DiffusionModelUNet(
            spatial_dims=2, in_channels=3, out_channels=3, channels=(8,), attention_levels=(False,), num_res_blocks=1,
            norm_num_groups=4,
        ).eval()  # fmt: skip
        denoiser, ends = from_monai(network, stock), (0.0, 0.5)
    grid = own_times(denoiser.process, torch.linspace(1000, 0, STEPS + 1))
    bare, clipped = (
        sample(denoiser, DDIM(), grid, noise=NOISE, x=drawn(3, 8, 8), guidance=guidance).x
        for guidance in ([], [Clamp(*ends)])
    )
    assert float(bare.abs().max()) > 1 and (float(clipped.min()), float(clipped.max())) == ends
    assert "guidance=[Clamp(-1, 1)]" in (from_diffusers.__doc__ or "") and "Clamp(-1, 1)" in (from_monai.__doc__ or "")


def test_thresholding_is_refused_as_the_scheduler_refuses_it() -> None:
    stock = diffusers.DDIMScheduler(thresholding=True)
    with pytest.raises(UserError, match=r"option thresholding is not known here; turn it off.*Clamp\(-1, 1\)"):
        from_diffusers(tiny_unet(), stock)
    from_diffusers(tiny_unet(), {**stock.config, "thresholding": False})


def test_conditions_that_a_network_does_not_know_or_lacks_are_named() -> None:
    denoiser = from_diffusers(tiny_unet(), diffusers.DDIMScheduler())
    grid = Grid(denoiser.process, torch.tensor([300.0, 0.0]))
    with pytest.raises(
        UserError, match=r"UNet2DConditionModel: knows no condition text; it takes encoder_hidden_states"
    ):
        sample(denoiser, DDIM(), grid, noise=NOISE, x=drawn(4, 8, 8), cond={"text": drawn(5, 16)})
    assert all(set(known.must) <= set(known.takes) for known in [*KNOWN.values(), *MONAI.values()])
