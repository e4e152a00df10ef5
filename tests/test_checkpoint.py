"""Checkpoints: saved and loaded without a bit of difference, every kind of damage its own error; official files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import VJEPA2Model

from envs.config import dump_config
from envs.spec import Observation
from tests.small_models import (
    ACTIONS,
    GOLDEN,
    STATISTICS,
    eager_model,
    golden_model,
    golden_outputs,
    random_actions,
    random_state,
    small_model,
)
from world_model.checkpoints import checkpoint
from world_model.checkpoints import folder as checkpoint_folder
from world_model.checkpoints.checkpoint import (
    CheckpointError,
    Manifest,
    read_manifest,
    save_checkpoint,
    save_with_history,
)
from world_model.checkpoints.weights_file import load_weights, write_weights
from world_model.encoders.vjepa2 import Encoder
from world_model.heads.ways import InverseDynamics
from world_model.importing.official import load_official, read_official
from world_model.load import load_world_model
from world_model.vjepa2_ac import load_vjepa2_ac

TRAINING = {"command": "python scripts/train.py", "git_commit": "0" * 40, "metrics": {"held_out": 0.04}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "small", small_model(residual=True), training=TRAINING, parent="none", licence="MIT")
    return tmp_path / "small"


def edit_manifest(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / "manifest.yaml"
    values = yaml.safe_load(path.read_text())
    change(values)
    path.write_text(yaml.safe_dump(values))


def edit_weights(folder: Path, name: str, change: Callable[[dict], object]) -> None:
    """Changes a file's tensors and writes the manifest as if they were meant so."""
    tensors = load_file(folder / name)
    change(tensors)
    save_file(tensors, folder / name)
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    edit_manifest(folder, lambda values: values["files"].update({name: digest}))


@torch.no_grad()
def test_a_loaded_checkpoint_gives_bit_identical_outputs(folder: Path) -> None:
    model, loaded = small_model(residual=True), load_vjepa2_ac(folder)
    pixels, state, actions = torch.randn(2, 3, 16, 16), random_state(2), random_actions(3, 2)
    assert torch.equal(loaded.encoder(pixels), model.encoder(pixels))
    before, after = model.rollout(state, actions), loaded.rollout(state, actions)
    assert torch.equal(after.tokens, before.tokens) and torch.equal(after.poses, before.poses)
    assert (loaded.action_spec, loaded.statistics, loaded.context) == (ACTIONS, STATISTICS, 2)
    assert not loaded.training and not any(parameter.requires_grad for parameter in loaded.parameters())


def test_the_manifest_says_what_was_saved(folder: Path) -> None:
    manifest, model = read_manifest(folder), small_model(residual=True)
    assert isinstance(manifest, Manifest) and manifest.name == "small" and manifest.parent == "none"
    shapes = {"encoder": model.encoder.settings(), "predictor": dump_config(model.predictor.config)}
    assert shapes["encoder"]["kind"] == "vjepa2" and shapes["encoder"]["patch_size"] == 8
    assert manifest.kind == "vjepa2_ac" and manifest.image_size == 16 and manifest.parts == shapes
    assert manifest.training == TRAINING and manifest.fps == ACTIONS.rate and manifest.licence == "MIT"
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert names == sorted([*manifest.files, "manifest.yaml"])


@torch.no_grad()
def test_transformers_reads_the_encoder_folder(folder: Path) -> None:
    loaded, pixels = VJEPA2Model.from_pretrained(folder / "encoder").eval(), torch.randn(2, 1, 3, 16, 16)
    encoder = load_vjepa2_ac(folder).encoder
    assert isinstance(encoder, Encoder)
    expected = encoder.model.encoder(pixels).last_hidden_state
    torch.testing.assert_close(loaded(pixels, skip_predictor=True).last_hidden_state, expected, atol=2e-5, rtol=0)


