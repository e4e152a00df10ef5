"""Foreign weights through the public command: files, URLs that break off, predictors and encoders alone."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from world_model.checkpoints.checkpoint import read_manifest
from world_model.encoders.folder import load_encoder
from world_model.importing import program
from world_model.importing.catalog import read_catalog
from world_model.importing.download import DownloadError, download
from world_model.importing.official import load_official, make_encoder, read_official
from world_model.vjepa2_ac import load_vjepa2_ac

GOLDEN = Path(__file__).parent / "golden" / "vjepa2_ac_tiny.pt"
SHAPE = ["--image-size", "64", "--encoder-heads", "3", "--predictor-heads", "4", "--max-frames", "8"]


@pytest.fixture
def content() -> dict:
    return torch.load(GOLDEN, weights_only=True)


class Server(ThreadingHTTPServer):
    """Serves one content; each connection but the last `breaks` ones ends early."""

    def __init__(self, content: bytes, breaks: int, ranges: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.breaks, self.ranges, self.starts = content, breaks, ranges, list[int]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/weights/tiny%20model.pt"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "bytes=0-") if self.server.ranges else "bytes=0-"
        start = int(asked.removeprefix("bytes=").split("-")[0])
        self.server.starts.append(start)
        rest = self.server.content[start:]
        if not rest:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if self.server.breaks:
            self.server.breaks -= 1
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)

    def log_message(self, format: str, *args: object) -> None:
        """Keeps quiet."""


def serve(content: bytes, breaks: int = 0, ranges: bool = True) -> Iterator[Server]:
    server = Server(content, breaks, ranges)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


BYTES = bytes(range(256)) * 4096 * 3


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on_where_it_was(tmp_path: Path, ranges: bool) -> None:
    seen: list[int] = []
    for server in serve(BYTES, breaks=2, ranges=ranges):
        found = download(server.url, tmp_path, lambda there, total: seen.append(there))
        assert found.read_bytes() == BYTES and found.name == "tiny model.pt"
        assert server.starts == ([0, len(BYTES) // 2, len(BYTES) * 3 // 4] if ranges else [0, 0, 0])
        assert download(server.url, tmp_path, lambda there, total: None) == found and len(server.starts) == 3
    assert seen[-1] == len(BYTES)
    assert {path.name for path in tmp_path.iterdir()} == {"tiny model.pt"}


def test_a_download_that_keeps_breaking_is_kept_for_the_next_call(tmp_path: Path) -> None:
    for server in serve(BYTES, breaks=2):
        with pytest.raises(DownloadError, match=r"are kept, the same command goes on"):
            download(server.url, tmp_path, lambda there, total: None, tries=2)
        assert download(server.url, tmp_path, lambda there, total: None).read_bytes() == BYTES


def test_a_download_of_the_wrong_content_is_removed(tmp_path: Path) -> None:
    for server in serve(BYTES):
        assert download(server.url, tmp_path, print, hashlib.sha256(BYTES).hexdigest())
        with pytest.raises(DownloadError, match="was damaged or replaced and has been removed"):
            download(server.url, tmp_path, print, "0" * 64)
        assert not list(tmp_path.iterdir())


def test_a_url_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="could not be loaded"):
        download((tmp_path / "nothing.pt").as_uri(), tmp_path, print, tries=1)


def test_the_golden_file_imports_through_the_public_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    program.main([str(GOLDEN), str(tmp_path / "tiny"), *SHAPE])
    assert "encoder 0.5 M" in capsys.readouterr().out
    ours = load_vjepa2_ac(tmp_path / "tiny")
    theirs = load_official(GOLDEN, image_size=64, encoder_heads=3, predictor_heads=4, max_frames=8)
    assert ours.predictor.config == theirs.predictor.config
    for one, other in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert read_manifest(tmp_path / "tiny").licence == "unknown, that of the source"
    with pytest.raises(SystemExit, match="exists; choose another name"):
        program.main([str(GOLDEN), str(tmp_path / "tiny"), *SHAPE])


def test_a_url_imports(tmp_path: Path) -> None:
    for server in serve(GOLDEN.read_bytes(), breaks=1):
        downloads = ["--downloads", str(tmp_path / "downloads")]
        program.main([server.url, str(tmp_path / "tiny"), *SHAPE, *downloads])
    assert load_vjepa2_ac(tmp_path / "tiny").encoder.image_size == 64


def test_an_encoder_alone_becomes_a_folder_in_transformers_format(tmp_path: Path, content: dict) -> None:
    masked = {"module.backbone.mask_tokens.0": torch.zeros(1, 1, 8)}
    encoder = {name.replace("module.", "module.backbone."): tensor for name, tensor in content["encoder"].items()}
    encoder["module.backbone.pos_embed"] = torch.zeros(1, 16, 96)  # pretraining files have one that RoPE made unused
    torch.save({"encoder": encoder, "predictor": masked}, tmp_path / "vit.pt")
    program.main([str(tmp_path / "vit.pt"), str(tmp_path / "vit"), *SHAPE])
    loaded, expected = load_encoder(tmp_path / "vit"), make_encoder(read_official(GOLDEN), 64, 3)
    pixels = torch.randn(2, 3, 64, 64)
    assert torch.equal(loaded(pixels), expected(pixels))
    assert "licence" in (tmp_path / "vit" / "provenance.yaml").read_text()


def test_a_predictor_alone_takes_the_encoder_that_is_named(tmp_path: Path, content: dict) -> None:
    program.main([str(GOLDEN), str(tmp_path / "whole"), *SHAPE])
    predictor = {
        name: tensor
        for name, tensor in content["predictor"].items()
        if "state_encoder" not in name and "extrinsics" not in name
    }
    torch.save({"predictor": predictor, "opt": {}}, tmp_path / "droid.pt")
    with pytest.raises(SystemExit, match="--encoder"):
        program.main([str(tmp_path / "droid.pt"), str(tmp_path / "droid"), *SHAPE])
    encoder = ["--encoder", str(tmp_path / "whole")]
    program.main([str(tmp_path / "droid.pt"), str(tmp_path / "droid"), *SHAPE, *encoder])
    model = load_vjepa2_ac(tmp_path / "droid")
    assert model.predictor.config.pose_size == 0
    with pytest.raises(SystemExit, match="leave the other one out"):
        program.main([str(GOLDEN), str(tmp_path / "again"), *SHAPE, *encoder])


def test_what_is_no_source_is_explained(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"there is no 'nothing\.pt'.*vjepa2_ac_oss"):
        program.main(["nothing.pt", str(tmp_path / "x")])
    with pytest.raises(SystemExit, match="width 96 is not a released one"):
        program.main([str(GOLDEN), str(tmp_path / "x"), "--image-size", "64"])
    assert not (tmp_path / "x").exists()


def test_the_catalog_lists_every_entry_with_what_it_is_for(capsys: pytest.CaptureFixture) -> None:
    program.main(["--list"])
    printed = capsys.readouterr().out
    for name, entry in read_catalog().items():
        assert name in printed and entry.use in printed and entry.licence in printed
        assert (entry.predictor_heads is None) == (entry.kind == "encoder")
