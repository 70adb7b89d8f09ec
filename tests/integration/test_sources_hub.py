"""Sources on a hub: the real client, and ours, against a hub of our own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hub import Hub
from huggingface_hub import HfApi, hf_hub_download

from yoyo.drivers.sources.resolve import WeightSources
from yoyo.errors import SourceFailed
from yoyo.model.fetch import Resolved

REPO = "acme/tiny-GGUF"
MODEL = bytes(range(256)) * 4096
TOKEN = "hf_TokenThatMustNotBeShown"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as made:
        made.tokens.add(TOKEN)
        made.add(REPO, "main", {"tiny-Q4.gguf": MODEL, "README.md": b"# tiny\n"})
        yield made


def sources(hub: Hub, *mirrors: str, token: str | None = None) -> WeightSources:
    return WeightSources(
        hub=hub.url,
        hub_mirrors=mirrors,
        storage_endpoint=None,
        storage_credentials=None,
        env={"HF_TOKEN": token} if token else {},
    )


def refused(hub: Hub, source: str, *, token: str | None = None) -> SourceFailed:
    with pytest.raises(SourceFailed) as caught:
        sources(hub, token=token).resolve(source)
    error = caught.value
    assert error.why
    assert error.fix
    told = f"{error} {error.why} {error.fix} {error.details}"
    assert TOKEN not in told
    assert "Signature" not in told
    return error


def test_the_real_client_takes_this_hub_for_one(hub: Hub, tmp_path: Path) -> None:
    sha = hub.add("acme/whole", "main", {"a/w.safetensors": MODEL, "config.json": b"{}"})
    api = HfApi(endpoint=hub.url, token=False)
    info = api.model_info("acme/whole", files_metadata=True)
    assert info.sha == sha
    assert info.card_data is not None
    assert info.card_data.license == "apache-2.0"
    assert {s.rfilename: s.size for s in info.siblings or ()} == {
        "a/w.safetensors": len(MODEL),
        "config.json": 2,
    }
    for name, content in (("a/w.safetensors", MODEL), ("config.json", b"{}")):
        path = hf_hub_download(
            "acme/whole",
            name,
            endpoint=hub.url,
            token=TOKEN,
            cache_dir=tmp_path / "cache",
        )
        assert Path(path).read_bytes() == content
        assert sha in path
    assert hub.served[hashlib.sha256(MODEL).hexdigest()] == len(MODEL)


def test_a_revision_becomes_a_commit_with_the_hubs_digest(hub: Hub) -> None:
    first = hub.add(REPO, "v1", {"tiny-Q4.gguf": MODEL})
    second = hub.add(REPO, "v1", {"tiny-Q4.gguf": MODEL + b"changed"})
    ours = sources(hub)
    resolved = ours.resolve(f"hf://{REPO}/tiny-Q4.gguf@v1")
    assert resolved.revision == second
    assert resolved.licence == "apache-2.0"
    (file,) = resolved.files
    assert (file.path, file.size) == ("tiny-Q4.gguf", len(MODEL) + 7)
    assert file.sha256 == hashlib.sha256(MODEL + b"changed").hexdigest()
    hub.move_branch(REPO, "v1", first)
    assert ours.resolve(f"hf://{REPO}/tiny-Q4.gguf@v1").revision == first
    assert ours.resolve(f"hf://{REPO}/tiny-Q4.gguf@{second}").revision == second
    # What was resolved stays what it was, wherever the branch goes.
    assert ours.read(file, len(MODEL), 100) == b"changed"


def test_a_git_blobs_name_is_no_sha256(hub: Hub) -> None:
    (file,) = sources(hub).resolve(f"hf://{REPO}/README.md").files
    assert file.sha256 is None
    assert file.size == 7
    assert sources(hub).read(file, 2, 3) == b"tin"


def test_ranges_are_read_through_the_redirect(hub: Hub) -> None:
    ours = sources(hub, token=TOKEN)
    (file,) = ours.resolve(f"hf://{REPO}/tiny-Q4.gguf").files
    assert ours.read(file, 1000, 500) == MODEL[1000:1500]
    assert ours.read(file, len(MODEL) - 5, 500) == MODEL[-5:]
    assert ours.read(file, len(MODEL), 500) == b""
    assert hub.bytes_served == 505


def test_the_token_reaches_the_hub_and_nobody_else(hub: Hub, tmp_path: Path) -> None:
    with Hub(tmp_path / "mirror") as mirror:
        mirror.add(REPO, "main", {"tiny-Q4.gguf": MODEL, "README.md": b"# tiny\n"})
        ours = sources(hub, mirror.url, token=TOKEN)
        (file,) = ours.resolve(f"hf://{REPO}/tiny-Q4.gguf").files
        assert ours.read(file, 0, 4) == MODEL[:4]
        assert [TOKEN in str(address.headers) for address in file.addresses] == [True, False]
        hub.remove(REPO)
        assert ours.read(file, 0, 4) == MODEL[:4]
        assert {one.host for one in mirror.seen} == {"hub", "cdn"}
        assert not [one for one in mirror.seen if "authorization" in one.headers]
    for one in hub.seen:
        assert ("authorization" in one.headers) is (one.host == "hub"), one


def test_mirrors_are_asked_for_the_commit(hub: Hub) -> None:
    ours = sources(hub, "https://mirror.example/hf/")
    resolved = ours.resolve(f"hf://{REPO}/tiny-Q4.gguf@main", mirrors=("https://other.example",))
    (file,) = resolved.files
    path = f"/{REPO}/resolve/{resolved.revision}/tiny-Q4.gguf"
    assert [address.url for address in file.addresses] == [
        hub.url + path,
        "https://mirror.example/hf" + path,
        "https://other.example" + path,
    ]


@pytest.mark.parametrize("place", ["HF_TOKEN_PATH", "HF_HOME", "XDG_CACHE_HOME", "HOME"])
def test_the_token_is_found_where_the_client_keeps_it(hub: Hub, tmp_path: Path, place: str) -> None:
    inside = {
        "HF_TOKEN_PATH": "",
        "HF_HOME": "token",
        "XDG_CACHE_HOME": "huggingface/token",
        "HOME": ".cache/huggingface/token",
    }[place]
    home = tmp_path / "home"
    kept = home / inside
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(f"{TOKEN}\n")
    hub.private.add(REPO)
    ours = WeightSources(
        hub=None,
        hub_mirrors=(),
        storage_endpoint=None,
        storage_credentials=None,
        env={"HF_ENDPOINT": hub.url, place: str(home)},
    )
    assert ours.resolve(f"hf://{REPO}/tiny-Q4.gguf").files


def test_shards_are_one_set(hub: Hub) -> None:
    shards = {f"Q8/big-{n:05}-of-00003.gguf": MODEL + bytes([n]) for n in (1, 2, 3)}
    hub.add("acme/big", "main", shards)
    resolved = sources(hub).resolve("hf://acme/big/Q8/big-00002-of-00003.gguf")
    assert [file.path for file in resolved.files] == [
        f"big-{n:05}-of-00003.gguf" for n in (1, 2, 3)
    ]
    assert [file.sha256 for file in resolved.files] == [
        hashlib.sha256(content).hexdigest() for content in shards.values()
    ]
    assert sources(hub).resolve("hf://acme/big/Q8").files == resolved.files
    del shards["Q8/big-00003-of-00003.gguf"]
    hub.add("acme/big", "main", shards)
    error = refused(hub, "hf://acme/big/Q8/big-00001-of-00003.gguf")
    assert "lacks 1 of 3 shards" in error.what


def test_a_repository_of_safetensors_is_one_set(hub: Hub) -> None:
    wanted = {
        "model-1.safetensors": MODEL,
        "model.safetensors.index.json": b"{}",
        "config.json": b"{}",
        "tokenizer.json": b"{}",
        "tokenizer.model": b"spm",
        "LICENSE": b"free",
    }
    others = {"pytorch_model.bin": MODEL, "README.md": b"#", "onnx/model.onnx": MODEL}
    hub.add("acme/st", "main", wanted | others)
    resolved = sources(hub).resolve("hf://acme/st@main")
    assert {file.path for file in resolved.files} == set(wanted)


def test_several_models_are_not_guessed_from(hub: Hub) -> None:
    hub.add("acme/many", "main", {"a-Q4.gguf": MODEL, "a-Q8.gguf": MODEL})
    error = refused(hub, "hf://acme/many")
    assert "a-Q4.gguf" in error.fix
    assert "a-Q8.gguf" in error.fix


def test_refusals_say_what_to_do(hub: Hub) -> None:
    assert "no such file" in refused(hub, f"hf://{REPO}/other.gguf").what
    assert "no such revision" in refused(hub, f"hf://{REPO}/tiny-Q4.gguf@v9").what
    assert "moved, renamed" in refused(hub, "hf://acme/nothing/a.gguf", token=TOKEN).why
    hub.private.add(REPO)
    assert "HF_TOKEN" in refused(hub, f"hf://{REPO}/tiny-Q4.gguf").fix
    revoked = refused(hub, f"hf://{REPO}/tiny-Q4.gguf", token="hf_revoked")
    assert "401" in revoked.why
    assert "hf_revoked" not in f"{revoked} {revoked.why} {revoked.fix}"


def test_a_gated_model_shows_its_list_and_no_byte(hub: Hub) -> None:
    hub.gate(REPO)
    (file,) = sources(hub).resolve(f"hf://{REPO}/tiny-Q4.gguf").files
    with pytest.raises(SourceFailed) as caught:
        sources(hub).read(file, 0, 10)
    assert "401" in caught.value.why
    ours = sources(hub, token=TOKEN)
    (file,) = ours.resolve(f"hf://{REPO}/tiny-Q4.gguf").files
    assert ours.read(file, 0, 10) == MODEL[:10]


def test_a_renamed_repository_is_not_followed(hub: Hub) -> None:
    hub.rename(REPO, "acme/tiny-2-GGUF")
    error = refused(hub, f"hf://{REPO}/tiny-Q4.gguf")
    assert "renamed" in error.what
    assert "hf://acme/tiny-2-GGUF" in error.fix


def test_a_rate_limit_is_waited_for(hub: Hub) -> None:
    hub.limited += ["0", "0"]
    assert sources(hub).resolve(f"hf://{REPO}/tiny-Q4.gguf").files
    assert len(hub.seen) == 3


def test_a_rate_limit_of_an_hour_is_not(hub: Hub) -> None:
    hub.limited += ["3600"]
    error = refused(hub, f"hf://{REPO}/tiny-Q4.gguf")
    assert "wait 3600 s" in error.why
    assert len(hub.seen) == 1


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd.gguf",
        "/etc/passwd.gguf",
        "a/../b.gguf",
        "a//b.gguf",
        "a\\b.gguf",
        "a\n.gguf",
        "./a.gguf",
        "",
        "a\u202eb.gguf",
        "a" * 1025,
    ],
)
def test_hostile_names_are_refused_whatever_was_asked_for(hub: Hub, name: str) -> None:
    hub.extra = [{"rfilename": name, "size": 1, "blobId": "0" * 40}]
    error = refused(hub, f"hf://{REPO}/tiny-Q4.gguf")
    assert "not accepted" in error.what
    assert error.why.isascii()
    assert error.why.isprintable()


@pytest.mark.parametrize(
    "source",
    [
        "hf://acme",
        "hf://acme/",
        "hf://../x/a.gguf",
        "hf://acme/../a.gguf",
        f"hf://{REPO}/../a.gguf",
        f"hf://{REPO}/a.gguf@",
        f"hf://{REPO}/a\n.gguf",
        "hf:acme/x",
        "hf://a--b/..c/x.gguf",
    ],
)
def test_what_is_no_source_is_refused_before_anything_is_sent(hub: Hub, source: str) -> None:
    refused(hub, source)
    assert not hub.seen


def test_a_hub_that_is_not_there_is_named(hub: Hub) -> None:
    ours = WeightSources(
        hub="http://127.0.0.1:1",
        hub_mirrors=(),
        storage_endpoint=None,
        storage_credentials=None,
        env={},
    )
    with pytest.raises(SourceFailed, match="could not be read") as caught:
        ours.resolve(f"hf://{REPO}/tiny-Q4.gguf")
    assert "127.0.0.1:1" in caught.value.why


def test_an_operators_digest_must_agree(hub: Hub) -> None:
    ours = sources(hub)
    digest = hashlib.sha256(MODEL).hexdigest()
    resolved: Resolved = ours.resolve(f"hf://{REPO}/tiny-Q4.gguf", sha256=digest.upper())
    assert resolved.files[0].sha256 == digest
    with pytest.raises(SourceFailed) as caught:
        ours.resolve(f"hf://{REPO}/tiny-Q4.gguf", sha256="0" * 64)
    assert digest in caught.value.why
    assert "0" * 64 in caught.value.why
    assert urlsplit(resolved.url).scheme == "hf"
