"""A bundle is built, tried, and only then there; the same source gives the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from engine_source_parts import ARCHITECTURES, CMAKE, SERVER, write_source, write_tarball

from yoyo.config.templates import template_text
from yoyo.drivers.build import archive
from yoyo.drivers.build.builder import ScriptBuilder
from yoyo.drivers.jinja.templates import JinjaTemplates
from yoyo.errors import BuildFailed
from yoyo.model.machine import BootStep
from yoyo.ops.engine_build import build, source_of
from yoyo.ports.builder import BuildRequest, BuiltBundle, EngineSource

pytestmark = pytest.mark.slow

DEADLINE_S = 120


class Phases:
    def __init__(self) -> None:
        self.names: list[str] = []

    def phase(self, name: str, detail: str = "") -> None:
        self.names.append(name)

    def note(self, text: str) -> None:
        pass

    def steps(self, steps: tuple[BootStep, ...]) -> None:
        pass


def builder() -> ScriptBuilder:
    return ScriptBuilder(JinjaTemplates(template_text))


def make(
    tmp: Path, source: EngineSource, *, work: str = "work", model: Callable[[], Path] | None = None
) -> BuiltBundle:
    request = BuildRequest(source, tmp / "out", tmp / work, tls=False)
    return build(request, builder(), Phases(), model)


def run(*command: str | Path, cwd: Path) -> str:
    environment = {
        **os.environ, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b", "GIT_CONFIG_GLOBAL": os.devnull,
    }  # fmt: skip
    return subprocess.run(
        command, cwd=cwd, check=True, capture_output=True, text=True, env=environment
    ).stdout


def test_until_it_is_tried_a_bundle_has_no_name(tmp_path: Path) -> None:
    seen: list[str] = []

    def model() -> Path:
        seen.extend(path.suffix for path in tmp_path.glob("out/*"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, source_of(str(write_source(tmp_path / "source"))), model=model)
    assert seen == [".part"]
    assert not list(tmp_path.glob("out/*"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BuiltBundle]:
    """One build of the small project, with a completion."""
    tmp = tmp_path_factory.mktemp("engine")
    source = write_source(tmp / "source")
    model = tmp / "model.gguf"
    model.write_bytes(b"GGUF")
    return tmp, make(tmp, source_of(str(source)), model=lambda: model)


def test_the_bundle_says_what_it_is(built: tuple[Path, BuiltBundle]) -> None:
    _, made = built
    assert made.build.architectures == ("llama", "qwen3")
    assert made.build.machine == os.uname().machine
    assert made.build.glibc.startswith("2.")
    assert "GPL-3.0-or-later WITH GCC-exception-3.1 (libstdc++)" in made.build.licences
    assert made.path.stat().st_size == made.size
    assert archive.read_document(made.path).engine == made.build
    assert "one completion with the smoke model" in made.smoke.passed
    assert not made.smoke.left_out


def test_the_bundle_holds_server_libraries_and_licences_and_runs_anywhere(
    built: tuple[Path, BuiltBundle], tmp_path: Path
) -> None:
    document = archive.unpack(built[1].path, tmp_path / "elsewhere")
    paths = {file.path for file in document.files}
    assert {
        "bin/llama-server", "bin/libggml-cpu.so", "lib/libggml.so.0", "lib/libstdc++.so.6",
        "licences/llama.cpp-LICENSE.txt", "licences/llama.cpp-licenses-LICENSE-words.txt",
    } <= paths  # fmt: skip
    assert not any("libc.so" in path for path in paths)
    (tmp_path / "libggml.so.0").write_text("what LD_LIBRARY_PATH offers comes second")
    server = tmp_path / "elsewhere/bin/llama-server"
    said = run("env", f"LD_LIBRARY_PATH={tmp_path}", server, "--version", cwd=tmp_path)
    assert said == "version: tiny /source/src/ggml.cpp\n"


def test_the_same_source_gives_the_same_bytes_wherever_it_is_built(
    built: tuple[Path, BuiltBundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp, first = built
    monkeypatch.setenv("CXX", "/bin/false")
    monkeypatch.setenv("CXXFLAGS", "-O0 -g")
    monkeypatch.setenv("LDFLAGS", "-Wl,--build-id=uuid")
    monkeypatch.setenv("CMAKE_BUILD_PARALLEL_LEVEL", "1")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    archive_ = write_tarball(tmp / "source", tmp_path / "source.tar.gz")
    digest = run("sha256sum", archive_, cwd=tmp_path).split()[0]
    second = make(tmp_path, source_of(str(archive_), sha256=digest), work="a/longer/place")
    assert second.build == first.build
    assert second.sha256 == first.sha256
    assert second.path.read_bytes() == first.path.read_bytes()


def test_another_source_gives_other_bytes(built: tuple[Path, BuiltBundle], tmp_path: Path) -> None:
    changed = write_source(tmp_path / "source", server=SERVER.replace("tiny", "other"))
    made = make(tmp_path, source_of(str(changed)))
    assert made.build.source_sha256 != built[1].build.source_sha256
    assert made.sha256 != built[1].sha256


def test_a_commit_is_fetched_by_git_and_recorded(tmp_path: Path) -> None:
    repository = write_source(tmp_path / "repository")
    run("git", "init", "--quiet", ".", cwd=repository)
    run("git", "add", ".", cwd=repository)
    run("git", "commit", "--quiet", "-m", "one", cwd=repository)
    run("git", "tag", "b1", cwd=repository)
    first = run("git", "rev-parse", "HEAD", cwd=repository).strip()
    by_tag = make(tmp_path, source_of(f"file://{repository}", revision="b1"))
    assert by_tag.build.commit == first
    (repository / "LICENSE").write_text("another\n")
    run("git", "commit", "--quiet", "-am", "two", cwd=repository)
    run("git", "tag", "-f", "b1", cwd=repository)
    moved = make(tmp_path, source_of(f"file://{repository}", revision="b1"))
    assert moved.build.commit == run("git", "rev-parse", "HEAD", cwd=repository).strip()
    assert moved.build.source_sha256 != by_tag.build.source_sha256
    assert make(tmp_path, source_of(str(repository))).build.commit == moved.build.commit
    with pytest.raises(BuildFailed, match="fetch"):
        make(tmp_path, source_of(f"file://{repository}", revision="b2"))


def test_a_tarball_of_another_digest_is_not_used(tmp_path: Path) -> None:
    packed = write_tarball(write_source(tmp_path / "source"), tmp_path / "source.tar.gz")
    with pytest.raises(BuildFailed) as caught:
        make(tmp_path, source_of(str(packed), sha256="0" * 64))
    assert "instead of " + "0" * 64 in caught.value.why
    assert "--sha256" in caught.value.fix
    assert "goes on" not in caught.value.fix
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_build_leaves_no_bundle_and_the_next_one_goes_on(
    tmp_path: Path, how: signal.Signals
) -> None:
    """A step of the build waits for a file, so that the kill comes in the middle."""
    gate, begun, count = (tmp_path / name for name in ("gate", "begun", "count"))
    early, late = tmp_path / "early.sh", tmp_path / "late.sh"
    early.write_text(f"echo >>{count}; echo >early.h")
    late.write_text(f"echo >{begun}; until [ -e {gate} ]; do sleep 0.05; done; echo >late.cpp")
    waiting = CMAKE + (
        f"add_custom_command(OUTPUT early.h COMMAND sh {early})\n"
        f"add_custom_command(OUTPUT late.cpp COMMAND sh {late} DEPENDS early.h)\n"
        "target_sources(llama-server PRIVATE ${CMAKE_BINARY_DIR}/late.cpp)\n"
    )
    source = write_source(tmp_path / "source", CMakeLists=waiting)
    code = (
        "import sys; from pathlib import Path; sys.path[:0] = sys.argv[3:];"
        "from test_engine_build import make; from yoyo.ops.engine_build import source_of;"
        "make(Path(sys.argv[1]), source_of(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(source), *sys.path]
    process = subprocess.Popen(command)
    try:
        until(lambda: begun.exists() or process.poll() is not None)
        process.send_signal(how)
        assert process.wait(DEADLINE_S) != 0
    finally:
        process.kill()
        process.wait()
    assert not list(tmp_path.glob("out/*"))
    lock = next(tmp_path.glob("work/*/lock"))
    if how is signal.SIGINT:
        run("flock", "--nonblock", lock, "true", cwd=tmp_path)
    gate.touch()
    # Compilers that outlive their caller hold the lock until they are done.
    run("flock", lock, "true", cwd=tmp_path)
    make(tmp_path, source_of(str(source)))
    assert count.read_text() == "\n"  # what was done was not done again
    assert [path.suffix for path in tmp_path.glob("out/*")] == [".zst"]


def test_two_builds_of_the_same_engine_do_not_meet(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    made = make(tmp_path, source_of(str(source)))
    lock = next((tmp_path / "work").glob("*/lock"))
    with subprocess.Popen(["flock", str(lock), "sh", "-c", "echo; read x"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:  # fmt: skip
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(BuildFailed, match="Another build"):
            make(tmp_path, source_of(str(source)))
        holder.communicate(b"\n")
    assert make(tmp_path, source_of(str(source))).sha256 == made.sha256


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"server": "int main() { no }"}, "step compile failed"),
        ({"server": "int main() { return 7; }"}, "--version ended with status 7"),
        ({"llama_arch": "nothing"}, "no llama.cpp"),
        ({"CMakeLists": CMAKE.replace("add_executable(llama-server", "add_executable(other")
          .replace("(llama-server ", "(other ")}, "step compile failed"),
    ],
)  # fmt: skip
def test_a_source_that_makes_no_engine_makes_no_bundle(
    tmp_path: Path, changed: dict[str, str], said: str
) -> None:
    source = write_source(tmp_path / "source", **changed)
    with pytest.raises(BuildFailed) as caught:
        make(tmp_path, source_of(str(source)))
    assert said in caught.value.what
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (SERVER.replace("200 OK", "503 Busy"), "was not healthy"),
        (SERVER.replace("int door", "return 9; int door"), "died while it started"),
        (SERVER.replace("content", "other"), "no completion"),
    ],
)
def test_a_server_that_does_not_answer_makes_no_bundle(
    tmp_path: Path, server: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yoyo.drivers.build.smoke.START_S", 2.0)
    source = write_source(tmp_path / "source", server=server)
    with pytest.raises(BuildFailed, match=said):
        make(tmp_path, source_of(str(source)), model=lambda: source)
    assert not list(tmp_path.glob("out/*"))


def test_a_compiler_that_was_killed_is_told_from_one_that_found_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_source(tmp_path / "source")
    compiler = tmp_path / "bin/c++"
    compiler.parent.mkdir()
    compiler.write_text(
        '#!/bin/sh\ncase "$*" in *server.cpp*)\n'
        "  echo 'g++: fatal error: Killed signal terminated program cc1plus' >&2; exit 1;;\n"
        'esac\nexec /usr/bin/c++ "$@"\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{compiler.parent}:{os.environ['PATH']}")
    with pytest.raises(BuildFailed, match="ran out of memory") as caught:
        make(tmp_path, source_of(str(source)))
    assert "--jobs 1" in caught.value.fix


def test_missing_tools_are_named_with_what_installs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildFailed) as caught:
        make(tmp_path, source_of(str(write_source(tmp_path / "source"))))
    assert "apt-get install" in caught.value.fix
    for package in ("cmake", "ninja-build", "g++", "zstd"):
        assert f" {package}" in caught.value.fix


def test_cuda_without_nvcc_says_so(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    request = BuildRequest(
        source_of(str(source)), tmp_path / "out", tmp_path / "work", cuda=True, sm=("89",),
        cuda_root=str(tmp_path), tls=False,
    )  # fmt: skip
    with pytest.raises(BuildFailed, match="nvcc is missing"):
        build(request, builder(), Phases())


def test_a_server_without_tls_is_refused_where_tls_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yoyo.drivers.build.tools._TLS_HEADER", ("/dev/null",))
    source = write_source(tmp_path / "source")
    request = BuildRequest(source_of(str(source)), tmp_path / "out", tmp_path / "work")
    with pytest.raises(BuildFailed) as caught:
        build(request, builder(), Phases())
    assert "without OpenSSL" in caught.value.details[-1]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (EngineSource("git", "https://user:secret@host/x", revision="b1"), "password or token"),
        (EngineSource("git", "https://host/x", revision="--upload-pack=x"), "no commit or tag"),
        (EngineSource("git", "--upload-pack=x", revision="b1"), "no location"),
        (EngineSource("tarball", "x.tar.gz", sha256="short"), "not pinned"),
        (EngineSource("other", "x"), "no known kind"),
        (EngineSource("directory", "/nonexistent"), "cannot be read"),
    ],
)
def test_a_source_that_cannot_be_meant_is_refused(
    tmp_path: Path, source: EngineSource, said: str
) -> None:
    with pytest.raises(BuildFailed, match=said) as caught:
        make(tmp_path, source)
    assert "secret" not in str(vars(caught.value))
    assert caught.value.fix


def test_words_of_an_operator_become_a_source() -> None:
    assert source_of("https://h/x", revision="b1").kind == "git"
    assert source_of("https://h/x.tar.gz", sha256="0" * 64).kind == "tarball"
    assert source_of("/some/where").kind == "directory"
    with pytest.raises(BuildFailed, match="not pinned"):
        source_of("https://h/x")


def test_known_architectures_are_those_of_the_source(tmp_path: Path) -> None:
    more = ARCHITECTURES.replace('"qwen3"', '"qwen9"')
    source = write_source(tmp_path / "source", llama_arch=more)
    assert make(tmp_path, source_of(str(source))).build.architectures == ("llama", "qwen9")
