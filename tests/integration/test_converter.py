"""The converter's driver: the command that it runs, and what becomes of every way it can end."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from local_parts import await_end

from yoyo.drivers.convert.converter import SCRIPT, LlamaCppConverter
from yoyo.errors import AdapterInvalid

# Takes what convert_lora_to_gguf.py takes, and nothing else: its argparse flags as of commit
# 0b03adaa632b of ggml-org/llama.cpp. allow_abbrev is off, so that a flag must be whole.
STAND_IN = """
import argparse, json, os, sys, time
from pathlib import Path
parser = argparse.ArgumentParser(allow_abbrev=False)
parser.add_argument("--outfile", type=Path)
parser.add_argument(
    "--outtype", type=str, choices=["f32", "f16", "bf16", "q8_0", "auto"], default="f32")
parser.add_argument("--bigendian", action="store_true")
parser.add_argument("--no-lazy", action="store_true")
parser.add_argument("--verbose", action="store_true")
parser.add_argument("--dry-run", action="store_true")
parser.add_argument("--base", type=Path)
parser.add_argument("--base-model-id", type=str)
parser.add_argument("--trust-remote-code", default=False, action="store_true")
parser.add_argument("lora_path", type=Path)
args = parser.parse_args()
assert (args.lora_path / "adapter_model.safetensors").is_file()
assert (args.base / "config.json").is_file()
how = (args.lora_path / "adapter_config.json").read_text()
if how == "fails":
    print("first words")
    sys.exit("ModuleNotFoundError: No module named 'torch'")
if how == "fails half-way":
    args.outfile.write_text("half")
    sys.exit(1)
if how == "says much":
    sys.exit("x" * 100000 + "\\nthe end")
if how == "ends without a file":
    sys.exit(0)
if how == "kills itself":
    os.kill(os.getpid(), 9)
if how == "hangs":
    args.outfile.write_text("half")
    child = os.fork()
    if child:
        (args.lora_path / "pids").write_text(f"{os.getpid()} {child}")
    while True:
        time.sleep(60)
options = {key: str(value) for key, value in vars(args).items()}
options["offline"] = os.environ["HF_HUB_OFFLINE"] + os.environ["TRANSFORMERS_OFFLINE"]
args.outfile.write_text(json.dumps(options))
"""


class Place:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.peft, self.base = root / "peft", root / "base"
        self.target = root / "out" / "adapter.gguf"
        self.script = root / "llama.cpp" / SCRIPT
        for directory in (self.peft, self.base, self.script.parent):
            directory.mkdir()
        (self.peft / "adapter_config.json").write_text("works")
        (self.peft / "adapter_model.safetensors").write_text("")
        (self.base / "config.json").write_text("{}")
        self.script.write_text(STAND_IN)

    def converter(self, timeout_s: float = 60.0) -> LlamaCppConverter:
        return LlamaCppConverter(self.script, sys.executable, timeout_s=timeout_s)

    def refused(self, converter: LlamaCppConverter | None = None) -> AdapterInvalid:
        with pytest.raises(AdapterInvalid) as caught:
            (converter or self.converter()).convert(self.peft, self.base, self.target)
        assert caught.value.fix
        assert not self.target.exists()
        assert not self.target.with_name("adapter.gguf.part").exists()
        return caught.value


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_it_is_run_with_the_scripts_own_flags(place: Place) -> None:
    import json

    place.converter().convert(place.peft, place.base, place.target)
    assert json.loads(place.target.read_text()) == {
        "outfile": f"{place.target}.part", "outtype": "f16", "bigendian": "False",
        "no_lazy": "False", "verbose": "False", "dry_run": "False", "base": str(place.base),
        "base_model_id": "None", "trust_remote_code": "False", "lora_path": str(place.peft),
        "offline": "11",
    }  # fmt: skip
    assert [each.name for each in place.target.parent.iterdir()] == ["adapter.gguf"]


def test_relative_names_and_names_like_flags_are_names(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.root)
    place.peft.rename("--peft")
    place.converter().convert(Path("--peft"), Path("base"), Path("-o.gguf"))
    assert Path("-o.gguf").exists()


def test_it_is_found_by_directory_and_by_path(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = str(place.script.parent)
    LlamaCppConverter(None, sys.executable, llama_cpp_dir=directory).convert(
        place.peft, place.base, place.target
    )
    place.target.unlink()
    place.script.chmod(0o755)
    monkeypatch.setenv("PATH", directory, prepend=os.pathsep)
    LlamaCppConverter(None, sys.executable).convert(place.peft, place.base, place.target)
    assert place.target.exists()


def test_without_it_the_error_says_where_it_comes_from(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(place.root))
    for converter in (
        LlamaCppConverter(None, sys.executable),
        LlamaCppConverter(place.root / "no.py", sys.executable),
        LlamaCppConverter(None, sys.executable, llama_cpp_dir=str(place.root)),
    ):
        error = place.refused(converter)
        assert "converter is missing" in error.why
        assert "github.com/ggml-org/llama.cpp" in error.fix


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("fails", "It ended with 1: ModuleNotFoundError: No module named 'torch'."),
        ("fails half-way", "It ended with 1."),
        ("says much", "It ended with 1: the end."),
        ("ends without a file", "It ended without an error, and without a file."),
        ("kills itself", "Signal 9 ended it."),
    ],
)
def test_each_end_has_its_reason_and_leaves_nothing(place: Place, how: str, why: str) -> None:
    (place.peft / "adapter_config.json").write_text(how)
    error = place.refused()
    assert error.why == why
    assert sum(map(len, error.details)) <= 2000


def test_one_that_hangs_is_ended_with_all_its_processes(place: Place) -> None:
    (place.peft / "adapter_config.json").write_text("hangs")
    with pytest.raises(AdapterInvalid) as caught:
        place.converter(timeout_s=5).convert(place.peft, place.base, place.target)
    assert "had not ended after 5 s" in caught.value.why
    first, second = map(int, (place.peft / "pids").read_text().split())
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    await_end(second)
    assert not place.target.with_name("adapter.gguf.part").exists()


@pytest.mark.parametrize(
    ("missing", "why"),
    [
        ("peft/adapter_config.json", "adapter_config.json"),
        ("peft/adapter_model.safetensors", "adapter_model.safetensors"),
        ("base/config.json", "config.json"),
    ],
)
def test_what_it_needs_is_looked_for_first(place: Place, missing: str, why: str) -> None:
    (place.root / missing).unlink()
    # A pickle beside it is a program: it does not stand in for the weights.
    (place.peft / "adapter_model.bin").write_text("")
    assert why in place.refused().why


def test_a_target_with_a_template_in_its_name(place: Place) -> None:
    place.target = place.target.with_name("{ftype}.gguf")
    assert "braces" in place.refused().why


def test_a_python_that_is_none(place: Place) -> None:
    assert "No such file" in place.refused(LlamaCppConverter(place.script, "/no/python")).why


def test_an_older_file_is_replaced_only_by_a_whole_one(place: Place) -> None:
    place.target.parent.mkdir()
    place.target.write_text("old")
    (place.peft / "adapter_config.json").write_text("fails half-way")
    with pytest.raises(AdapterInvalid):
        place.converter().convert(place.peft, place.base, place.target)
    assert place.target.read_text() == "old"
    (place.peft / "adapter_config.json").write_text("works")
    place.converter().convert(place.peft, place.base, place.target)
    assert place.target.read_text() != "old"
