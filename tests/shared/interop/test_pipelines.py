"""Stock pipelines run with every sampler of ours, and paint the stock picture where the method is the stock one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from shared.errors import UserError
from tests.shared.interop.stock import flux, flux_picture, picture, text_to_image

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of the libraries

from shared.interop.schedulers import SuiteScheduler, usable  # noqa: E402


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory):
    return text_to_image(tmp_path_factory.mktemp("words"))


@pytest.fixture(autouse=True)
def own_scheduler_again(pipeline):
    stock = pipeline.scheduler
    yield
    pipeline.scheduler = stock


@pytest.mark.parametrize("sampler", sorted(usable()))
def test_a_stock_pipeline_paints_with_each_sampler_and_a_seed_decides_the_picture(pipeline, sampler: str) -> None:
    pipeline.scheduler = SuiteScheduler.from_config(pipeline.scheduler.config, sampler=sampler)
    first = picture(pipeline)
    assert first.shape == (3, 16, 16) and torch.isfinite(first).all() and float(first.std()) > 1e-3
    assert torch.equal(picture(pipeline), first)
    assert not torch.equal(picture(pipeline, seed=1), first)


@pytest.mark.parametrize(
    ("name", "sampler"),
    [
        ("DDIMScheduler", "ddim"),
        ("DPMSolverMultistepScheduler", "dpmpp_2m"),
        ("EulerDiscreteScheduler", "ddim"),
        ("HeunDiscreteScheduler", "heun"),
    ],
)
def test_the_picture_is_the_stock_schedulers(pipeline, name: str, sampler: str) -> None:
    pipeline.scheduler = stock = getattr(diffusers, name).from_config(pipeline.scheduler.config)
    want = picture(pipeline)
    pipeline.scheduler = SuiteScheduler.from_config(stock.config, sampler=sampler)
    torch.testing.assert_close(picture(pipeline), want, rtol=0, atol=1e-4)


def test_image_to_image_starts_in_the_middle_as_the_stock_scheduler_does(pipeline) -> None:
    parts = {**pipeline.components, "scheduler": pipeline.scheduler}
    again = diffusers.StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
    again.set_progress_bar_config(disable=True)
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(4))

    def changed() -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return again(
            "a red house", image=image, strength=0.6, num_inference_steps=10, generator=generator, output_type="pt"
        ).images[0]

    want = changed()
    again.scheduler = SuiteScheduler.from_config(again.scheduler.config, sampler="ddim")
    torch.testing.assert_close(changed(), want, rtol=0, atol=1e-4)
    again.scheduler = SuiteScheduler.from_config(again.scheduler.config, sampler="dpmpp_2m")
    assert torch.equal(changed(), changed())
    again.scheduler = stock = diffusers.HeunDiscreteScheduler.from_config(pipeline.scheduler.config)
    want = changed()
    again.scheduler = SuiteScheduler.from_config(stock.config, sampler="heun")
    torch.testing.assert_close(changed(), want, rtol=0, atol=1e-4)


def test_a_pipeline_is_saved_and_loaded_with_our_scheduler(pipeline, tmp_path) -> None:
    pipeline.scheduler = SuiteScheduler.from_config(pipeline.scheduler.config, sampler="dpmpp_2m")
    want = picture(pipeline)
    pipeline.save_pretrained(tmp_path)
    again = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path, local_files_only=True, safety_checker=None)
    again.set_progress_bar_config(disable=True)
    assert type(again.scheduler) is SuiteScheduler and again.scheduler.config.sampler == "dpmpp_2m"
    assert torch.equal(picture(again), want)


def test_a_class_conditional_transformer_pipeline_paints_the_stock_picture() -> None:
    torch.manual_seed(0)
    network = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2, sample_size=8,
        patch_size=2, num_embeds_ada_norm=1000,
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
    )
    stock = diffusers.DDIMScheduler(clip_sample=False)
    pipeline = diffusers.DiTPipeline(transformer=network.eval(), vae=vae.eval(), scheduler=stock)
    pipeline.set_progress_bar_config(disable=True)

    def painted() -> torch.Tensor:
        said = pipeline(
            [3], num_inference_steps=8, generator=torch.Generator().manual_seed(0), output_type="np", guidance_scale=2.0
        )
        return torch.from_numpy(said.images)

    want = painted()
    pipeline.scheduler = SuiteScheduler.from_config(stock.config)
    torch.testing.assert_close(painted(), want, rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def flows():
    return flux()


@pytest.mark.parametrize("sampler", sorted(usable()))
def test_a_flow_pipeline_paints_with_each_sampler_and_a_seed_decides_the_picture(flows, sampler: str) -> None:
    stock = flows.scheduler
    flows.scheduler = SuiteScheduler.from_config(stock.config, sampler=sampler)
    try:
        first = flux_picture(flows, num_inference_steps=5)
        assert flows.scheduler.begin_index == 0
        assert first.shape == (3, 16, 16) and torch.isfinite(first).all() and float(first.std()) > 1e-3
        assert torch.equal(flux_picture(flows, num_inference_steps=5), first)
        assert not torch.equal(flux_picture(flows, num_inference_steps=5, seed=1), first)
    finally:
        flows.scheduler = stock


@pytest.mark.parametrize("kind", ["FluxPipeline", "FluxImg2ImgPipeline"])
@pytest.mark.parametrize("sampler", ["ddim", "euler"])
def test_a_flow_pipeline_paints_the_stock_picture_from_the_start_and_from_the_middle(kind: str, sampler: str) -> None:
    pipeline = flux(kind)
    given: dict[str, Any] = {"num_inference_steps": 6}
    if "Img2Img" in kind:
        given |= {"image": torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(4)), "strength": 0.6}
    want = flux_picture(pipeline, **given)
    pipeline.scheduler = SuiteScheduler.from_config(pipeline.scheduler.config, sampler=sampler)
    torch.testing.assert_close(flux_picture(pipeline, **given), want, rtol=0, atol=1e-4)
    assert pipeline.scheduler.begin_index == (2 if "Img2Img" in kind else 0)


def test_a_flow_pipeline_that_would_take_calls_for_steps_is_told_so() -> None:
    """With sigmas of its own a pipeline of diffusers counts timesteps; of 6 steps and 12 calls it would leave 8 out."""
    pipeline = flux("FluxImg2ImgPipeline")
    given = {"num_inference_steps": 6, "strength": 0.6, "image": torch.full((1, 3, 16, 16), 0.5)}
    pipeline.scheduler = SuiteScheduler.from_config(pipeline.scheduler.config, sampler="dpmpp_2m")
    assert torch.isfinite(flux_picture(pipeline, **given)).all() and pipeline.scheduler.begin_index == 2
    pipeline.scheduler = SuiteScheduler.from_config(pipeline.scheduler.config, sampler="dpmpp_2s")
    with pytest.raises(UserError, match="takes every call for a step; choose a sampler of one call a step"):
        flux_picture(pipeline, **given)
