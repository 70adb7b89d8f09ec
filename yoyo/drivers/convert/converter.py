"""PEFT adapters as GGUF: llama.cpp's own converter does it, as only it knows every architecture."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from yoyo.errors import AdapterInvalid

SCRIPT: Final = "convert_lora_to_gguf.py"
# Half precision: what adapters are trained in, and what the engine computes with.
_OUTTYPE: Final = "f16"
_TAIL_BYTES: Final = 2000
_HOUR_S: Final = 3600.0

_GET_IT: Final = (
    "Get llama.cpp's source and its converter's packages (git clone "
    "https://github.com/ggml-org/llama.cpp; pip install -r "
    "llama.cpp/requirements/requirements-convert_hf_to_gguf.txt) and set LLAMA_CPP_DIR to it; "
    "or pack a GGUF file."
)


class LlamaCppConverter:
    """`convert_lora_to_gguf.py` of a llama.cpp source tree, run by a Python that has torch.

    `script` is the script itself; None: the one in `llama_cpp_dir`, else the one on the PATH.
    `python` is the interpreter to run it with; `timeout_s` is in seconds.
    """

    def __init__(
        self,
        script: Path | None,
        python: str,
        *,
        llama_cpp_dir: str = "",
        timeout_s: float = _HOUR_S,
    ) -> None:
        self._script = script
        self._python = python
        self._llama_cpp_dir = llama_cpp_dir
        self._timeout_s = timeout_s

    def convert(self, peft: Path, base: Path, target: Path) -> None:
        """See the port."""
        script = self._found()
        for directory, name in ((peft, "adapter_config.json"), (base, "config.json")):
            if not (directory / name).is_file():
                raise AdapterInvalid(
                    f"{peft} was not converted.",
                    why=f"{directory} has no {name}.",
                    fix="Name the adapter's directory, and the base model's Hugging Face"
                    " directory (its configuration is enough) with --base-config.",
                )
        # The script also reads pickles (adapter_model.bin): those are programs, not data.
        if not (peft / "adapter_model.safetensors").is_file():
            raise AdapterInvalid(
                f"{peft} was not converted.",
                why="It has no adapter_model.safetensors.",
                fix="Save the adapter as safetensors: save_pretrained(DIR).",
            )
        final = target.absolute()
        part = final.with_name(f"{final.name}.part")
        # The script fills in what stands in braces, and would write elsewhere.
        if "{" in part.name:
            raise AdapterInvalid(
                f"{target} is no name for a converted adapter.",
                why="The converter has a meaning of its own for braces.",
                fix="Name another file.",
            )
        command = [
            self._python, str(script.absolute()), "--base", str(base.absolute()),
            "--outfile", str(part), "--outtype", _OUTTYPE, str(peft.absolute()),
        ]  # fmt: skip
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            part.unlink(missing_ok=True)
            self._run(command, peft)
            if not part.is_file():
                raise _refused(peft, "it ended without an error, and without a file")
            part.replace(final)
        except OSError as error:
            raise _refused(peft, error.strerror or str(error)) from error
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def _found(self) -> Path:
        if self._script is not None:
            candidates = [self._script]
        elif self._llama_cpp_dir:
            candidates = [Path(self._llama_cpp_dir) / SCRIPT]
        else:
            there = shutil.which(SCRIPT)
            candidates = [Path(there)] if there else []
        for candidate in candidates:
            if candidate.is_file():
                return candidate
        where = str(candidates[0]) if candidates else f"{SCRIPT} on the PATH"
        raise AdapterInvalid(
            "A PEFT adapter cannot be converted here.",
            why=f"llama.cpp's converter is missing: no {where}.",
            fix=_GET_IT,
        )

    def _run(self, command: list[str], peft: Path) -> None:
        # Nothing is fetched: the base's configuration lies here, and a hub may change it.
        offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env={**os.environ, **offline},
                start_new_session=True,
            )
            try:
                code = process.wait(self._timeout_s)
            except subprocess.TimeoutExpired:
                raise _refused(
                    peft, f"it had not ended after {self._timeout_s:g} s", said
                ) from None
            finally:
                _end(process)
            if code != 0:
                how = f"it ended with {code}" if code > 0 else f"signal {-code} ended it"
                raise _refused(peft, how, said)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Whatever is left of it: torch's helpers outlive it otherwise."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _refused(peft: Path, how: str, said: IO[bytes] | None = None) -> AdapterInvalid:
    tail: list[str] = []
    if said is not None:
        size = said.seek(0, os.SEEK_END)
        said.seek(max(0, size - _TAIL_BYTES))
        tail = said.read().decode("utf-8", "replace").strip().splitlines()
    last = f": {tail[-1]}" if tail else ""
    return AdapterInvalid(
        f"llama.cpp's converter did not convert {peft}.",
        why=f"{how[:1].upper()}{how[1:]}{last}.",
        fix="Mend what it names (a missing package: install its requirements into the Python that"
        " runs it), or pack a GGUF file.",
        details=tuple(tail),
    )