@torch.no_grad()
def test_weights_may_be_stored_in_bfloat16(tmp_path: Path) -> None:
    model = small_model()
    save_checkpoint(tmp_path / "half", model, training={}, weights="bfloat16")
    loaded = load_vjepa2_ac(tmp_path / "half")
    for before, after in zip(model.predictor.parameters(), loaded.predictor.parameters(), strict=True):
        assert after.dtype == torch.float32 and torch.equal(before.bfloat16().float(), after)


@torch.no_grad()
def test_a_checkpoint_loaded_in_bfloat16_computes_in_it_and_gives_float32(folder: Path) -> None:
    # 2^-9 relative rounding in each product; layer-normed values are of order 1.
    exact, rounded = load_vjepa2_ac(folder), load_vjepa2_ac(folder, precision="bf16")
    assert {parameter.dtype for parameter in rounded.parameters()} == {torch.bfloat16}
    image = torch.randint(0, 255, (20, 20, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).numpy()
    seen = [Observation(image, np.full(7, 0.1), 0.0)]
    for one, other in (
        (exact.encode(seen), rounded.encode(seen)),
        (exact.rollout(random_state(2), random_actions(2, 2)), rounded.rollout(random_state(2), random_actions(2, 2))),
    ):
        assert other.tokens.dtype == torch.float32 and torch.equal(one.poses, other.poses)
        assert 0 < (one.tokens - other.tokens).abs().mean() < 0.05


def test_a_device_that_is_not_there_is_an_error_that_lists_those_that_are(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no device 'cuda:99' here; there are: cpu.*or auto"):
        load_vjepa2_ac(folder, "cuda:99")
    assert load_vjepa2_ac(folder, "auto").action_mean.device.type in {"cpu", "cuda", "mps"}


def test_a_part_that_learns_again_keeps_how_it_learnt_before(folder: Path, tmp_path: Path) -> None:
    first = read_manifest(folder)
    for command in ("once", "twice"):
        parent = folder if command == "once" else tmp_path / "once"
        save_with_history(tmp_path / command, small_model(), str(parent), "heads", {"command": command})
    told = read_manifest(tmp_path / "twice").training
    assert {name: told[name] for name in first.training} == first.training
    assert [told["heads"]["command"], told["heads"]["before"]["command"]] == ["twice", "once"]
    assert told["heads"]["before"]["parent_files"] == first.files
    assert "before" not in told["heads"]["before"]


def test_saving_replaces_a_checkpoint_and_nothing_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(folder, small_model(), training={"command": "again"})
    assert read_manifest(folder).training == {"command": "again"}

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint, "dump_config", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(folder, small_model(), training={"command": "third"})
    assert read_manifest(folder).training == {"command": "again"}
    assert [path.name for path in folder.parent.iterdir()] == ["small"]
    (folder.parent / "notes").mkdir()
    (folder.parent / "notes" / "thoughts.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="holds something that is no checkpoint"):
        save_checkpoint(folder.parent / "notes", small_model(), training={})


@pytest.mark.parametrize("name", ["encoder/config.json", "encoder/model.safetensors", "predictor.safetensors"])
def test_a_flipped_byte_is_found(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name} is damaged or was replaced"):
        load_vjepa2_ac(folder)


@pytest.mark.parametrize("name", ["encoder/config.json", "encoder/model.safetensors", "predictor.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        load_vjepa2_ac(folder)


def test_a_head_is_missing_or_fits_no_other_model(tmp_path: Path) -> None:
    model = eager_model()
    save_checkpoint(tmp_path / "eager", model, training={})
    assert set(load_world_model(tmp_path / "eager").heads) == {"inverse_dynamics"}
    (tmp_path / "eager" / "inverse_dynamics.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"inverse_dynamics\.safetensors is missing"):
        load_world_model(tmp_path / "eager")
    head = model.heads["inverse_dynamics"]
    assert isinstance(head, InverseDynamics)
    other = InverseDynamics(replace(head.config, pose_size=6))
    with pytest.raises(ValueError, match="the inverse dynamics learnt from poses of 6 numbers, the model has 7"):
        model.add_head("inverse_dynamics", other)
    other = InverseDynamics(replace(head.config, action_size=6))
    with pytest.raises(ValueError, match="the inverse dynamics learnt from actions of 6 numbers, the model has 7"):
        model.add_head("inverse_dynamics", other)


def test_missing_and_unexpected_tensors_are_named(folder: Path) -> None:
    edit_weights(folder, "predictor.safetensors", lambda t: t.update(prediktor_norm=t.pop("predictor_norm.weight")))
    with pytest.raises(CheckpointError, match=r"predictor_norm\.weight missing, prediktor_norm unexpected"):
        load_vjepa2_ac(folder)


def test_a_tensor_of_the_wrong_shape_is_named(folder: Path) -> None:
    name = "encoder.layernorm.weight"
    edit_weights(folder, "encoder/model.safetensors", lambda t: t.update({name: torch.ones(13)}))
    with pytest.raises(CheckpointError, match=r"encoder\.layernorm\.weight is \(13,\), must be \(12,\)"):
        load_vjepa2_ac(folder)


def test_a_tensor_of_the_wrong_precision_is_named(folder: Path) -> None:
    name = "predictor_proj.bias"
    edit_weights(folder, "predictor.safetensors", lambda t: t.update({name: t[name].half()}))
    with pytest.raises(CheckpointError, match=r"says torch\.float32, but predictor_proj\.bias is torch\.float16"):
        load_vjepa2_ac(folder)


def test_a_file_that_is_no_safetensors_is_named(folder: Path) -> None:
    (folder / "predictor.safetensors").write_bytes(b"nonsense")
    digest = hashlib.sha256(b"nonsense").hexdigest()
    edit_manifest(folder, lambda values: values["files"].update({"predictor.safetensors": digest}))
    with pytest.raises(CheckpointError, match="not a valid safetensors file"):
        load_vjepa2_ac(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(contxt=m.pop("context")), "unknown key 'contxt'.*did you mean 'context'"),
        (
            lambda m: m["parts"]["predictor"].update(head=3),
            r"parts\.predictor: unknown key 'head'.*did you mean 'heads'",
        ),
        (lambda m: m.pop("statistics"), "lacks 'statistics'"),
        (lambda m: m.update(format=7), "must be of format 2, got 7; a newer vjepa-planner"),
        (lambda m: m["action_spec"].update(low=[1.0] * 7), "low <= high"),
        (lambda m: m["action_spec"].update(names=["x"]), "equally long"),
        (lambda m: m["files"].update({"../../etc/passwd": "0"}), "files must be exactly"),
        (lambda m: m["files"].update({"more.bin": "0"}), r"more\.bin is missing"),
        (lambda m: m.update(format=1), "must be of format 2, got 1; train or import it again"),
        (lambda m: m.update(kind="vjepa3"), r"there is no world model 'vjepa3'.*Known: vjepa2_ac, compact"),
        (
            lambda m: m["parts"]["encoder"].pop("kind"),
            r"parts\.encoder must have a kind, one of vjepa2, convolutions, backbone",
        ),
        (lambda m: m["parts"]["encoder"].update(kind="dino"), "parts.encoder: there is no encoder 'dino'"),
        (lambda m: m["heads"].update(goal={}), "there is no head 'goal'.*Known: bank, inverse_dynamics"),
        (lambda m: m["files"].pop("predictor.safetensors"), r"must name the file predictor\.safetensors"),
        (lambda m: m.update(context="many"), "'context'.*must be int"),
        (lambda m: m.update(context=99), r"context must be 1 \.\. 6"),
        (lambda m: m["parts"]["encoder"].update(image_size=24), "crop_size is 16, the manifest's encoder has 24"),
        (lambda m: m["parts"]["predictor"].update(grid_width=3), "tokens a frame differ: 4 and 6"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_manifest_at_fault_is_explained(folder: Path, change: Callable[[dict], object], message: str) -> None:
    edit_manifest(folder, change)
    with pytest.raises(CheckpointError, match=message):
        load_vjepa2_ac(folder)


def test_a_manifest_that_is_no_yaml_is_named(folder: Path) -> None:
    (folder / "manifest.yaml").write_text("format: [1")
    with pytest.raises(CheckpointError, match=r"manifest\.yaml is not valid YAML"):
        read_manifest(folder)


def test_an_unknown_name_lists_the_checkpoints_there_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_folder, "CHECKPOINTS", folder.parent)
    assert read_manifest("small").name == "small"
    with pytest.raises(CheckpointError, match=r"no checkpoint 'smal'.*\['small'\]"):
        load_vjepa2_ac("smal")
    with pytest.raises(CheckpointError, match=r"is no checkpoint: it has no manifest\.yaml"):
        load_vjepa2_ac(folder / "encoder")
    named = {"franka": "franka", "runs/mine/checkpoint": "mine", "checkpoint": "checkpoint", "a/b": "b"}
    assert {path: checkpoint_folder.called(path) for path in named} == named


@torch.no_grad()
def test_official_weights_survive_a_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    model, golden = golden_model(), golden_outputs()
    save_checkpoint(tmp_path / "official", model, training={}, licence="MIT")
    loaded, frames = load_vjepa2_ac(tmp_path / "official"), golden["clip"][:, :, 0]
    parts = (golden["latents"], golden["actions"], golden["states"])
    assert torch.equal(loaded.encoder(frames), model.encoder(frames))
    assert torch.equal(loaded.predictor(*parts), model.predictor(*parts))


def test_an_official_file_at_fault_is_explained(tmp_path: Path) -> None:
    load = partial(load_official, image_size=64, encoder_heads=3, predictor_heads=4)
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(CheckpointError, match="can't be read as a torch file of tensors"):
        load(tmp_path / "text.pt")
    torch.save({"predictor": {}, "opt": None}, tmp_path / "part.pt")
    with pytest.raises(CheckpointError, match=r"must hold an encoder or an action.*it has \['opt', 'predictor'\]"):
        load(tmp_path / "part.pt")
    content = torch.load(GOLDEN / "vjepa2_ac_tiny.pt", weights_only=True)
    del content["predictor"]["module.predictor_embed.weight"]
    torch.save(content, tmp_path / "lacking.pt")
    with pytest.raises(CheckpointError, match=r"lacks predictor_embed\.weight"):
        load(tmp_path / "lacking.pt")
    content["predictor"]["module.predictor_embed.weight"] = torch.zeros(128, 96)
    content["encoder"]["module.norms_block.0.weight"] = torch.zeros(96)
    torch.save(content, tmp_path / "more.pt")
    with pytest.raises(CheckpointError, match=r"norms_block\.0\.weight.*2\.1 is another architecture"):
        load(tmp_path / "more.pt")


def test_pretraining_prefixes_are_taken_off(tmp_path: Path) -> None:
    content = torch.load(GOLDEN / "vjepa2_ac_tiny.pt", weights_only=True)
    longer = {name.replace("module.", "module.backbone."): tensor for name, tensor in content["encoder"].items()}
    torch.save({**content, "encoder": longer}, tmp_path / "longer.pt")
    expected = read_official(GOLDEN / "vjepa2_ac_tiny.pt")
    found = read_official(tmp_path / "longer.pt")
    assert found.encoder is not None and expected.encoder is not None
    assert found.encoder.keys() == expected.encoder.keys()


def test_weights_load_into_any_module_strictly() -> None:
    module = torch.nn.Linear(2, 1)
    load_weights(module, {"weight": torch.ones(1, 2, dtype=torch.bfloat16), "bias": torch.zeros(1)}, "here")
    assert module.weight.dtype == torch.float32 and module.weight.requires_grad
    with pytest.raises(CheckpointError, match="here: bias missing, nothing unexpected"):
        load_weights(module, {"weight": torch.ones(1, 2)}, "here")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_are_written_as_safetensors_does(tmp_path: Path, dtype: torch.dtype) -> None:
    big = torch.randn(6, 5)
    tensors = {"rows": big[2:4], "turned": big.T, "number": torch.tensor(3.5), "nothing": torch.zeros(0, 4)}
    write_weights(tmp_path / "ours", tensors, dtype)
    found = load_file(tmp_path / "ours")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == dtype and torch.equal(found[name], tensor.to(dtype))
