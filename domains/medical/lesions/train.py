"""Recipes of the lesion app: `suite train medical/lesions`.

Data: the MS patients 07 and 19 (Lesjak et al. 2018, CC-BY; folder below) and procedural phantoms. Subjects are made
once and kept in the run's folder, so that a machine without the readers can train from them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from domains.medical.lesions.model import LEVELS, NETWORK, RECIPE, WEIGHTS, LesionModel, denoiser, lesion_gate
from domains.medical.lesions.patches import LESJAK, LesionPatches, Subject, ms_patients, phantoms
from domains.medical.lesions.presets import SHIPPED as PRESETS_FILE
from domains.medical.lesions.presets import load_presets
from shared import checkpoints
from shared.errors import UserError
from shared.front.atomic import write_atomic
from shared.networks.unet import UNet
from shared.noise import seeded
from shared.precision import fast_dtype
from shared.process import shaped
from shared.training.loop import Batch, TrainSettings, fit

DATA_VARIABLE = "SUITE_DATA"
ROOT = Path(__file__).resolve().parents[3]
REAL_SHARE = {"patient07": 0.25, "patient19": 0.35}  # chance of a patch from each; phantoms share the rest
CONTEXT = 1.0  # weight of the scan around the lesion in the loss
SMALLEST = 100  # voxels and contrasts that a lesion counts for at least: the mean over fewer is mostly chance
PHANTOM_SEED = 1000  # training phantoms; evaluation uses seeds below 1000


@dataclass(frozen=True)
class Size:
    """What a recipe costs.

    steps        of `rows` patches of `edge` voxels, and every so often of `wide_rows` of `wide_edge`, for the app makes
                 lesions in patches of up to 96
    phantoms     how many the machine can hold
    """

    phantoms: int
    steps: int
    rows: int
    edge: int
    wide_rows: int
    wide_edge: int
    lr: float


SIZES = {
    "cpu": Size(phantoms=16, steps=3000, rows=8, edge=24, wide_rows=2, wide_edge=40, lr=2e-3),
    "gpu": Size(phantoms=64, steps=40_000, rows=32, edge=48, wide_rows=8, wide_edge=80, lr=1e-3),
}
MATRICES = "conv|film|sample|stem|join"  # trained by Muon
MUON_LENGTH = 0.5
WIDE = 4  # every so many steps, the patches are wide


def train(*, size: str = "cpu", minutes: float = 60.0, out: Path, resume: bool = False) -> Path:
    """Train, measure and write `out`/lesions.safetensors with its card; returns the path of the weights."""
    recipe = SIZES[size]
    subjects = prepared_subjects(out, recipe.phantoms)
    network = new_network()
    batches = WiderPatches.of(subjects, recipe)
    settings = TrainSettings(
        steps=recipe.steps,
        minutes=minutes,
        lr=recipe.lr,
        muon=MATRICES,
        muon_length=MUON_LENGTH,
        bf16=fast_dtype() is not None,
        ema=0.999,
    )
    report = fit(network, lesion_loss, batches, settings=settings, out=out, resume=resume)
    network.load_state_dict(dict(report.ema))
    real = any(one.name.startswith("patient") for one in subjects)
    card = {
        "name": RECIPE,
        "recipe": RECIPE,
        "command": f"suite train {RECIPE} --size {size}",
        "data": sources(real, recipe.phantoms),
        "licence": "CC-BY 4.0" if real else "Apache-2.0",
        "minutes": round(report.seconds / 60, 1),
        "steps": report.step,
        "metrics": measure(network),
        "use": "Research use only. Not a medical device. Not for diagnosis or treatment.",
        "failures": "Seen lesions of two patients with multiple sclerosis and of phantoms only; 1 mm brain MR.",
    }
    path = out / WEIGHTS.name
    checkpoints.save(path, network, card)
    return path


def measure(network: nn.Module) -> dict[str, dict[str, float]]:
    """Texture control on phantoms that were not trained on; floor: shuffled requests, ceiling: real lesions."""
    from domains.medical.lesions.evaluate import held_out_scans, texture_control

    model = LesionModel(network, {}, autocast=fast_dtype())
    found = texture_control(model, held_out_scans(4), load_presets(), repeats=10)
    return {
        "texture: made histogram nearest to the asked preset": {
            "value": round(found.nearest, 4),
            "floor": round(found.nearest_shuffled, 4),
            "ceiling": json.loads(PRESETS_FILE.read_text(encoding="utf-8"))["ceiling"],
        },
        "texture: correlation of asked and made mean": {
            "value": round(found.correlation, 4),
            "floor": round(found.correlation_shuffled, 4),
            "ceiling": 1.0,
        },
    }


def new_network(seed: int = 0) -> UNet:
    """The network at its start, the same for the same seed."""
    with seeded(seed):
        return UNet(NETWORK)


def lesion_loss(network: nn.Module, batch: Batch, generator: torch.Generator, *, context: float = CONTEXT) -> Tensor:
    """Squared error over the lesion, divided by the lesion's size, + `context` times that over the rest: (B,).

    The whole patch is noised. With context = 0 only the lesion is scored, the lesion-focused loss of LeFusion; the
    network knows the mask, so the rest teaches it what tissue looks like without telling it to paint tissue in lesions.
    """
    model = denoiser(network)
    x0, rows = batch["x0"], len(batch["x0"])
    at = model.process.at(torch.randint(1, LEVELS + 1, (rows,), generator=generator, device=x0.device).cpu())
    eps = torch.randn(x0.shape, generator=generator, device=x0.device)
    x = model.process.join(x0, eps, at)
    cond = {"histogram": batch["histogram"], "presence": batch["presence"], "lesion": batch["mask"].float()}
    said = network(x * shaped(model.head.c_in(at), x), model.head.c_time(at).to(x), cond)
    gate = lesion_gate(batch["mask"], batch["presence"])
    wrong = (said.float() - model.head.target(x, x0, at, None, model.process)).square()
    rest = lesion_gate(~batch["mask"], batch["presence"])
    return _mean_over(wrong, gate) + (context * _mean_over(wrong, rest) if context else 0)


def _mean_over(wrong: Tensor, where: Tensor) -> Tensor:
    return (where * wrong).sum((1, 2, 3, 4)) / where.sum((1, 2, 3, 4)).clamp_min(SMALLEST)


@dataclass(frozen=True, eq=False)
class WiderPatches:
    """Batches, `batches(step)`: narrow patches, and every `WIDE` steps fewer and wider ones."""

    narrow: LesionPatches
    wide: LesionPatches

    @classmethod
    def of(cls, subjects: Sequence[Subject], size: Size) -> WiderPatches:
        chances = shares(subjects)
        return cls(
            LesionPatches(subjects, chances, size.edge, size.rows),
            LesionPatches(subjects, chances, size.wide_edge, size.wide_rows),
        )

    def __call__(self, step: int) -> dict[str, Tensor]:
        return (self.wide if step % WIDE == WIDE - 1 else self.narrow)(step)


def shares(subjects: Sequence[Subject]) -> list[float]:
    """Chance of each subject: the patients as in REAL_SHARE, the phantoms the rest in equal parts."""
    fakes = sum(one.name not in REAL_SHARE for one in subjects)
    rest = 1 - sum(REAL_SHARE.get(one.name, 0) for one in subjects)
    return [REAL_SHARE.get(one.name, rest / max(fakes, 1)) for one in subjects]


def reference(*, size: str = "cpu", minutes: float = 10.0, out: Path, resume: bool = False) -> Path:
    """`suite train medical/lesion-reference`: what the quality report compares with, from the same patients.

    One size only; `minutes` and `resume` belong to every recipe and change nothing here.
    """
    from domains.medical.lesions.reference import make_reference

    folder = data_folder()
    if folder is None:
        raise UserError(
            "the MS brains are not there",
            where=f"${DATA_VARIABLE}",
            remedy="point it at the folder with medical/ms_brains",
        )
    return make_reference(folder, out)


# ---------------------------------------------------------------------------------------------------------------- data


def data_folder() -> Path | None:
    """Where the open MS brains are: $SUITE_DATA/medical/ms_brains, or shared/data beside the repository."""
    base = Path(os.environ.get(DATA_VARIABLE) or ROOT.parent / "shared" / "data")
    folder = base / "medical" / "ms_brains"
    return folder if folder.is_dir() else None


def sources(real: bool, fakes: int) -> list[dict[str, str]]:
    """Data with licence and attribution, for the card."""
    made = {
        "name": f"{fakes} procedural brain phantoms (domains/medical/synthesis.py)",
        "licence": "Apache-2.0; anatomy from the ICBM 152 template",
        "attribution": "ICBM 152 2009a, Copyright McConnell Brain Imaging Centre, as shipped with nilearn",
    }
    taken = {"name": "MS brains, patients 07 and 19", "licence": "CC-BY", "attribution": LESJAK}
    return [taken, made] if real else [made]


def prepared_subjects(out: Path, fakes: int) -> list[Subject]:
    """Patients (where the data is) and phantoms, made once and kept in `out`/subjects.safetensors."""
    path = out / "subjects.safetensors"
    if not path.exists():
        folder = data_folder()
        subjects = (ms_patients(folder) if folder else []) + phantoms(fakes, PHANTOM_SEED)
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(path, lambda file: _keep(file, [cropped(one) for one in subjects]))
    return _kept(path)


def cropped(one: Subject, margin: int = 24) -> Subject:
    """The part of a subject within `margin` voxels of a lesion: all that a patch can show."""
    places = np.argwhere(one.lesions)
    low = np.maximum(places.min(0) - margin, 0)
    high = np.minimum(places.max(0) + margin + 1, one.lesions.shape)
    low = np.maximum(np.minimum(low, high - 64), 0)
    block = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return Subject(one.name, one.unit[(slice(None), *block)].copy(), one.present, one.lesions[block].copy())


def _keep(path: Path, subjects: Sequence[Subject]) -> None:
    tensors: dict[str, NDArray] = {}
    for one in subjects:
        tensors |= {
            f"{one.name}/unit": np.ascontiguousarray(one.unit),
            f"{one.name}/lesions": np.ascontiguousarray(one.lesions),
            f"{one.name}/present": one.present,
        }
    save_file(tensors, path, metadata={"names": json.dumps([one.name for one in subjects])})


def _kept(path: Path) -> list[Subject]:
    try:
        tensors: Mapping[str, Any] = load_file(path)
    except Exception as error:  # safetensors has its own error type for every way a file can be broken
        raise UserError("cannot be read", where=str(path), remedy="remove it; it will be made again") from error
    names = sorted({name.split("/")[0] for name in tensors})
    return [Subject(n, tensors[f"{n}/unit"], tensors[f"{n}/present"], tensors[f"{n}/lesions"]) for n in names]
