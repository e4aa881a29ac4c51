"""LoRA files of others: round trips, agreement with diffusers' own converters, and what is refused."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from shared.adapters.card import Card
from shared.adapters.lora import LoRA, LoRAConfig
from shared.adapters.lora_formats import inspect, load, save_diffusers, save_kohya, save_peft
from shared.adapters.lora_names import names, stability
from shared.errors import UserError
from tests.shared.adapters.backbones import MAKERS, Backbone, backbone, stirred

WRITERS = {"kohya": save_kohya, "PEFT": save_diffusers}


class Bases(dict):
    """Backbones by name, each made when it is first asked for."""

    def __missing__(self, name: str) -> Backbone:
        self[name] = made = backbone(name)
        return made


@pytest.fixture(scope="module")
def bases() -> Bases:
    return Bases()


def everywhere(made: Backbone, **options) -> LoRA:
    return stirred(LoRA(made.host, LoRAConfig(**{"rank": 2, "alpha": 3.0, "targets": ("*",)} | options)))


def shown(made: Backbone, lora: LoRA) -> torch.Tensor:
    with made.host.attached([Card(lora, strength=0.3)]) as adapted:
        return made.run(adapted)


def same(one: LoRA, two: LoRA) -> bool:
    """Whether both say the same to the bit: the same layers, ranks, scales and weights."""
    return set(one.paths) == set(two.paths) and all(
        one.config.of(path) == two.config.of(path)
        and torch.equal(one.update(path).down, two.update(path).down)
        and torch.equal(one.update(path).up, two.update(path).up)
        for path in one.paths
    )


# ---------------------------------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize("kind", list(WRITERS))
@pytest.mark.parametrize("name", list(MAKERS))
def test_a_file_comes_back_to_the_bit_on_every_host(bases, name, kind, tmp_path):
    made, path = bases[name], tmp_path / "style.safetensors"
    lora = everywhere(made)
    WRITERS[kind](path, lora, made.host)
    report = inspect(path, made.host)
    assert report.whole and report.kind == kind and report.rank[0] == 2
    assert set(report.matched) == set(lora.paths)
    back = load(path, made.host)
    assert same(back, lora) and torch.equal(shown(made, back), shown(made, lora))


@pytest.mark.parametrize("kind", list(WRITERS))
def test_ranks_and_alphas_of_single_layers_are_kept(bases, kind, tmp_path):
    made, path = bases["unet"], tmp_path / "style.safetensors"
    lora = everywhere(made, ranks={"stem": 1, "mid.attention.qkv": 4}, alphas={"stem": 0.5})
    WRITERS[kind](path, lora, made.host)
    back = load(path, made.host)
    assert same(back, lora) and back.config.of("stem") == (1, 0.5)


def test_fused_projections_of_flux_are_split_and_joined(bases, tmp_path):
    made, path, again = bases["flux"], tmp_path / "style.safetensors", tmp_path / "again.safetensors"
    attention = ("transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.to_k", "transformer_blocks.0.attn.to_v")
    name = "lora_unet_double_blocks_0_img_attn_qkv"
    assert names(made.host)[name] == attention
    down, up = torch.randn(4, 32), torch.randn(96, 4)
    save_file(
        {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(2.0)}, path
    )
    lora = load(path, made.host)
    assert set(lora.paths) == set(attention)
    for i, part in enumerate(attention):
        torch.testing.assert_close(lora.update(part).weight, 0.5 * up[32 * i : 32 * (i + 1)] @ down)
    save_kohya(again, lora, made.host)  # one down for all three: fused as it was
    assert {k: v.tolist() for k, v in load_file(again).items()} == {k: v.tolist() for k, v in load_file(path).items()}


def test_uneven_parts_of_a_fused_projection_keep_what_they_do(bases, tmp_path):
    made, path = bases["flux"], tmp_path / "style.safetensors"
    q, v = "single_transformer_blocks.1.attn.to_q", "single_transformer_blocks.1.attn.to_v"
    lora = everywhere(made, targets=(q, v), ranks={v: 3}, alphas={v: 5.0})
    save_kohya(path, lora, made.host)
    assert {key.split(".")[0] for key in load_file(path)} == {"lora_unet_single_blocks_1_linear1"}
    torch.testing.assert_close(shown(made, load(path, made.host)), shown(made, lora))


# ---------------------------------------------------------------------------------------------------- PEFT's own folder


@pytest.mark.parametrize("name", list(MAKERS))
def test_a_folder_of_peft_comes_back_to_the_bit_on_every_host(bases, name, tmp_path):
    made, folder = bases[name], tmp_path / "style"
    lora = everywhere(made)
    save_peft(folder, lora, made.host)
    assert sorted(file.name for file in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert set(load_file(folder / "adapter_model.safetensors")) == {
        f"base_model.model.{path}.lora_{half}.weight" for path in lora.paths for half in "AB"
    }
    assert same(load(folder / "adapter_model.safetensors", made.host), lora)


@pytest.mark.parametrize("name", ["unet", "flux"])
def test_the_configuration_for_peft_means_the_layers_ranks_and_scales_of_the_lora(bases, name, tmp_path):
    """Read by PEFT's own rules: targets are ends of names or an expression, patterns are expressions of their ends."""
    made = bases[name]
    short = "stem" if name == "unet" else "proj_out"  # of Flux's layers others end so, too
    lora = everywhere(made, alpha=None, targets=(short, "*to_q", "*.q"), ranks={short: 4}, alphas={short: 0.5})
    save_peft(tmp_path / "style", lora, made.host)
    config = json.loads((tmp_path / "style" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"], config["bias"]) == ("LORA", 2, 2, "none")
    targets = config["target_modules"]

    def pattern(word: str, path: str, otherwise: float) -> float:
        found = (value for key, value in config[word].items() if re.match(rf"(.*\.)?({key})$", path))
        return next(found, otherwise)

    taken = []
    for path in (site.path for site in made.host.of_kind("linear", "conv")):
        if re.fullmatch(targets, path) if isinstance(targets, str) else path.endswith(tuple(f".{t}" for t in targets)):
            taken.append(path)
        elif not isinstance(targets, str) and path in targets:
            taken.append(path)
    assert sorted(taken) == sorted(lora.paths)
    for path in taken:
        assert (pattern("rank_pattern", path, 2), pattern("alpha_pattern", path, 2)) == lora.config.of(path)


def test_a_folder_that_holds_something_is_left_as_it_is(bases, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError):
        save_peft(tmp_path, everywhere(bases["unet"]), bases["unet"].host)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


# --------------------------------------------------------------------------------- agreement with diffusers' converters


def peft_of(path: Path) -> dict[str, torch.Tensor]:
    """What diffusers makes of a kohya file for a U-Net: PEFT's keys without "unet.", the scale in neither half."""
    from diffusers.loaders.lora_conversion_utils import (
        _convert_non_diffusers_lora_to_diffusers,
        _maybe_map_sgm_blocks_to_diffusers,
    )
    from diffusers.utils import convert_unet_state_dict_to_peft

    class Sizes:
        layers_per_block = 1

    found, alphas = _convert_non_diffusers_lora_to_diffusers(_maybe_map_sgm_blocks_to_diffusers(load_file(path), Sizes))
    assert set(alphas.values()) == {3.0}
    return {k.removeprefix("unet."): v for k, v in convert_unet_state_dict_to_peft(found).items()}


def test_diffusers_reads_our_kohya_file_as_it_reads_our_peft_file(bases, tmp_path):
    made = bases["unet2d"]
    lora = everywhere(made, targets=("*attn?.to_q", "*attn?.to_k", "*attn?.to_v", "*to_out.0", "*.ff.net.2", "*.conv1"))
    save_kohya(tmp_path / "kohya.safetensors", lora, made.host)
    save_diffusers(tmp_path / "peft.safetensors", lora, made.host)
    theirs = peft_of(tmp_path / "kohya.safetensors")
    ours = {k.removeprefix("unet."): v for k, v in load_file(tmp_path / "peft.safetensors").items()}
    assert theirs.keys() == ours.keys() and all(torch.equal(theirs[key], ours[key]) for key in ours)


def test_names_of_stability_mean_what_diffusers_takes_them_for(bases, tmp_path):
    """SDXL's files number the blocks through; a file with these names is read here and there as the same layers."""
    made, path = bases["unet2d"], tmp_path / "sgm.safetensors"
    lora = everywhere(made, targets=("down_blocks.*", "mid_block.*", "up_blocks.*"))
    tensors = {}
    for part in lora.paths:
        name, update = stability(made.host, part), lora.update(part)
        assert name is not None
        tensors[f"lora_unet_{name}.lora_down.weight"] = update.down.detach()
        tensors[f"lora_unet_{name}.lora_up.weight"] = update.up.detach()
        tensors[f"lora_unet_{name}.alpha"] = torch.tensor(3.0)
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    assert same(load(path, made.host), lora)
    theirs = {key.removesuffix(".lora_A.weight") for key in peft_of(path) if "lora_A" in key}
    # A block without attention has its upsampler second (Rombach et al. 2022); diffusers takes what is second for one.
    assert theirs - {"up_blocks.0.attentions.1.conv"} == set(lora.paths) - {"up_blocks.0.upsamplers.0.conv"}


def test_diffusers_reads_our_flux_file_as_we_do(bases, tmp_path):
    from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers

    made, path = bases["flux"], tmp_path / "kohya.safetensors"
    lora = everywhere(made, targets=("transformer_blocks.*",))
    save_kohya(path, lora, made.host)
    theirs = _convert_kohya_flux_lora_to_diffusers(load_file(path))
    assert {key.split(".lora_")[0] for key in theirs} == {f"transformer.{part}" for part in lora.paths}
    for part in lora.paths:
        product = theirs[f"transformer.{part}.lora_B.weight"] @ theirs[f"transformer.{part}.lora_A.weight"]
        torch.testing.assert_close(product, lora.update(part).weight)


def test_the_layout_of_old_diffusers_and_of_peft_folders_are_read(bases, tmp_path):
    made = bases["unet2d"]
    lora = everywhere(made, targets=("*attn1.to_q", "*attn1.to_out.0"))
    old, folder = tmp_path / "old.safetensors", tmp_path / "adapter_model.safetensors"
    tensors = {}
    for part in lora.paths:
        name = part.removesuffix(".0").replace(".to_", ".processor.to_")
        tensors[f"unet.{name}_lora.down.weight"] = lora.update(part).down.detach()
        tensors[f"unet.{name}_lora.up.weight"] = lora.update(part).up.detach()
    save_file(tensors, old)
    back = load(old, made.host)
    assert inspect(old, made.host).kind == "diffusers, old" and set(back.paths) == set(lora.paths)
    assert back.config.of(lora.paths[0]) == (2, 2.0)  # no alpha: the rank
    tensors = {
        f"base_model.model.{part}.lora_{half}.weight": value.detach()
        for part in lora.paths
        for half, value in (("A", lora.update(part).down), ("B", lora.update(part).up))
    }
    save_file(tensors, folder)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 3.0, "peft_type": "LORA"}))
    assert same(load(folder, made.host), lora)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 3.0, "use_rslora": True}))
    assert load(folder, made.host).config.of(lora.paths[0])[1] == pytest.approx(3.0 * 2**0.5)


