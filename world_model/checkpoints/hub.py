"""Checkpoints on the Hugging Face hub: pushed with a model card, pulled whole or not at all.

The login is the hub's own (``hf auth login`` or HF_TOKEN), its address is HF_ENDPOINT where that is set.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from huggingface_hub import CommitOperationAdd, HfApi, get_session, get_token, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status
from tqdm import tqdm

from envs.bar import progress
from envs.folders import begin_folder, write_bytes
from world_model.checkpoints.card import CARD, write_card
from world_model.checkpoints.checkpoint import Manifest, open_files, read_manifest
from world_model.checkpoints.folder import CHECKPOINTS, MANIFEST, CheckpointError, find_checkpoint
from world_model.checkpoints.hub_errors import LOGIN, NO_ANSWER, HubError, explained_hub
from world_model.checkpoints.weights_file import file_sha256

_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_HELD = (".safetensors", ".json")  # what a checkpoint's files may be: nothing that runs
_TRIES = 5  # connections for a file
_TIMEOUT = 30.0  # [s] without an answer


def push_checkpoint(
    name_or_path: str | Path,
    repo_id: str,
    *,
    private: bool = True,
    revision: str | None = None,
    message: str | None = None,
) -> str:
    """Uploads a checkpoint with its model card in one commit and returns the commit's address.

    Only the manifest, the files that it names and the card are sent; files that are unchanged are not sent again.

    Args:
        name_or_path: A folder, or the name of one in checkpoints/.
        repo_id: OWNER/NAME; made if it is not there.
        private: Whether it must not be seen by others.
        revision: Branch to commit to, made if it is not there; None for the main one.
        message: Of the commit.

    Raises:
        CheckpointError: If it is no whole checkpoint, the repository holds something else, or weights of an unknown
            licence were to be public.
        HubError: If nobody is logged in, the login may not write there, or the hub can't be reached.
    """
    _check_id(repo_id)
    folder = find_checkpoint(name_or_path)
    manifest = read_manifest(folder)
    _check_files(manifest, str(folder))
    open_files(folder, manifest)
    if not private and manifest.licence.startswith("unknown"):
        raise CheckpointError(f"{folder}: its licence is {manifest.licence!r}; such weights are not made public")
    card = describe_checkpoint(folder, repo_id)
    if get_token() is None:
        raise HubError(f"nobody is logged in to the hub: {LOGIN}")
    with explained_hub(repo_id, revision):
        api = HfApi()
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        _check_fits(_find_remote(repo_id, revision), private)
        sent = [CommitOperationAdd(name, str(folder / name)) for name in (MANIFEST, *manifest.files)]
        sent.append(CommitOperationAdd(CARD, card.encode()))
        default = f"{manifest.name}: {manifest.kind}, format {manifest.format}"
        return api.create_commit(repo_id, sent, commit_message=message or default, revision=revision).commit_url


def describe_checkpoint(name_or_path: str | Path, repo_id: str) -> str:
    """Returns the model card that a checkpoint gets in a repository.

    Raises:
        CheckpointError: If there is no such checkpoint or a file of it is missing.
    """
    folder = find_checkpoint(name_or_path)
    manifest = read_manifest(folder)
    missing = [name for name in manifest.files if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(f"{folder / missing[0]} is missing, though {MANIFEST} names it")
    return write_card(manifest, repo_id, {name: (folder / name).stat().st_size for name in manifest.files})


def pulled_folder(repo_id: str, folder: str | Path | None = None) -> Path:
    """Returns where a repository is pulled into: a name's folder in checkpoints/, or the path that is given.

    Args:
        repo_id: OWNER/NAME, whose NAME is taken if nothing is given.
        folder: A name or a path.

    Raises:
        ValueError: If it is no OWNER/NAME.
    """
    _check_id(repo_id)
    folder = Path(folder or repo_id.rpartition("/")[2])
    return CHECKPOINTS / folder if folder.name == str(folder) else folder


def pull_checkpoint(repo_id: str, folder: str | Path | None = None, *, revision: str | None = None) -> Path:
    """Downloads a checkpoint and returns its folder, which is there once every file has been verified.

    What is there of an unfinished pull stays beside it, as .NAME.pull, and the next call asks for the rest alone. Of
    the repository only the manifest and the files that it names are read, which are safetensors and JSON.

    Args:
        repo_id: OWNER/NAME.
        folder: See `pulled_folder`. One that already is this checkpoint is verified and left as it is.
        revision: Branch, tag or commit; None for the main branch.

    Raises:
        CheckpointError: If the repository is no checkpoint or one of another format, a file is not the one that its
            manifest says, or the folder holds something else.
        HubError: If there is no such repository or revision, the login may not read it, or the hub can't be reached.
    """
    folder = pulled_folder(repo_id, folder)
    there = (folder / MANIFEST).is_file()
    if not there and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(f"{folder} holds something that is no checkpoint; choose another name")
    with explained_hub(repo_id, revision):
        remote = _find_remote(repo_id, revision)
        manifest, written = _load_manifest(remote)
        if not there:
            return _load_files(remote, manifest, written, folder)
    if (folder / MANIFEST).read_bytes() != written:
        raise CheckpointError(f"{folder} is another checkpoint; choose another name, or remove it first")
    open_files(folder, manifest)
    return folder


@dataclass(frozen=True)
class _Remote:
    """A repository at one commit.

    Attributes:
        repo_id: OWNER/NAME.
        commit: That files are read of.
        private: Whether others can't see it.
        sizes: Of its files by name [bytes]; None where the hub does not say.
    """

    repo_id: str
    commit: str
    private: bool
    sizes: dict[str, int | None]

    def load(self, name: str, path: Path, bar: tqdm | None = None) -> None:
        """Completes a file, at once if it has its size; connections that break off are taken up again."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        size = self.sizes[name]
        for left in reversed(range(_TRIES)):
            there = path.stat().st_size
            if there == size:
                return
            try:
                _append(hf_hub_url(self.repo_id, name, revision=self.commit, endpoint=HfApi().endpoint), path,
                        there if size is not None and there < size else 0, bar)  # fmt: skip
                return
            except HfHubHTTPError:
                raise
            except NO_ANSWER:
                if left == 0:
                    raise


