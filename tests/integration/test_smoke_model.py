"""The smoke model: the same bytes everywhere, whole or not there, and it answers in words."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import yoyo
from yoyo.core.gguf import model_facts, parse_header
from yoyo.drivers.local.smoke_model import NAME, SHA256, SIZE, WORDS, ensure, smoke_facts
from yoyo.errors import StateUnwritable

SOURCES = Path(yoyo.__file__).parent.parent
MODULE = "yoyo.drivers.local.smoke_model"


def python(code: str, *arguments: str, flags: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    prelude = f"import sys; sys.path.insert(0, {str(SOURCES)!r})\n"
    return subprocess.Popen(
        [sys.executable, *flags, "-c", prelude + code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def output(process: subprocess.Popen[str]) -> str:
    try:
        return process.communicate(timeout=60)[0]
    finally:
        process.kill()
        process.wait()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure(tmp_path_factory.mktemp("models"))


def test_the_bytes_are_the_known_ones(smoke: Path) -> None:
    assert smoke.name == NAME == f"smoke-{SHA256[:12]}.gguf"
    assert smoke.stat().st_size == SIZE < 20_000_000
    assert digest(smoke) == SHA256
    assert [each.name for each in smoke.parent.iterdir()] == [NAME]


def test_the_facts_from_constants_are_those_of_the_file(smoke: Path) -> None:
    facts = model_facts(parse_header(smoke.read_bytes()), path=str(smoke), file_bytes=SIZE)
    assert smoke_facts(smoke) == facts


def test_the_title_says_what_it_is(smoke: Path) -> None:
    assert "random weights, for trials and tests" in smoke_facts(smoke).name


def test_a_good_file_is_left_alone(tmp_path: Path) -> None:
    before = ensure(tmp_path / "deep" / "models").stat()
    after = ensure(tmp_path / "deep" / "models").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def half(path: Path) -> None:
    os.truncate(path, SIZE // 2)


def one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[SIZE // 2] ^= 1
    path.write_bytes(content)


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("damage", [half, one_bit, longer, empty, a_link, a_pipe])
def test_another_file_under_the_name_is_replaced(
    damage: Callable[[Path], None], smoke: Path, tmp_path: Path
) -> None:
    path = tmp_path / NAME
    path.write_bytes(smoke.read_bytes())
    damage(path)
    assert ensure(tmp_path) == path
    assert path.is_file()
    assert not path.is_symlink()
    assert digest(path) == SHA256


def test_a_half_written_part_is_no_obstacle(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / f"{NAME}.part").symlink_to(victim)
    assert digest(ensure(tmp_path)) == SHA256
    assert victim.read_text() == "mine"
    assert not (tmp_path / f"{NAME}.part").is_symlink()


@pytest.mark.parametrize("obstacle", ["file", "directory"])
def test_an_unwritable_place_is_reported(obstacle: str, tmp_path: Path) -> None:
    place = tmp_path / "models"
    if obstacle == "file":
        place.write_text("not a directory")
    else:
        (place / NAME).mkdir(parents=True)
    with pytest.raises(StateUnwritable) as caught:
        ensure(place)
    assert str(place) in caught.value.what
    assert caught.value.why
    assert caught.value.fix


def test_two_writers_at_once_leave_one_good_file(tmp_path: Path) -> None:
    code = (
        f"from {MODULE} import ensure; from pathlib import Path; print(ensure(Path(sys.argv[1])))"
    )
    with ExitStack() as stack:
        writers = [python(code, str(tmp_path)) for _ in range(3)]
        for each in writers:
            stack.callback(each.kill)
        assert {output(each).strip() for each in writers} == {str(tmp_path / NAME)}
    assert [each.name for each in tmp_path.iterdir()] == [NAME]
    assert digest(tmp_path / NAME) == SHA256


# Stops itself in the middle of the writing, at each of the system calls that change the directory.
KILLED_AT = """
import os, signal
from pathlib import Path
from yoyo.drivers.local.smoke_model import NAME, ensure
def hook(event, arguments):
    if event == sys.argv[2] and sys.argv[3] in str(arguments[0]):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
