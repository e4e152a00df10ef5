"""YAML and command lines into dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from envs.command_line import config_from_command_line
from envs.config import ConfigError, dump_config, load_config
from planner.search.cem import CEMConfig
from planner.search.gradient import GradientConfig
from planner.search.hybrid import HybridConfig
from planner.search.icem import ICEMConfig
from planner.search.mppi import MPPIConfig
from planner.search.official_cem import OfficialCEMConfig
from planner.search.planner_config import PlannerConfig
from planner.search.predictive_sampling import PredictiveSamplingConfig


@dataclass(frozen=True)
class Inner:
    width: int = 8
    kind: Literal["plain", "wavy"] = "plain"

    def __post_init__(self) -> None:
        if self.width <= 0:
            raise ValueError(f"width must be positive, got {self.width}")


@dataclass(frozen=True)
class Choice:
    planner: PlannerConfig = field(default_factory=OfficialCEMConfig)


@dataclass(frozen=True, kw_only=True)
class Job(Choice):
    data: Path
    some_name: str


@dataclass(frozen=True)
class Outer:
    data: Path
    rate: float = 1.0
    flag: bool = False
    seeds: tuple[int, ...] = (1, 2)
    size: tuple[int, float] = (1, 2.0)
    limit: float | None = None
    inner: Inner = field(default_factory=Inner)


def test_a_file_fills_nested_fields_and_overrides_win(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("data: somewhere\nrate: 1e-3\nseeds: [4, 5, 6]\ninner: {width: 3}\n")
    config = load_config(Outer, path, {"inner.kind": "wavy", "limit": 2})
    assert config == Outer(Path("somewhere"), 1e-3, seeds=(4, 5, 6), limit=2.0, inner=Inner(3, "wavy"))


def test_a_dumped_config_loads_to_an_equal_one(tmp_path: Path) -> None:
    config = Outer(Path("x/y"), limit=0.5, inner=Inner(5, "wavy"))
    dump_config(config, tmp_path / "resolved.yaml")
    assert load_config(Outer, tmp_path / "resolved.yaml") == config
    assert load_config(Outer, dump_config(config)) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": "d", "raet": 2}, "did you mean 'rate'"),
        ({"data": "d", "inner": {"widht": 2}}, "did you mean 'inner.width'"),
        ({}, "lacks 'data'"),
        ({"data": "d", "rate": "fast"}, "'rate' in the configuration must be float"),
        ({"data": "d", "seeds": 3}, "'seeds'"),
        ({"data": "d", "seeds": [1, "two"]}, r"'seeds\[1\]'"),
        ({"data": "d", "size": [1]}, "'size'"),
        ({"data": "d", "flag": 1}, "'flag' in the configuration must be bool"),
        ({"data": "d", "inner": {"kind": "round"}}, "'inner.kind'"),
        ({"data": "d", "inner": {"width": -1}}, "width must be positive"),
        ({"data": "d", "inner": {"width": 1.5}}, "must be int"),
    ],
)
def test_what_is_wrong_is_named(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(Outer, values)


def test_a_missing_file_names_the_files_there(tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text("data: d\n")
    with pytest.raises(ConfigError, match=r"real\.yaml"):
        load_config(Outer, tmp_path / "reel.yaml")


def test_flags_override_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("data: somewhere\nrate: 2.0\n")
    config = config_from_command_line(Outer, "Test.", ["--config", str(path), "--inner.width", "4", "--limit", "0.5"])
    assert config == Outer(Path("somewhere"), 2.0, limit=0.5, inner=Inner(4))


def test_a_wrong_file_ends_the_program_with_the_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("data: somewhere\nraet: 2.0\n")
    with pytest.raises(SystemExit):
        config_from_command_line(Outer, "Test.", ["--config", str(path)])
    assert "did you mean 'rate'" in capsys.readouterr().err


def test_a_choice_between_planners_is_made_by_name() -> None:
    chosen = load_config(Choice, {"planner": {"algorithm": "official_cem", "samples": 7, "elites": 3}})
    assert chosen.planner == OfficialCEMConfig(samples=7, elites=3)
    assert load_config(Choice, dump_config(chosen)) == chosen
    assert load_config(Choice, {"planner": {"horizon": 2}}).planner.algorithm == "cem"
    with pytest.raises(ConfigError, match="did you mean 'official_cem'"):
        load_config(Choice, {"planner": {"algorithm": "oficial_cem"}})
    with pytest.raises(ConfigError, match=r"unknown key 'planner.kept_elites'"):
        load_config(Choice, {"planner": {"algorithm": "official_cem", "kept_elites": 2}})


PLANNERS = [
    CEMConfig,
    ICEMConfig,
    MPPIConfig,
    PredictiveSamplingConfig,
    OfficialCEMConfig,
    GradientConfig,
    HybridConfig,
]


@pytest.mark.parametrize("config", PLANNERS)
def test_every_planner_is_chosen_by_its_name_in_yaml_and_on_the_command_line(config: type) -> None:
    name = config().algorithm
    assert type(load_config(Choice, {"planner": {"algorithm": name}}).planner) is config
    flags = ["--planner.algorithm", name, "--planner.horizon", "3"]
    assert config_from_command_line(Choice, "Test.", flags) == Choice(config(horizon=3))


def test_a_choice_within_a_choice_is_made_in_yaml_and_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(
        "planner:\n  algorithm: hybrid\n  horizon: 2\n"
        "  sampling: {algorithm: icem, samples: 16}\n  gradient: {optimizer: lbfgs, starts: 1}\n"
    )
    descent = GradientConfig(optimizer="lbfgs", starts=1)
    config = load_config(Choice, path)
    assert config == Choice(HybridConfig(horizon=2, sampling=ICEMConfig(samples=16), gradient=descent))
    assert load_config(Choice, dump_config(config)) == config

    flags = ["--config", str(path), "--planner.horizon", "4", "--planner.sampling.algorithm=mppi"]
    expected = Choice(HybridConfig(horizon=4, sampling=MPPIConfig(samples=9), gradient=descent))
    assert config_from_command_line(Choice, "Test.", [*flags, "--planner.sampling.samples", "9"]) == expected


def test_the_name_on_the_command_line_drops_the_files_settings_only_if_it_is_another(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("planner: {algorithm: cem, samples: 9, kept_elites: 0}\n")
    flags = ["--config", str(path), "--planner.algorithm"]
    assert config_from_command_line(Choice, "Test.", [*flags, "cem"]) == Choice(CEMConfig(samples=9, kept_elites=0))
    assert config_from_command_line(Choice, "Test.", [*flags, "mppi"]) == Choice(MPPIConfig())


def test_a_choice_and_what_has_no_default_may_come_from_flags_alone() -> None:
    job = config_from_command_line(Job, "T", ["--planner.algorithm", "mppi", "--data", "here", "--some-name=x"])
    assert (job.data, job.some_name, type(job.planner).__name__) == (Path("here"), "x", "MPPIConfig")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--planner.algorithm", "mpi"], "did you mean 'mppi'"),
        (["--planner.algorithm", "hybrid", "--planner.sampling.algorithm", "gradient"], "Known: cem, icem, mppi"),
        (["--planner.algorithm", "cem", "--planner.sampling.algorithm", "mppi"], "unknown key 'planner.sampling'"),
    ],
)
def test_a_wrong_choice_ends_the_program_with_the_message(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        config_from_command_line(Choice, "Test.", flags)
    assert message in capsys.readouterr().err