def _append(address: str, path: Path, start: int, bar: tqdm | None) -> None:
    """Writes what is at an address to a file, from a byte on where the server can."""
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with get_session().stream("GET", address, headers=headers, timeout=_TIMEOUT) as response:
        hf_raise_for_status(response)
        goes_on = response.status_code == 206
        with path.open("ab" if goes_on else "wb") as file:
            if bar is not None and not goes_on:
                bar.update(-start)
            for block in response.iter_bytes():
                file.write(block)
                if bar is not None:
                    bar.update(len(block))


def _find_remote(repo_id: str, revision: str | None) -> _Remote:
    """Returns what a repository holds now."""
    info = HfApi().model_info(repo_id, revision=revision, files_metadata=True)
    sizes = {file.rfilename: file.size for file in info.siblings or ()}
    return _Remote(repo_id, str(info.sha), bool(info.private), sizes)


def _load_manifest(remote: _Remote) -> tuple[Manifest, bytes]:
    """Returns the manifest of a repository, and as it is written there.

    Raises:
        CheckpointError: If there is none, it is not valid, or names files that are not there or may not be.
    """
    if MANIFEST not in remote.sizes:
        raise CheckpointError(f"{remote.repo_id} is no checkpoint: it has no {MANIFEST}")
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, MANIFEST)
        remote.load(MANIFEST, path)
        try:
            manifest, written = read_manifest(place), path.read_bytes()
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(str(path), f"{remote.repo_id}: {MANIFEST}")) from error
    _check_files(manifest, remote.repo_id)
    missing = sorted(manifest.files.keys() - remote.sizes.keys())
    if missing:
        raise CheckpointError(
            f"{remote.repo_id} is no whole checkpoint: it lacks {missing[0]}, though {MANIFEST} names it"
        )
    return manifest, written


def _load_files(remote: _Remote, manifest: Manifest, written: bytes, folder: Path) -> Path:
    """Downloads and verifies what a manifest names, beside the folder, and then makes it the folder."""
    unfinished = folder.with_name(f".{folder.name}.pull")
    begin_folder(unfinished, "pull", "NAME")
    whole = unfinished / "checkpoint"
    if not (whole / MANIFEST).is_file() or (whole / MANIFEST).read_bytes() != written:
        shutil.rmtree(whole, ignore_errors=True)  # of another revision
        whole.mkdir()
        write_bytes(whole / MANIFEST, written)
    total = sum(remote.sizes[name] or 0 for name in manifest.files)
    there = sum((whole / name).stat().st_size for name in manifest.files if (whole / name).is_file())
    with progress(desc="pull", total=total, initial=there, unit="B", unit_scale=True, unit_divisor=1000) as bar:
        for name, expected in manifest.files.items():
            remote.load(name, whole / name, bar)
            found = file_sha256(whole / name)
            if found != expected:
                (whole / name).unlink()
                raise CheckpointError(
                    f"{remote.repo_id}: {name} is damaged or was replaced: its SHA-256 is {found}, {MANIFEST} says "
                    f"{expected}; the file has been removed"
                )
    whole.rename(folder)
    shutil.rmtree(unfinished)
    return folder


def _check_id(repo_id: str) -> None:
    """Returns if it can be a repository's."""
    if not _ID.fullmatch(repo_id) or ".." in repo_id:
        raise ValueError(f"a repository on the hub is OWNER/NAME, got {repo_id!r}")


def _check_files(manifest: Manifest, origin: str) -> None:
    """Returns if a manifest names only files that a checkpoint may hold, all in its own folder."""
    for name in manifest.files:
        path = PurePosixPath(name)
        if path.suffix not in _HELD or "\\" in name or any(part.startswith(".") for part in path.parts):
            raise CheckpointError(f"{origin}: a checkpoint's files are {' and '.join(_HELD)} files, not {name!r}")


def _check_fits(remote: _Remote, private: bool) -> None:
    """Returns if a checkpoint may be pushed into a repository."""
    if private and not remote.private:
        raise CheckpointError(f"{remote.repo_id} is public: say --no-private if all may see the checkpoint")
    strange = sorted(name for name in remote.sizes if name not in (CARD, ".gitattributes", "LICENSE"))
    if strange and MANIFEST not in strange:
        raise CheckpointError(f"{remote.repo_id} holds something that is no checkpoint ({strange[0]}); name another")