ensure(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("event", ["open", "fcntl.flock", "os.rename"])
def test_a_killed_writer_leaves_nothing_that_counts(event: str, tmp_path: Path) -> None:
    named = "" if event == "fcntl.flock" else ".part"
    killed = python(KILLED_AT, str(tmp_path), event, named)
    output(killed)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / NAME).exists()
    assert digest(ensure(tmp_path)) == SHA256


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from yoyo.errors import DriverUnavailable
from {MODULE} import ensure
try:
    ensure(Path(sys.argv[1]))
except DriverUnavailable as error:
    print(error.why, "/", error.fix)
"""
    # -S leaves out site-packages: an interpreter that really has no gguf.
    said = output(python(code, str(tmp_path), flags=("-I", "-S")))
    assert "gguf is not installed" in said
    assert "pip install 'yoyo[local]'" in said
    assert list(tmp_path.iterdir()) == []


OTHER_GGUF = """
class TokenType: UNKNOWN = CONTROL = BYTE = NORMAL = 1
class GGUFWriter:
    def __init__(self, path, arch): self.path = path
    def __getattr__(self, name): return lambda *a: None
    def write_tensors_to_file(self): self.path.write_bytes(b"GGUF of next year")
"""


def test_a_gguf_that_writes_other_bytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gguf.py").write_text(OTHER_GGUF)
    code = f"""
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from yoyo.errors import DriverUnavailable
from {MODULE} import ensure
try:
    ensure(Path(sys.argv[2]))
except DriverUnavailable as error:
    print(error.why, "/", error.fix)
"""
    said = output(python(code, str(tmp_path), str(tmp_path / "models")))
    assert "writes other bytes than gguf" in said
    assert "pip install gguf==" in said
    assert list((tmp_path / "models").iterdir()) == []


def test_importing_the_module_and_its_facts_load_nothing_heavy() -> None:
    code = f"""
before = set(sys.modules)
from pathlib import Path
from {MODULE} import smoke_facts
smoke_facts(Path("x"))
print(sorted({{"numpy", "gguf", "hashlib", "subprocess", "importlib.metadata"}} & set(sys.modules)))
"""
    assert output(python(code, flags=("-I",))).strip() == "[]"


SERVE = """
import xllamacpp
parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.n_ctx, parameters.n_parallel, parameters.n_gpu_layers = 2048, 1, 0
parameters.hostnames, parameters.port = ["127.0.0.1"], 0
server = xllamacpp.Server(parameters)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def engine(smoke: Path) -> Iterator[str]:
    """The base URL of a real engine that has the model loaded."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys\n" + SERVE, str(smoke)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = (line.strip() for line in process.stdout)
        yield next(line for line in lines if line.startswith("http://127.0.0.1:"))
    finally:
        process.kill()
        process.communicate()


def ask(engine: str, **more: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": "Grüße, node €"}], "max_tokens": 100, **more}
    request = urllib.request.Request(
        f"{engine}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


# The engine's own defaults, and with every filter off: the whole vocabulary is in the draw.
UNFILTERED = {"top_k": 0, "top_p": 1, "min_p": 0}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 0},
        {"temperature": 0.8},
        {"temperature": 0.8, **UNFILTERED},
        {"temperature": 2.0, **UNFILTERED},
    ],
    ids=["greedy", "default", "unfiltered", "hot"],
)
def test_it_answers_in_words_up_to_the_limit(
    engine: str, sampling: dict[str, float], seed: int
) -> None:
    answer = ask(engine, seed=seed, **sampling)
    (choice,) = answer["choices"]
    said = choice["message"]["content"].split()
    assert set(said) <= set(WORDS)
    # A word is one token, and it never ends by itself.
    assert len(said) == answer["usage"]["completion_tokens"] == 100
    assert choice["finish_reason"] == "length"


def test_its_words_vary_with_the_seed(engine: str) -> None:
    first, second = (
        ask(engine, seed=seed, temperature=0.8)["choices"][0]["message"]["content"]
        for seed in (1, 2)
    )
    assert first != second
    assert len(set(first.split())) > 20


def test_a_prompt_costs_about_a_token_a_byte(engine: str) -> None:
    usage = [
        ask(engine, messages=[{"role": "user", "content": "x" * size}])["usage"]["prompt_tokens"]
        for size in (100, 300)
    ]
    assert usage[1] - usage[0] == 200
