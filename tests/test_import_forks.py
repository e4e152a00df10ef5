"""Weights as forks write them: the same model where it is certain, otherwise one line; nothing in a file is run."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.small_models import GOLDEN as FOLDER
from world_model.importing import program
from world_model.importing.official import load_official, make_encoder, read_official
from world_model.vjepa2_ac import VJEPA2AC, load_vjepa2_ac

GOLDEN = FOLDER / "vjepa2_ac_tiny.pt"
SHAPE = ["--image-size", "64", "--encoder-heads", "3", "--predictor-heads", "4", "--max-frames", "8"]
KEYWORDS: dict[str, Any] = {"image_size": 64, "encoder_heads": 3, "predictor_heads": 4, "max_frames": 8}


@pytest.fixture
def content() -> dict:
    return torch.load(GOLDEN, weights_only=True)


def assert_same_weights(one: VJEPA2AC, other: VJEPA2AC) -> None:
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def renamed(content: dict, change: Callable[[str], str]) -> dict:
    return {part: {change(name): value for name, value in content[part].items()} for part in ("encoder", "predictor")}


def flat(content: dict, prefix: str = "") -> dict:
    return {
        f"{prefix}{part}.{name.removeprefix('module.')}": value
        for part in ("encoder", "predictor")
        for name, value in content[part].items()
    }


def legacy(content: dict, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


FORKS: dict[str, Callable[[dict], dict]] = {
    "compiled": lambda c: renamed(c, lambda name: name.replace("module.", "_orig_mod.")),
    "ddp-of-compiled": lambda c: renamed(c, lambda name: name.replace("module.", "module._orig_mod.")),
    "compiled-ddp": lambda c: renamed(c, lambda name: f"_orig_mod.{name}"),
    "compiled-blocks": lambda c: renamed(c, lambda name: name.replace("blocks.0.", "blocks.0._orig_mod.")),
    "checkpointed-fsdp": lambda c: renamed(
        c, lambda name: "_fsdp_wrapped_module." + name.replace("blocks.1.", "blocks.1._checkpoint_wrapped_module.")
    ),
    "bare": lambda c: renamed(c, lambda name: name.removeprefix("module.")),
    "target": lambda c: {"target_encoder": c["encoder"], "predictor": c["predictor"]},
    "target-compiled": lambda c: {
        "target_encoder": renamed(c, lambda name: f"module._orig_mod.backbone.{name.removeprefix('module.')}")[
            "encoder"
        ],
        "predictor": c["predictor"],
    },
    "both": lambda c: {**c, "target_encoder": {k: v.clone() for k, v in c["encoder"].items()}, "epoch": 3, "lr": 0.1},
    "numbers": lambda c: {
        **c,
        "loss": np.float64(0.5),
        "epoch": np.int64(3),
        "best": np.float32(1),
        "on": np.bool_(True),
    },
    "optimiser": lambda c: {**c, "opt": {"state": {0: {"exp_avg": torch.ones(3)}}}, "scaler": None, "world_size": 8},
    "model": lambda c: {"model": {**c}, "optimizer": {"encoder": 3}},
    "lightning": lambda c: {"state_dict": flat(c, "model."), "epoch": 3, "hyper_parameters": {"lr": 0.1}},
    "flat": flat,
    "nested-states": lambda c: {part: {"state_dict": c[part]} for part in ("encoder", "predictor")},
}


@pytest.mark.parametrize("kind", FORKS)
def test_files_of_forks_are_the_same_model(
    kind: str, content: dict, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    torch.save(FORKS[kind](content), tmp_path / "fork.pt")
    program.main([str(tmp_path / "fork.pt"), str(tmp_path / "model"), *SHAPE])
    assert_same_weights(load_vjepa2_ac(tmp_path / "model"), load_official(GOLDEN, **KEYWORDS))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_the_size_are_read_as_they_round(dtype: torch.dtype, content: dict, tmp_path: Path) -> None:
    half = {part: {name: value.to(dtype) for name, value in content[part].items()} for part in ("encoder", "predictor")}
    torch.save(half, tmp_path / "half.pt")
    expected = load_official(GOLDEN, **KEYWORDS).predictor.predictor_norm.weight.to(dtype).float()
    found = load_official(tmp_path / "half.pt", **KEYWORDS).predictor.predictor_norm.weight
    assert found.dtype == torch.float32 and torch.equal(found, expected)


def test_safetensors_and_the_format_before_zip_are_read(content: dict, tmp_path: Path) -> None:
    save_file(flat(content), tmp_path / "all.safetensors", {"format": "pt", "steps": "3"})
    legacy(content, tmp_path / "old.pt")
    for name in ("all.safetensors", "old.pt"):
        assert_same_weights(load_official(tmp_path / name, **KEYWORDS), load_official(GOLDEN, **KEYWORDS))


def test_a_state_dict_alone_is_an_encoder_or_a_predictor(content: dict, tmp_path: Path) -> None:
    torch.save({f"module.{name}": value for name, value in content["encoder"].items()}, tmp_path / "encoder.pt")
    torch.save(content["predictor"], tmp_path / "predictor.pt")
    encoder, predictor = (read_official(tmp_path / f"{name}.pt") for name in ("encoder", "predictor"))
    assert encoder.predictor is None and make_encoder(encoder, 64, 3).width == 96
    assert predictor.encoder is None
    model = load_official(predictor, encoder=make_encoder(encoder, 64, 3), predictor_heads=4, max_frames=8)
    assert_same_weights(model, load_official(GOLDEN, **KEYWORDS))


def test_encoders_that_differ_are_told_of(content: dict, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save({**content, "target_encoder": {k: v + 1 for k, v in content["encoder"].items()}}, tmp_path / "two.pt")
    assert_same_weights(load_official(tmp_path / "two.pt", **KEYWORDS), load_official(GOLDEN, **KEYWORDS))
    assert "several encoders that differ, encoder, target_encoder: the first is taken" in caplog.text


class Trap:
    """Pickled, it would make a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


