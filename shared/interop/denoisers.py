"""Networks of diffusers and MONAI as denoisers of ours: sample, guide, edit and invert them with everything there is.

    denoiser = from_diffusers("sdxl-folder")                       a folder that a pipeline saved; nothing is downloaded
    denoiser = from_diffusers(unet, scheduler)                     a network and how it was trained
    denoiser = from_monai(DiffusionModelUNet(...), DDPMScheduler(...))
    run = sample(denoiser, DDIM(), grid_like(scheduler.config, 50), noise=..., cond={"encoder_hidden_states": ...})

Process and head come from the scheduler (`scheduler_config.py`): nobody types them. A condition is a mapping from the
network's own argument names to batch-first tensors; what each network takes is in `KNOWN`.

What a scheduler makes of each believed clean value is no part of the network, and left to the run: `clip_sample`, which
DDPM and DDIM of both libraries have on, is `sample(..., guidance=[Clamp(-1, 1)])` of shared/guidance/clamp.py (the ends
are clip_sample_range, or MONAI's clip_sample_min and clip_sample_max). `thresholding` is refused, as `SuiteScheduler`
does; options of how a run is spaced are refused where they would act, by `grid_like`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shared.denoiser import Cond, Denoiser, velocity_head
from shared.errors import UserError
from shared.interop.renaming import called_today
from shared.interop.scheduler_config import Trained, read, trained
from shared.interop.timesteps import refuse_foreign_beliefs
from shared.process import flow

Said = tuple[Tensor, dict[str, Tensor]]
Call = Callable[[nn.Module, Tensor, Tensor, Mapping[str, Any]], Tensor]
FOLDERS = ("transformer", "unet")  # where a pipeline keeps its network


# --------------------------------------------------------------------------------------------------- how each is called


def _unet(network: nn.Module, x: Tensor, time: Tensor, cond: Mapping[str, Any]) -> Tensor:
    return network(x, time, **_grouped(cond, UNET_ADDED), return_dict=False)[0]


def _conditioned_unet(network: nn.Module, x: Tensor, time: Tensor, cond: Mapping[str, Any]) -> Tensor:
    return network(x, time, **{"encoder_hidden_states": None, **_grouped(cond, UNET_ADDED)}, return_dict=False)[0]


def _transformer(network: nn.Module, x: Tensor, time: Tensor, cond: Mapping[str, Any]) -> Tensor:
    return network(x, timestep=time, **cond, return_dict=False)[0]


def _pixart(network: nn.Module, x: Tensor, time: Tensor, cond: Mapping[str, Any]) -> Tensor:
    added = {"resolution": None, "aspect_ratio": None}
    grouped = {"added_cond_kwargs": added, **_grouped(cond, tuple(added))}
    return network(x, timestep=time, **grouped, return_dict=False)[0]


def _flux(network: nn.Module, x: Tensor, time: Tensor, cond: Mapping[str, Any]) -> Tensor:
    """Latents (B, C, H, W) as rows of 2 x 2 patches with their places, and back."""
    b, c, h, w = x.shape
    if h % 2 or w % 2:
        raise UserError(f"latents of {h} x {w}", where="Flux", remedy="give an even height and width")
    rows = x.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h * w // 4, 4 * c)
    places = torch.zeros(h // 2, w // 2, 3, device=x.device, dtype=x.dtype)
    places[..., 1] = torch.arange(h // 2, device=x.device)[:, None]
    places[..., 2] = torch.arange(w // 2, device=x.device)
    words = torch.zeros(cond["encoder_hidden_states"].shape[1], 3, device=x.device, dtype=x.dtype)
    levels = 1000  # its time embedding multiplies by them
    said = network(
        rows, timestep=time / levels, img_ids=places.reshape(-1, 3), txt_ids=words, **cond, return_dict=False
    )[0]
    return said.reshape(b, h // 2, w // 2, c, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(b, c, h, w)


def _monai(network: nn.Module, x: Tensor, time: Tensor, cond: Mapping[str, Any]) -> Tensor:
    """A condition `concat` is put beside the state's channels, as MONAI's inferers do in their mode of that name."""
    own = {name: value for name, value in cond.items() if name != "concat"}
    return network(torch.cat([x, cond["concat"]], 1) if "concat" in cond else x, timesteps=time, **own)


UNET_ADDED = ("text_embeds", "time_ids", "image_embeds")  # diffusers wants these in a dictionary of their own


def _grouped(cond: Mapping[str, Any], added: tuple[str, ...]) -> dict[str, Any]:
    own: dict[str, Any] = {name: value for name, value in cond.items() if name not in added}
    inner = {name: value for name, value in cond.items() if name in added}
    return {**own, "added_cond_kwargs": inner} if inner else own


@dataclass(frozen=True)
class Known:
    """A class of network: how it is called, the conditions it takes and those it must have."""

    call: Call
    takes: tuple[str, ...]
    must: tuple[str, ...] = ()


KNOWN: dict[str, Known] = {
    "UNet2DModel": Known(_unet, ("class_labels",)),
    "UNet2DConditionModel": Known(
        _conditioned_unet,
        ("encoder_hidden_states", "encoder_attention_mask", "class_labels", "timestep_cond", *UNET_ADDED),
    ),
    "DiTTransformer2DModel": Known(_transformer, ("class_labels",), ("class_labels",)),
    "PixArtTransformer2DModel": Known(
        _pixart,
        ("encoder_hidden_states", "encoder_attention_mask", "resolution", "aspect_ratio"),
        ("encoder_hidden_states",),
    ),
    "SD3Transformer2DModel": Known(
        _transformer,
        ("encoder_hidden_states", "pooled_projections"),
        ("encoder_hidden_states", "pooled_projections"),
    ),
    "FluxTransformer2DModel": Known(
        _flux,
        ("encoder_hidden_states", "pooled_projections", "guidance"),
        ("encoder_hidden_states", "pooled_projections"),
    ),
}
MONAI: dict[str, Known] = {
    "DiffusionModelUNet": Known(_monai, ("context", "class_labels", "concat")),
    "SPADEDiffusionModelUNet": Known(_monai, ("context", "class_labels", "concat", "seg"), ("seg",)),
}


class Adapted(nn.Module):
    """A foreign network in the form that a denoiser calls: network(x, time, cond).

    A network that says a variance as well (twice the channels of the state) says it in the prediction's
    `aux["variance"]`, as it came out of the network.
    """

    def __init__(self, network: nn.Module, known: Known) -> None:
        super().__init__()
        self.network, self.known = network, known

    def forward(self, x: Tensor, time: Tensor, cond: Cond) -> Tensor | Said:
        strange = [name for name in cond if name not in self.known.takes]
        missing = [name for name in self.known.must if name not in cond]
        if strange or missing:
            words = (
                f"knows no condition {', '.join(strange)}" if strange else f"needs the condition {', '.join(missing)}"
            )
            remedy = f"it takes {', '.join(self.known.takes)}"
            raise UserError(words, where=type(self.network).__name__, remedy=remedy)
        said = self.known.call(self.network, x, time, cond)
        if said.shape[1] != 2 * x.shape[1]:
            return said
        said, variance = said.chunk(2, dim=1)
        return said, {"variance": variance}


# ------------------------------------------------------------------------------------------------------- from diffusers


def from_diffusers(
    source: nn.Module | Path | str,
    scheduler: object = None,
    *,
    null: Cond | None = None,
    max_rows: int | None = None,
    dtype: torch.dtype = torch.float32,
    autocast: torch.dtype | None = None,
) -> Denoiser:
    """A network of diffusers as a denoiser, in eval mode.

    source     the network; or a folder in the layout of save_pretrained, of a pipeline (its `unet` or `transformer` is
               taken, and its scheduler) or of a network alone. Safetensors only; nothing is looked up elsewhere.
    scheduler  how it was trained: a scheduler, its config, or the folder of one; None: the one of the pipeline's folder
               (its clip_sample is not applied: ask for it by sample(..., guidance=[Clamp(-1, 1)]))
    null       the condition that stands for none, for classifier-free guidance (the embeddings of the empty prompt)
    dtype      of weights that come from a folder;  max_rows, autocast  of `Denoiser`
    Raises UserError for a class of network that is not known, a folder that is none, weights that are pickled, and
    a scheduler with thresholding or continuous timesteps.
    """
    if isinstance(source, nn.Module):
        network = source
        if scheduler is None:
            remedy = "pass the scheduler of its pipeline, or the config of one"
            raise UserError("a network alone does not say how it was trained", remedy=remedy)
    else:
        folder = Path(source)
        scheduler = folder if scheduler is None else scheduler
        network = _loaded(folder, dtype)
    known = _known(type(network).__name__, KNOWN, "diffusers")
    config = read(scheduler)
    refuse_foreign_beliefs(config)
    return _denoiser(Adapted(network, known), trained(config), null, max_rows, autocast)


def _loaded(folder: Path, dtype: torch.dtype) -> nn.Module:
    place = next((folder / name for name in FOLDERS if (folder / name / "config.json").is_file()), folder)
    config = place / "config.json"
    if not config.is_file():
        remedy = "give a folder written by save_pretrained, of a pipeline or of a network"
        raise UserError("holds no network of diffusers", where=str(folder), remedy=remedy)
    try:
        said = json.loads(config.read_text(encoding="utf-8"))
        name = called_today(str(said["_class_name"]), said)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError, KeyError, TypeError, AttributeError):
        raise UserError("does not name its network", where=str(config), remedy="restore the file") from None
    _known(name, KNOWN, "diffusers")
    import diffusers

    try:
        found = getattr(diffusers, name).from_pretrained(
            place, local_files_only=True, use_safetensors=True, torch_dtype=dtype
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"its weights cannot be loaded ({' '.join(str(error).split())[:200]})",
            where=str(place),
            remedy="give the weights as safetensors: save_pretrained(..., safe_serialization=True)",
        ) from None
    return found.eval()


# ----------------------------------------------------------------------------------------------------------- from MONAI


def from_monai(
    network: nn.Module,
    scheduler: Any,
    *,
    null: Cond | None = None,
    max_rows: int | None = None,
    autocast: torch.dtype | None = None,
) -> Denoiser:
    """A diffusion U-Net of MONAI as a denoiser.

    network    DiffusionModelUNet or SPADEDiffusionModelUNet; ControlNets and transformers are not known here
    scheduler  the scheduler it was trained with: one with betas (DDPM, DDIM, PNDM) or RFlowScheduler
               (clip_sample, on in DDPM and DDIM, is not applied: sample(..., guidance=[Clamp(-1, 1)]) does it)
    null, max_rows, autocast   of `Denoiser`
    Raises UserError for a class of network or of scheduler that is not known.
    """
    known = _known(type(network).__name__, MONAI, "MONAI")
    return _denoiser(Adapted(network, known), trained_monai(scheduler), null, max_rows, autocast)


def trained_monai(scheduler: Any) -> Trained:
    """Process, head and timesteps of a scheduler of MONAI.

    Its rectified flow says x0 - eps, the opposite of our velocity: the head turns the sign.
    """
    if type(scheduler).__name__ == "RFlowScheduler":
        levels = int(scheduler.num_train_timesteps)
        head = velocity_head(lambda at: levels * at.t)
        turned = replace(head, name="velocity, turned", c_out=lambda at: -head.c_out(at))
        return Trained(flow(), turned, levels, True)
    betas = getattr(scheduler, "betas", None)
    if not isinstance(betas, Tensor):
        raise UserError(
            f"{type(scheduler).__name__} is no scheduler of MONAI",
            remedy="give one of monai.networks.schedulers: DDPMScheduler, DDIMScheduler, PNDMScheduler, RFlowScheduler",
        )
    kind = str(getattr(scheduler, "prediction_type", "epsilon"))
    return trained({"num_train_timesteps": len(betas), "trained_betas": betas, "prediction_type": kind})


# --------------------------------------------------------------------------------------------------------------- shared


def _known(name: str, table: Mapping[str, Known], library: str) -> Known:
    if name not in table:
        raise UserError(f"the network {name} of {library} is not known here", remedy=f"known are {', '.join(table)}")
    return table[name]


def _denoiser(
    network: nn.Module, known: Trained, null: Cond | None, max_rows: int | None, autocast: torch.dtype | None
) -> Denoiser:
    return Denoiser(network.eval(), known.process, known.head, null=null, max_rows=max_rows, autocast=autocast)
