"""Running the real `yoyo` as a real process, and making sure that nothing of it stays."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from yoyo.model.ledger import LEDGER_NODE

YOYO = str(Path(sys.executable).parent / "yoyo")

CONFIG = """\
version: 1
operator: tester
nodes:
  local:
    moduleId: demo
    driver: local
    engine: {{model: smoke, {engine}}}
    guards: {{{guards}}}
    {more}
"""


# One slot with all the context the smoke model was made for: an answer that fills it takes
# half a minute, which is long enough to find the engine at work.
LONG_CONTEXT = "ctx: 32768, parallel: 1"


class Place:
    """A directory with a yoyo.yaml, and the commands run in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def configure(
        self,
        *,
        engine: str = "ctx: 4096, parallel: 2",
        guards: str = "stop_grace: 5s",
        more: str = "",
    ) -> None:
        """Write yoyo.yaml."""
        text = CONFIG.format(engine=engine, guards=guards, more=more)
        (self.root / "yoyo.yaml").write_text(text)

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.csv"

    def start(self, *arguments: str, **extra: Any) -> "subprocess.Popen[str]":
        """Start a command and do not wait for it."""
        return subprocess.Popen(
            [YOYO, *arguments],
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=extra.pop("env", self.env()),
            **extra,
        )

    def env(self, **more: str) -> dict[str, str]:
        """The environment without anything that would change the configuration."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("YOYO_", "XDG_"))}
        return {**kept, **more}

    def run(
        self, *arguments: str, code: int | None = 0, env: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end and check its exit code."""
        done = subprocess.run(
            [YOYO, *arguments],
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            env=env or self.env(),
            check=False,
        )
        told = f"yoyo {' '.join(arguments)} -> {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert code is None or done.returncode == code, told
        assert "Traceback" not in done.stdout + done.stderr, told
        return done

    def json(self, *arguments: str, code: int | None = 0) -> Any:
        """Run a command with --json and parse the one document on stdout."""
        return json.loads(self.run(*arguments, "--json", code=code).stdout)

    def status(self) -> Any:
        """The node's status document."""
        return self.json("status")["nodes"][0]

    def events(self) -> list[str]:
        """Type, status and error code of every row but those about the ledger itself."""
        lines = self.run("ledger", "show", "--json").stdout.splitlines()
        rows = [json.loads(line) for line in lines]
        return [
            " ".join(filter(None, (r["event_type"], r["completion_status"], r["error_code"])))
            for r in rows
            if r["node_id"] != LEDGER_NODE
        ]

    def processes(self) -> list[int]:
        """Every live process that works for a node of this directory."""
        return list(self._commands())

    def supervisors(self) -> list[int]:
        """The live supervisors among them."""
        return [pid for pid, command in self._commands().items() if "supervisor" in command]

    def engines(self) -> list[int]:
        """The live engines among them."""
        return [pid for pid, command in self._commands().items() if "supervisor" not in command]

    def wait_until_gone(self) -> None:
        """Wait until the node's supervisor has ended, by its own event: no polling."""
        for pid in self.supervisors():
            try:
                watched = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            with os.fdopen(watched):
                assert select.select([watched], [], [], 60)[0], "the node is still there"

    def _commands(self) -> dict[int, str]:
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                command = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except (OSError, IndexError):
                continue
            if str(self.root) in command and state != "Z" and int(entry.name) != os.getpid():
                found[int(entry.name)] = command
        return found

    def clean_up(self) -> None:
        """Kill whatever is left."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


@contextmanager
def place(root: Path) -> Iterator[Place]:
    """A configured directory whose processes are gone afterwards."""
    here = Place(root)
    here.configure()
    try:
        yield here
    finally:
        here.clean_up()