def write_config(content: dict, path: Path) -> None:
    torch.save({**content, "args": argparse.Namespace(lr=1)}, path)


def write_trap(content: dict, path: Path) -> None:
    torch.save({**content, "extra": Trap(path.with_name("sprung"))}, path)


def write_module(_: dict, path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), path)


def write_array(content: dict, path: Path) -> None:
    torch.save({**content, "curve": np.arange(3.0)}, path)


def write_text(text: str) -> Callable[[dict, Path], object]:
    return lambda _, path: path.write_text(text)


def write_short(content: dict, path: Path) -> None:
    torch.save(content, path)
    path.write_bytes(path.read_bytes()[:-4000])


def write_broken(content: dict, path: Path) -> None:
    name = "module.predictor_norm.weight"
    torch.save({**content, "predictor": {**content["predictor"], name: torch.full((128,), float("inf"))}}, path)


def write_transformers(_: dict, path: Path) -> None:
    torch.save({"encoder.embeddings.patch_embeddings.proj.weight": torch.ones(2)}, path)


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (write_config, r"only running their code would read: argparse\.Namespace.*write it again with tensors alone"),
        (write_trap, "only running their code would read: (getattr|pathlib)"),
        (write_module, r"only running their code would read: torch\.nn\.modules\.linear\.Linear"),
        (write_array, r"only running their code would read: numpy\._core\.multiarray\._reconstruct"),
        (write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "a pointer of git-lfs"),
        (write_text("<!DOCTYPE html><html></html>"), "is a web page"),
        (write_text(""), "can't be read as a torch file of tensors"),
        (write_short, "can't be read as a torch file of tensors"),
        (write_broken, r"1 of \d+ tensors are not finite: predictor_norm\.weight"),
        (write_transformers, "of transformers' format: name its folder"),
        (lambda _, path: torch.save([1, 2], path), r"must hold an encoder .* it has no named parts"),
        (lambda _, path: torch.save({f"layer{i}": torch.ones(1) for i in range(20)}, path), r"it has .* and 12 more"),
    ],
)
def test_what_can_not_be_read_is_one_line_and_runs_nothing(
    write: Callable[[dict, Path], object], why: str, content: dict, tmp_path: Path
) -> None:
    write(content, tmp_path / "file.pt")
    with pytest.raises(SystemExit, match=why) as told:
        program.main([str(tmp_path / "file.pt"), str(tmp_path / "model"), *SHAPE])
    assert "\n" not in str(told.value) and len(str(told.value)) < 600
    assert not (tmp_path / "sprung").exists() and not (tmp_path / "model").exists()
