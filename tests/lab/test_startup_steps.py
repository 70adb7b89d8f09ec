"""Each step of the rendered startup script, against what is known to go wrong in it."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from pathlib import Path

import pytest
from sample_startup import CPU, GPU
from startup_parts import Node, Server, node_in, reply

ENGINE = f"{CPU.engine_commit}-cpu"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with node_in(tmp_path) as made:
        yield made


# dpkg and packages


def no_tar(node: Node) -> None:
    """A package is missing: the script calls `command`, which is a builtin."""
    node.script.write_text(
        node.script.read_text().replace("tar:tar", "surely-missing:tar")  # a command nobody has
    )


def test_without_a_missing_package_neither_lock_nor_apt_is_looked_at(node: Node) -> None:
    node.stub("apt-get", "exit 9")
    assert node.step("dpkg") == "skipped 100 no package is missing"
    assert node.step("packages") == "skipped 100 all there"


def test_a_held_dpkg_lock_is_waited_for(node: Node) -> None:
    no_tar(node)
    lock = node.root / "var/lib/dpkg/lock-frontend"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)  # dpkg's own kind of lock
        running = threading.Thread(target=node.step, args=("dpkg",))
        running.start()
        assert "waiting for process" in node.metadata.wait_for("step-dpkg", "waiting")
    running.join()
    assert node.metadata.published["step-dpkg"].startswith("done 100")


def test_a_dpkg_lock_that_stays_held_names_its_holder(node: Node) -> None:
    node.configure(CPU._replace(dpkg_wait_s=0))
    no_tar(node)
    lock = node.root / "var/lib/dpkg/lock"
    lock.parent.mkdir(parents=True)
    with subprocess.Popen(["flock", lock, "sleep", "60"], start_new_session=True) as holder:
        try:
            wait_for_lock(lock)
            told = node.step("dpkg")
        finally:
            subprocess.run(["kill", "--", f"-{holder.pid}"], check=False)
    assert told.startswith("failed 0 the package database is still locked by process")
    assert f"{holder.pid} (flock)" in told or "(sleep)" in told
    assert "fix: " in told


def wait_for_lock(path: Path) -> None:
    """Until somebody else holds it."""
    while True:
        with path.open("w") as probe:
            try:
                fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return


def test_a_missing_package_is_installed_and_apt_waits_for_locks_itself(node: Node) -> None:
    no_tar(node)
    node.stub("apt-get", 'echo "$*" >>"$YOYO_ROOT/apt.calls"')
    assert node.step("packages") == "done 100 installed tar"
    calls = (node.root / "apt.calls").read_text()
    assert "install --no-install-recommends tar" in calls
    assert "DPkg::Lock::Timeout=300" in calls


def test_apt_that_fails_says_what_to_do(node: Node) -> None:
    no_tar(node)
    node.stub("apt-get", "echo 'E: Unable to fetch' >&2; exit 100")
    assert node.step("packages").startswith("failed 0 apt could not install tar; why: ")
    assert "E: Unable to fetch" in node.metadata.published["tail-packages"]


# gpu


@pytest.mark.parametrize(
    ("smi", "says"),
    [
        ("echo 'NVIDIA L4, 580.95.05, 23034 MiB'", "done 100 NVIDIA L4, 580.95.05, 23034 MiB"),
        ("echo 'NVIDIA L4, 550.54.15, 23034 MiB'", "failed 0 NVIDIA driver 550.54.15 is too old"),
        (
            "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18",
            "failed 0 NVIDIA's kernel module and its library are of different versions",
        ),
        (
            "echo 'NVIDIA-SMI has failed because it could not communicate'; exit 9",
            "failed 0 NVIDIA's driver does not run on kernel 6.17.0-test",
        ),
        ("echo 'No devices were found'; exit 6", "failed 0 there is no GPU in this machine"),
        (
            'case $1 in *compute*) echo "999999, /usr/bin/python3";;'
            " *) echo 'NVIDIA L4, 580.95.05, 23034 MiB';; esac",
            "failed 0 another process holds the GPU: 999999 (/usr/bin/python3)",
        ),
    ],
)
def test_what_nvidia_smi_says(node: Node, smi: str, says: str) -> None:
    node.configure(GPU)
    node.stub("uname", "echo 6.17.0-test")
    node.stub("nvidia-smi", smi)
    told = node.step("gpu")
    assert told.startswith(says)
    if "driver" in says and says.startswith("failed"):
        assert "common-cu129-ubuntu-2404-nvidia-580" in told


def test_dkms_without_headers_is_named(node: Node) -> None:
    node.configure(GPU)
    node.stub("nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9")
    node.stub("uname", "echo 6.17.0-test")
    node.stub("dkms", "echo 'nvidia/580.95.05: added'")
    told = node.step("gpu")
    assert "DKMS has no headers" in told
    assert "linux-headers-6.17.0-test" in told


def test_no_driver_at_all(node: Node) -> None:
    node.configure(GPU)
    assert node.step("gpu").startswith("failed 0 there is no NVIDIA driver")


def test_a_cpu_node_needs_no_gpu(node: Node) -> None:
    assert node.step("gpu") == "skipped 100 a node without GPU"


# engine


def bundle(*, name: str = "bin/llama-server") -> bytes:
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        text = b"#!/bin/sh\necho llama\n"
        member.size, member.mode = len(text), 0o755
        archive.addfile(member, BytesIO(text))
    return packed.getvalue()


def serve_bundle(node: Node, packed: bytes, sha256: str = "") -> Server:
    server = Server(lambda handler: reply(handler, 200, packed))
    node.configure(
        CPU._replace(
            bundle_url=f"{server.url}/cpu.tar.gz",
            bundle_sha256=sha256 or hashlib.sha256(packed).hexdigest(),
        )
    )
    return server


def test_the_bundle_becomes_the_current_engine_and_stays(node: Node) -> None:
    server = serve_bundle(node, bundle())
    assert node.step("engine").startswith("done 100 llama.cpp 0123456789ab from its bundle")
    server.close()
    current = node.root / "opt/yoyo/engine/current"
    assert current.readlink() == Path(ENGINE)
    assert (current / "bin/llama-server").exists()
    assert node.step("engine").startswith("skipped 100")


@pytest.mark.parametrize(
    ("name", "sha256", "says"),
    [
        ("bin/llama-server", "0" * 64, "the engine bundle has another sha256 than configured"),
        ("llama-server", "", "the engine has no bin/llama-server"),
    ],
)
def test_a_wrong_bundle_is_not_installed(node: Node, name: str, sha256: str, says: str) -> None:
    server = serve_bundle(node, bundle(name=name), sha256)
    assert says in node.step("engine")
    server.close()
    assert not (node.root / "opt/yoyo/engine/current").exists()


def test_a_bundle_in_a_bucket_is_asked_for_with_a_token_outside_argv(node: Node) -> None:
    packed, seen = bundle(), []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        seen.append((handler.path, handler.headers.get("Authorization")))
        reply(handler, 200, packed)

    server = Server(answer)
    node.configure(CPU._replace(bundle_sha256=hashlib.sha256(packed).hexdigest()))
    real = subprocess.run(["which", "curl"], capture_output=True, text=True, check=True).stdout
    node.stub("curl", f'echo "$*" >>"$YOYO_ROOT/argv"; exec {real.strip()} "$@"')
    assert node.step("engine", YOYO_STORAGE=server.url).startswith("done 100")
    server.close()
    assert seen == [("/engines/cpu.tar.gz", "Bearer the-token")]
    assert "the-token" not in (node.root / "argv").read_text()


def stub_build(node: Node, cmake: str) -> None:
    node.configure(GPU)
    node.stub("nvcc", "exit 0")
    node.stub("git", f'[ "$1" = rev-parse ] && echo {GPU.engine_commit}; exit 0')
    node.stub("cmake", 'echo "$*" >>"$YOYO_ROOT/cmake.calls"\n' + cmake)


def test_without_a_bundle_the_pinned_commit_is_built(node: Node) -> None:
    stub_build(node, "mkdir -p build/bin; echo '[ 42%]'; cp /bin/true build/bin/llama-server")
    assert node.step("engine").startswith("done 100 llama.cpp 0123456789ab built here")
    calls = (node.root / "cmake.calls").read_text()
    assert "-DGGML_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=89" in calls
    assert "-j 2" in calls
    engine = node.root / f"opt/yoyo/engine/{GPU.engine_commit}-sm89/bin/llama-server"
    assert engine.exists()


def test_a_killed_compiler_is_told_from_a_broken_build(node: Node) -> None:
    stub_build(node, "echo 'g++: fatal error: Killed signal terminated program cc1plus'; exit 1")
    told = node.step("engine")
    assert told.startswith("failed 0 the compiler was killed while it built the engine")
    assert "out of memory with 2 jobs" in told
    assert "cc1plus" in node.metadata.published["tail-engine"]
    stub_build(node, "echo 'ggml.c:1: error: no such thing'; exit 1")
    assert node.step("engine").startswith("failed 0 the engine could not be built")


# the runner


def test_a_log_directory_that_is_not_writable_ends_nothing(node: Node) -> None:
    (node.root / "var/log").mkdir(parents=True)
    (node.root / "var/log/yoyo").write_text("a file where the directory should be")
    assert node.step("gpu") == "skipped 100 a node without GPU"
    assert (node.root / "run/yoyo/log/gpu.log").exists()
    assert "log directory" in node.serial


def test_a_step_that_dies_unexpectedly_is_told_with_its_log(node: Node) -> None:
    node.bash("step_odd() { echo some words; false; echo not here; }\nrun_step odd")
    assert node.metadata.published["step-odd"].startswith("failed 0 0 ended with status 1")
    assert node.metadata.published["tail-odd"] == "some words\n"
    assert "yoyo: step odd failed" in node.serial


def test_a_message_is_one_line_of_at_most_400_characters(node: Node) -> None:
    node.bash("step_long() { note \"$(printf 'a\\n%.0s' {1..900})\"; }\nrun_step long")
    line = node.metadata.published["step-long"]
    assert "\n" not in line
    assert len(line.split(" ", 3)[3]) <= 400


def test_a_metadata_server_that_is_gone_ends_no_step(node: Node) -> None:
    node.metadata.close()
    done = node.bash("run_step gpu")
    assert done.returncode == 0
    assert "could not publish the state" in node.serial