def test_diffusers_finds_our_metadata(bases, tmp_path):
    from diffusers.utils.state_dict_utils import _load_sft_state_dict_metadata

    made, path = bases["unet2d"], tmp_path / "style.safetensors"
    save_diffusers(path, everywhere(made, targets=("*to_q",), ranks={}), made.host)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _load_sft_state_dict_metadata(str(path))
    assert found["unet.r"] == 2 and found["unet.lora_alpha"] == 3.0


# ------------------------------------------------------------------------------------------------------ what is refused


def test_a_lora_of_another_family_is_refused_in_one_sentence(bases, tmp_path):
    path = tmp_path / "style.safetensors"
    save_kohya(path, everywhere(bases["flux"], targets=("transformer_blocks.*",)), bases["flux"].host)
    report = inspect(path, bases["unet2d"].host)
    assert report.family == "Flux" and not report.matched and len(report.unexpected) == 20
    with pytest.raises(
        UserError, match=r"does not fit this UNet2DConditionModel \(kohya, Flux, rank 2-6: 0 layers fit"
    ):
        load(path, bases["unet2d"].host)


def test_a_partial_file_and_other_shapes_are_refused_with_what_fits(bases, tmp_path):
    made, path = bases["unet2d"], tmp_path / "style.safetensors"
    save_kohya(path, everywhere(made, targets=("mid_block.*attn1.to_?",)), made.host)
    whole = load_file(path)
    stem = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to"
    save_file({key: value for key, value in whole.items() if key != f"{stem}_q.lora_up.weight"}, path)
    with pytest.raises(UserError, match=rf"2 layers fit; 1 missing: {stem}_q \(up\)"):
        load(path, made.host)
    save_file(whole | {f"{stem}_q.lora_up.weight": torch.zeros(8, 2)}, path)
    with pytest.raises(UserError, match=rf"2 layers fit; 1 mismatched: {stem}_q \(\(8, 64\), not \(64, 64\)\)"):
        load(path, made.host)
    save_file(whole | {f"{stem}_z.lora_up.weight": torch.zeros(8, 2)}, path)
    with pytest.raises(UserError, match=rf"3 layers fit; 1 missing: {stem}_z \(down\)"):
        load(path, made.host)


