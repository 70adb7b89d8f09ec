"""What cannot be built is refused at once, with its own reason, and no secret is shown."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from engine_source_parts import write_source, write_tarball
from test_engine_build import Phases, builder

from yoyo.errors import BuildFailed, StateUnwritable, YoyoError
from yoyo.ops.engine_build import address_shown, build, source_of
from yoyo.ports.builder import BuildRequest, EngineSource


def refused(action: Callable[[], object]) -> YoyoError:
    with pytest.raises(BuildFailed) as caught:
        action()
    assert caught.value.why
    assert caught.value.fix
    assert "goes on" not in caught.value.fix
    return caught.value


def request(tmp: Path, source: EngineSource, **more: object) -> BuildRequest:
    made = BuildRequest(source, tmp / "out", tmp / "work", tls=False)
    return made._replace(**more)  # type: ignore[arg-type]


SECRET = [
    "https://user:pw4711@h/x.git", "https://pw4711@h/x.git", "https://user:a/pw4711@h/x.git",
    "https://user:pw4711/x.git", "HTTPS://user:pw4711@h/x", "ssh://git:pw4711@h/x",
    "https://h/x.git?access_token=pw4711", "https://h/x.git#pw4711", "git@h:x?token=pw4711",
    "user:pw4711@h/x.git", "https::https://user:pw4711@h/x", "https://user:a?pw4711@h/x",
]  # fmt: skip


@pytest.mark.parametrize("pin", [{}, {"revision": "b1"}, {"sha256": "0" * 64}])
@pytest.mark.parametrize("address", SECRET)
def test_a_secret_in_an_address_is_refused_and_not_shown(
    tmp_path: Path, address: str, pin: dict[str, str]
) -> None:
    error = refused(lambda: source_of(address, **pin))
    assert "pw4711" not in str(vars(error))
    assert "not pinned" not in error.what
    kind = "git" if "revision" in pin else "tarball" if pin else "directory"
    source = EngineSource(kind, address, **pin)
    error = refused(lambda: build(request(tmp_path, source), builder(), Phases()))
    assert "pw4711" not in str(vars(error))
    assert not list(tmp_path.iterdir())


def test_an_address_is_shown_without_user_and_query() -> None:
    assert address_shown("ssh://git@h:22/a/x") == "ssh://h:22/a/x"
    assert address_shown("https://u:p@h/x?q=1") == "https://h/x"
    assert address_shown("git@h:a/x") == "h:a/x"
    assert address_shown("/some/a@b:c") == "/some/a@b:c"


def test_each_source_that_is_not_pinned_has_its_reason(tmp_path: Path) -> None:
    assert "SSH" in refused(lambda: source_of("git@h:x")).why
    assert "--revision" in refused(lambda: source_of("https://h/x")).fix
    assert "both" in refused(lambda: source_of("x", revision="b1", sha256="0" * 64)).what
    assert source_of("git@h:x", revision="b1").kind == "git"
    assert source_of("ssh://git@h/x", revision="b1").kind == "git"


def test_each_path_that_is_no_source_has_its_reason(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    tarball = write_tarball(source, tmp_path / "x.tar.gz")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    cases = [
        (source_of(str(tmp_path / "none")), "cannot be read"),
        (source_of(str(tmp_path / "file")), "no directory"),
        (source_of(str(tarball)), "not pinned"),
        (source_of(str(tmp_path / "empty")), "holds no llama.cpp"),
        (source_of(str(source), sha256="0" * 64), "is a directory"),
        (source_of(str(source), revision="b1"), "no git repository"),
        (source_of(str(tarball), revision="b1"), "is a tarball"),
        (source_of(f"file://{tarball}", sha256="0" * 64), "cannot be fetched"),
    ]
    for where, said in cases:
        error = refused(lambda at=where: build(request(tmp_path, at), builder(), Phases()))  # type: ignore[misc]
        assert said in error.what
        assert not (tmp_path / "work").exists()
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"jobs": 1025}, "1025 compilers"),
        ({"jobs": -1}, "-1 compilers"),
        ({"cublas": "/nonexistent"}, "--cublas is for"),
        ({"cublas": "/nonexistent", "cuda": True, "sm": ("89",)}, "holds no cuBLAS"),
        ({"cuda": True}, "go together"),
        ({"cuda": True, "sm": ("x",)}, "no CUDA architecture"),
    ],
)
def test_arguments_are_looked_at_before_anything_is_done(
    tmp_path: Path, more: dict[str, object], said: str
) -> None:
    where = source_of(str(write_source(tmp_path / "source")))
    error = refused(lambda: build(request(tmp_path, where, **more), builder(), Phases()))
    assert said in error.what
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("inside", ["", "work", "a/link/work"])
def test_a_work_directory_inside_the_source_is_refused(tmp_path: Path, inside: str) -> None:
    source = write_source(tmp_path / "source")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/link").symlink_to(source)
    before = sorted(source.rglob("*"))
    work = tmp_path / inside if inside.startswith("a/") else source / inside
    error = refused(
        lambda: build(request(tmp_path, source_of(str(source)), work=work), builder(), Phases())
    )
    assert "inside the source" in error.what
    assert "--work" in error.fix
    assert sorted(source.rglob("*")) == before


@pytest.mark.parametrize("output", ["file", "file/below", "/proc/none"])
def test_an_output_that_cannot_be_written_is_found_before_the_build(
    tmp_path: Path, output: str
) -> None:
    (tmp_path / "file").write_text("x")
    where, phases = source_of(str(write_source(tmp_path / "source"))), Phases()
    with pytest.raises(StateUnwritable) as caught:
        build(request(tmp_path, where, output=tmp_path / output), builder(), phases)
    assert "--output" in caught.value.fix
    assert phases.names == []


def test_a_revision_that_is_not_there_is_not_said_to_go_on(tmp_path: Path) -> None:
    repository = write_source(tmp_path / "repository")
    subprocess.run(["git", "init", "--quiet", "."], cwd=repository, check=True)
    where = source_of(str(repository), revision="b1")
    error = refused(lambda: build(request(tmp_path, where), builder(), Phases()))
    assert "goes on" not in error.fix
