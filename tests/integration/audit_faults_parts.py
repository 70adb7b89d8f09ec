"""The real `yoyo` in a child that is forked, not started: a process in a tenth of the time."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

CONFIG = """\
version: 1
operator: tester
ledger: {ledger}
checkpoints:
  {signer}
  origin: ledger.example.org/gpu
{copy}sealing: {{{sealing}}}
nodes:
  demo:
    moduleId: acme
    driver: local
    engine: {{model: smoke}}
"""


class Said(NamedTuple):
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


def configure(
    home: Path,
    *,
    ledger: str = "ledger.csv",
    signer: str = "key: key.pem",
    copy: str = "",
    sealing: str = "mode: manual",
) -> None:
    """Write yoyo.yaml beside the ledger of an `Audited`."""
    to = f"  copy_to: {copy}\n" if copy else ""
    text = CONFIG.format(ledger=ledger, signer=signer, copy=to, sealing=sealing)
    (home / "yoyo.yaml").write_text(text)


def forked(work: Callable[[], int]) -> int:
    """Run that in a child; gives its wait status."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def yoyo(home: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Said:
    """Run a command in that directory, in a process of its own."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        status = forked(lambda: run_here(home, arguments, env or {}, out.fileno(), err.fileno()))
        texts = []
        for each in (out, err):
            each.seek(0)
            texts.append(each.read().decode())
    said = Said(os.waitstatus_to_exitcode(status), *texts)
    assert "Traceback" not in said.out + said.err, (arguments, said)
    assert said.code not in (70, 99), (arguments, said)
    return said


def run_here(
    home: Path, arguments: tuple[str, ...], env: Mapping[str, str], out: int | str, err: int | str
) -> int:
    """Be that command: for a child. `out` and `err` are descriptors, or files to write."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir(home)
    for name in [each for each in os.environ if each.startswith("YOYO_")]:
        del os.environ[name]
    os.environ |= {"XDG_STATE_HOME": str(home / "xdg"), "HOME": str(home), **env}
    for number, to in ((1, out), (2, err)):
        os.dup2(os.open(to, os.O_WRONLY) if isinstance(to, str) else to, number)
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    # Which commands there are depends on the arguments at their import.
    for name in [each for each in sys.modules if each.startswith("yoyo.cli")]:
        del sys.modules[name]
    sys.argv = ["yoyo", *arguments]
    from yoyo.cli.main import main

    code: int | str | None = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else 0 if code is None else 1


def refusal(home: Path, code: int, *arguments: str, env: Mapping[str, str] | None = None) -> Said:
    """A command that fails as it should: its code, its three lines, and one JSON document."""
    said = yoyo(home, *arguments, env=env)
    assert said.code == code, said
    lines = said.err.splitlines()
    for begin in ("error: ", "  why: ", "  fix: "):
        assert [line for line in lines if line.startswith(begin)], (begin, said)
    as_json = yoyo(home, *arguments, "--json", env=env)
    assert as_json.code == code, as_json
    error = document(as_json)["error"]
    assert (error["exit_code"], bool(error["what"]), bool(error["fix"])) == (code, True, True)
    return said


def document(said: Said) -> Any:
    """The one document on stdout."""
    assert said.out.count("\n") == 1, said
    return json.loads(said.out)


def documents(said: Said) -> Iterator[Any]:
    """A document a line."""
    for line in said.out.splitlines():
        yield json.loads(line)