def test_updates_of_text_encoders_are_left_only_when_asked(bases, tmp_path):
    made, path = bases["unet2d"], tmp_path / "style.safetensors"
    lora = everywhere(made, targets=("*to_q",))
    save_kohya(path, lora, made.host)
    words = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    more = {f"{words}.lora_down.weight": torch.zeros(2, 4), f"{words}.lora_up.weight": torch.zeros(4, 2)}
    save_file(load_file(path) | more | {f"{words}.alpha": torch.tensor(1.0)}, path)
    with pytest.raises(UserError, match=f"1 words: {words}.*leave_words=True"):
        load(path, made.host)
    assert same(load(path, made.host, leave_words=True), lora)


@pytest.mark.parametrize(("key", "kind"), [("lokr_w1", "LoKr"), ("hada_w1_a", "LoHa"), ("dora_scale", "DoRA")])
def test_other_methods_are_called_by_their_names(bases, key, kind, tmp_path):
    made, path = bases["unet2d"], tmp_path / "style.safetensors"
    save_kohya(path, everywhere(made, targets=("*to_q",)), made.host)
    save_file(load_file(path) | {f"lora_unet_conv_in.{key}": torch.zeros(2, 2)}, path)
    with pytest.raises(UserError, match=f"{kind}, "):
        load(path, made.host)


