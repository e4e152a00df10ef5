"""Checkpoints by the hub: pushed, pulled, broken off and tampered with, against a stand-in of its HTTP API."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from huggingface_hub import constants

from tests.fakes.hub import READER, WRITER, Hub
from tests.small_models import small_model
from world_model.checkpoints import hub, pull_program, push_program
from world_model.checkpoints.card import write_card
from world_model.checkpoints.checkpoint import CheckpointError, read_manifest, save_checkpoint
from world_model.checkpoints.hub import HubError, pull_checkpoint, push_checkpoint
from world_model.load import load_world_model

TRAINING = {
    "command": "python scripts/train.py --config mine.yaml",
    "git_commit": "0" * 40,
    "data": {"folder": "data/mine", "episodes": 12},
    "metrics": {"rollout_1": 0.0123456, "steps": 7},
    "heads": {"command": "python scripts/train_heads.py", "metrics": {"offset": 0.5}},
}
ID = "me/small"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", WRITER)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "made/small", small_model(), training=TRAINING, parent="mother")
    return tmp_path / "made/small"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def edit_manifest(server: Hub, change: Callable[[dict], object]) -> None:
    values = yaml.safe_load(server.files()["manifest.yaml"])
    change(values)
    server.files()["manifest.yaml"] = yaml.safe_dump(values).encode()


def front_matter(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_what_was_pushed_is_pulled_without_a_bit_of_difference_and_loads(
    server: Hub, small: Path, tmp_path: Path
) -> None:
    address = push_checkpoint(small, ID, message="the first one")
    assert address.startswith(f"{server.url}/{ID}/commit/") and server.messages == ["the first one"]
    assert server.private == {ID: True}
    found = pull_checkpoint(ID, tmp_path / "pulled")
    assert found == tmp_path / "pulled" and contents(found) == contents(small)
    assert load_world_model(found).image_size == 16
    assert {path.name for path in tmp_path.iterdir()} == {"made", "pulled"}
    assert server.storage_logins and set(server.storage_logins) == {None}  # the token goes to nobody but the hub
    asked = len(server.starts)
    assert pull_checkpoint(ID, found) == found and [name for name, _ in server.starts[asked:]] == ["manifest.yaml"]


def test_the_programs_push_the_bundled_checkpoint_and_pull_it(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    push_program.main(["franka-tiny", "me/reaches", "--no-private", "--revision", "v1"])
    assert f"{server.url}/me/reaches/commit/" in capsys.readouterr().out and server.private == {"me/reaches": False}
    assert "manifest.yaml" not in server.files("me/reaches")
    monkeypatch.setattr(hub, "CHECKPOINTS", tmp_path)
    pull_program.main(["me/reaches", "--revision", "v1"])
    assert f"{tmp_path / 'reaches'}: vjepa2_ac, 96 pixels, 4 Hz, licence MIT" in capsys.readouterr().out
    assert contents(tmp_path / "reaches") == contents(hub.find_checkpoint("franka-tiny"))
    asked = len(server.starts), len(server.messages)
    push_program.main(["franka-tiny", "me/reaches", "--card"])
    assert "vjepa-planner pull me/reaches" in capsys.readouterr().out and asked == (len(server.starts), 1)


@pytest.mark.parametrize("later", [False, True], ids=["at once", "by the next call"])
def test_a_pull_that_broke_off_goes_on(server: Hub, small: Path, tmp_path: Path, later: bool) -> None:
    push_checkpoint(small, ID)
    server.breaks, server.down = 1, later
    if later:
        with pytest.raises(HubError, match=r"refused with status 500 \(not now\); what is complete is kept"):
            pull_checkpoint(ID, tmp_path / "pulled")
        with pytest.raises(CheckpointError, match="there is no checkpoint"):
            load_world_model(tmp_path / "pulled")
        assert (tmp_path / ".pulled.pull").is_dir() and not (tmp_path / "pulled").exists()
        server.down = False
        server.starts.clear()
    assert contents(pull_checkpoint(ID, tmp_path / "pulled")) == contents(small)
    size = (small / "encoder/model.safetensors").stat().st_size
    assert [start for _, start in server.starts if start] == [size // 2]
    assert {path.name for path in tmp_path.iterdir()} == {"made", "pulled"}


def test_what_is_left_of_another_revision_is_not_mixed_in(server: Hub, small: Path, tmp_path: Path) -> None:
    push_checkpoint(small, ID)
    server.breaks, server.down = 1, True
    with pytest.raises(HubError):
        pull_checkpoint(ID, tmp_path / "pulled")
    server.down = False
    save_checkpoint(small, small_model(residual=True), training={})
    push_checkpoint(small, ID)
    assert contents(pull_checkpoint(ID, tmp_path / "pulled")) == contents(small)


@pytest.mark.parametrize("name", ["encoder/config.json", "predictor.safetensors"])
def test_a_tampered_file_is_refused_and_loaded_anew_the_next_time(
    server: Hub, small: Path, tmp_path: Path, name: str
) -> None:
    push_checkpoint(small, ID)
    true = server.files()[name]
    server.files()[name] = true[:-1] + bytes([true[-1] ^ 1])
    with pytest.raises(CheckpointError, match=f"{ID}: {name} is damaged or was replaced: its SHA-256 is"):
        pull_checkpoint(ID, tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()
    server.files()[name] = true
    assert contents(pull_checkpoint(ID, tmp_path / "pulled")) == contents(small)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["files"].update({"weights.pt": "0"}), r"are \.safetensors and \.json files, not 'weights.pt'"),
        (lambda m: m["files"].update({"encoder/code.py": "0"}), "not 'encoder/code.py'"),
        (lambda m: m["files"].update({".config.json": "0"}), "not '.config.json'"),
        (lambda m: m["files"].update({"../out.json": "0"}), "files must be exactly those in the checkpoint's folder"),
        (lambda m: m["files"].update({"/out.json": "0"}), "files must be exactly those in the checkpoint's folder"),
        (lambda m: m["files"].update({"more.json": "0"}), "it lacks more.json, though manifest.yaml names it"),
        (lambda m: m.update(format=7), f"^{ID}: manifest.yaml must be of format 2, got 7; a newer vjepa-planner may"),
        (lambda m: m.pop("kind"), f"{ID}: manifest.yaml.*lacks 'kind'"),
    ],
)
def test_a_manifest_at_fault_is_refused_before_anything_is_loaded(
    server: Hub, small: Path, tmp_path: Path, change: Callable[[dict], object], message: str
) -> None:
    push_checkpoint(small, ID)
    edit_manifest(server, change)
    with pytest.raises(CheckpointError, match=message):
        pull_checkpoint(ID, tmp_path / "pulled")
    assert [path.name for path in tmp_path.iterdir()] == ["made"] and len(server.starts) == 1


def test_files_that_the_manifest_does_not_name_are_never_loaded(server: Hub, small: Path, tmp_path: Path) -> None:
    push_checkpoint(small, ID)
    server.files()["model.pt"] = server.files()["setup.py"] = b"import os"
    assert contents(pull_checkpoint(ID, tmp_path / "pulled")) == contents(small)


def test_a_repository_that_is_no_checkpoint_is_said_to_be(server: Hub, small: Path, tmp_path: Path) -> None:
    server.repositories["you/story"], server.private["you/story"] = {"main": {"text.txt": b"once"}}, False
    with pytest.raises(CheckpointError, match=r"you/story is no checkpoint: it has no manifest\.yaml"):
        pull_checkpoint("you/story", tmp_path / "pulled")
    with pytest.raises(CheckpointError, match=r"holds something that is no checkpoint \(text\.txt\)"):
        push_checkpoint(small, "you/story", private=False)
    with pytest.raises(ValueError, match="a repository on the hub is OWNER/NAME, got 'story'"):
        pull_checkpoint("story")


def test_a_folder_that_holds_something_else_is_left_alone(server: Hub, small: Path, tmp_path: Path) -> None:
    push_checkpoint(small, ID)
    (tmp_path / "notes").mkdir()
    assert contents(pull_checkpoint(ID, tmp_path / "notes")) == contents(small)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thoughts.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="holds something that is no checkpoint; choose another name"):
        pull_checkpoint(ID, tmp_path / "full")
    save_checkpoint(tmp_path / "other", small_model(residual=True), training={})
    before = contents(tmp_path / "other")
    with pytest.raises(CheckpointError, match="is another checkpoint; choose another name"):
        pull_checkpoint(ID, tmp_path / "other")
    assert contents(tmp_path / "other") == before and (tmp_path / "full/thoughts.txt").read_text() == "mine"


def test_what_is_not_there_and_who_may_not_is_said_in_one_line(
    server: Hub, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_checkpoint(small, ID)
    with pytest.raises(HubError, match=r"there is no repository me/none on the hub, or it is private and your login"):
        pull_checkpoint("me/none", tmp_path / "pulled")
    with pytest.raises(HubError, match="me/small has no revision 'v9'"):
        pull_checkpoint(ID, tmp_path / "pulled", revision="v9")
    monkeypatch.setenv("HF_TOKEN", READER)
    with pytest.raises(
        HubError, match=r"your login has no permission for that in me/other \(You don't have the rights"
    ):
        push_checkpoint(small, "me/other")
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    with pytest.raises(HubError, match=r"does not accept your login \(Invalid username or password\.\): log in with"):
        push_checkpoint(small, "me/other")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match="nobody is logged in to the hub: log in with `hf auth login`, or set HF_TOKEN"):
        push_checkpoint(small, ID)
    with pytest.raises(SystemExit, match=r"there is no repository me/small.*private and nobody is logged in") as ended:
        pull_program.main([ID, str(tmp_path / "pulled")])
    assert "\n" not in str(ended.value) and not (tmp_path / "pulled").exists()


def test_a_hub_that_is_out_of_reach_is_one_line(
    server: Hub, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for ask in (lambda: pull_checkpoint(ID, tmp_path / "pulled"), lambda: push_checkpoint(small, ID)):
        with pytest.raises(HubError, match=r"the hub can't be reached .*check the network and run this again"):
            ask()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="not asked while HF_HUB_OFFLINE is set"):
        pull_checkpoint(ID, tmp_path / "pulled")


def test_weights_do_not_become_public_by_accident(server: Hub, small: Path) -> None:
    push_checkpoint(small, ID, private=False)
    with pytest.raises(CheckpointError, match="me/small is public: say --no-private"):
        push_checkpoint(small, ID)
    save_checkpoint(small, small_model(), training={}, licence="unknown, that of the source")
    with pytest.raises(
        CheckpointError, match="its licence is 'unknown, that of the source'; such weights are not made"
    ):
        push_checkpoint(small, ID, private=False)


def test_a_damaged_checkpoint_is_not_pushed(server: Hub, small: Path) -> None:
    (small / "predictor.safetensors").write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="is damaged or was replaced"):
        push_checkpoint(small, ID)
    assert not server.repositories


def test_the_card_says_what_the_manifest_says(server: Hub, small: Path) -> None:
    push_checkpoint(small, ID)
    card, manifest = server.files()["README.md"].decode(), read_manifest(small)
    tags = ["robotics", "world-model", "vjepa-planner"]
    assert front_matter(card) == {"license": "mit", "library_name": "vjepa-planner", "tags": tags}
    rows = ("kind | vjepa2_ac", "images | 16 x 16 pixels", "trained from | mother", "x | m | -0.1 to 0.1")
    for line in (*rows, "rollout_1 | 0.01235", "steps | 7", "offset | 0.5"):
        assert f"| {line} |" in card
    for command in (TRAINING["command"], "python scripts/train_heads.py", f"vjepa-planner pull {ID}"):
        assert f"```bash\n{command}\n```" in card
    assert 'load_world_model("small")' in card and "  episodes: 12\n" in card and "0" * 40 in card
    shapes = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])
    assert shapes == {"parts": manifest.parts} and card.count("| metric | value |") == 2
    assert card == write_card(manifest, ID, {name: (small / name).stat().st_size for name in manifest.files})


@pytest.mark.parametrize(
    ("licence", "front"),
    [
        ("CC-BY-NC-4.0", {"license": "cc-by-nc-4.0"}),
        ("unknown, that of the source", {"license": "other", "license_name": "unknown-that-of-the-source"}),
    ],
)
def test_a_licence_becomes_a_name_that_the_hub_knows(small: Path, licence: str, front: dict) -> None:
    save_checkpoint(small, small_model(), training={}, licence=licence)
    card = hub.describe_checkpoint(small, ID)
    assert {key: value for key, value in front_matter(card).items() if key.startswith("license")} == front
    assert f"| licence of the weights | {licence} |" in card and "does not say how it was made" in card
