"""Small stand-ins of what diffusers ships: a network, a whole text-to-image pipeline, and loops over schedulers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

BETAS = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
WORDS = ("a", "red", "house", "by", "the", "sea")


class Wavy(nn.Module):
    """A network without weights that is neither linear nor blind to the time."""

    def forward(self, x: Tensor, time: Tensor | float) -> Tensor:
        bend = torch.cos(torch.as_tensor(time).double() / 300).to(x.dtype)
        return 0.3 * x.tanh() + 0.1 * x.roll(1, -1) * (bend.reshape(-1, *[1] * (x.ndim - 1)) if bend.ndim else bend)


def start(rows: int = 2) -> Tensor:
    return torch.randn(rows, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def loop(scheduler: Any, steps: int | None, x: Tensor, *, network: nn.Module | None = None, **given: Any) -> Tensor:
    """What a pipeline does with a scheduler."""
    network = Wavy() if network is None else network
    scheduler.set_timesteps(steps, **given)
    x = x * getattr(scheduler, "init_noise_sigma", 1.0)  # schedulers of flows have none
    generator = torch.Generator().manual_seed(5)
    for t in scheduler.timesteps:
        said = network(scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x, t)
        try:
            x = scheduler.step(said, t, x, generator=generator, return_dict=False)[0]
        except TypeError:  # schedulers without randomness
            x = scheduler.step(said, t, x, return_dict=False)[0]
    return x


def tiny_unet(**options: Any) -> Any:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    network: Any = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **options,
    )
    return network.eval()


def tokenizer(folder: Path) -> Any:
    """A CLIP tokenizer from a vocabulary written here: letters, their ends of words, and a few words."""
    from transformers import CLIPTokenizer

    letters = sorted({letter for word in WORDS for letter in word})
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    merges = []
    for word in WORDS:  # the merges that build each word from the left
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            merges.append(f"{parts[0]} {parts[1]}")
            parts[:2] = ["".join(parts[:2])]
            tokens.append(parts[0])
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(dict.fromkeys(merges)) + "\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=12)


def text_to_image(folder: Path) -> Any:
    """A Stable Diffusion pipeline with random weights: 16 x 16 pixels, 4 x 8 x 8 latents."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
    from transformers import CLIPTextConfig, CLIPTextModel

    words = tokenizer(folder)
    torch.manual_seed(1)
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=12,
            projection_dim=16,
            bos_token_id=words.bos_token_id,
            eos_token_id=words.eos_token_id,
            pad_token_id=words.eos_token_id,
        )
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
    )
    scheduler = DDIMScheduler(
        **BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1, timestep_spacing="leading"
    )
    pipeline: Any = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text.eval(),
        tokenizer=words,
        unet=tiny_unet(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def flux(kind: str = "FluxPipeline") -> Any:
    """A Flux pipeline with random weights that is given embeddings: 16 x 16 pixels, 4 x 8 x 8 latents."""
    import diffusers

    torch.manual_seed(2)
    network: Any = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 4, 8),
    )
    vae: Any = diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        shift_factor=0.1,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    words = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    pipeline: Any = getattr(diffusers, kind)(transformer=network.eval(), vae=vae.eval(), scheduler=scheduler, **words)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def flux_picture(pipeline: Any, *, seed: int = 0, **options: Any) -> Tensor:
    """A Flux pipeline's picture (3, 16, 16) of embeddings; the scheduler draws from torch's own generator."""
    drawn = torch.Generator().manual_seed(3)
    torch.manual_seed(seed)
    return pipeline(
        prompt_embeds=torch.randn(1, 3, 16, generator=drawn),
        pooled_prompt_embeds=torch.randn(1, 16, generator=drawn),
        height=16,
        width=16,
        generator=torch.Generator().manual_seed(seed),
        output_type="pt",
        **options,
    ).images[0]


def picture(pipeline: Any, *, steps: int = 10, seed: int = 0, **options: Any) -> Tensor:
    """The picture (3, 16, 16) that a pipeline paints of one prompt."""
    generator = torch.Generator().manual_seed(seed)
    said = pipeline(
        "a red house by the sea",
        negative_prompt="the sea",
        guidance_scale=4.0,
        height=16,
        width=16,
        num_inference_steps=steps,
        generator=generator,
        output_type="pt",
        **options,
    )
    return said.images[0]