def test_files_that_are_no_safetensors_are_refused(bases, tmp_path):
    host = bases["unet"].host
    (tmp_path / "style.pt").write_bytes(b"x")
    (tmp_path / "style.safetensors").write_bytes(b"x")
    for name in ("style.pt", "none.safetensors"):
        with pytest.raises(UserError, match=r"is no \.safetensors file"):
            load(tmp_path / name, host)
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        load(tmp_path / "style.safetensors", host)
    save_file({"x": torch.zeros(1)}, tmp_path / "style.safetensors", {"lora_adapter_metadata": "{"})
    with pytest.raises(UserError, match="its metadata is no JSON"):
        load(tmp_path / "style.safetensors", host)
    save_file({"x": torch.zeros(1)}, tmp_path / "style.safetensors")
    with pytest.raises(UserError, match=r"no LoRA, unknown, rank none: 0 layers fit; 1 unexpected: x"):
        load(tmp_path / "style.safetensors", host)


def test_two_layers_of_one_name_are_refused(tmp_path):
    class Double(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a_b = torch.nn.Linear(2, 2)
            self.a = torch.nn.ModuleDict({"b": torch.nn.Linear(2, 2)})

    from shared.adapters.host import Host

    class DoubleHost(Host):
        def places(self):
            return []

    with pytest.raises(UserError, match="would both be called lora_unet_a_b"):
        names(DoubleHost(Double()))
