"""An external llama-server: found, started with the real flags, and seen through its failures."""

import os
import signal
import stat
from pathlib import Path

from cli import Place
from llama_server_stand_in import write_program


def server(here: Place, script: str) -> Path:
    """An executable of that content."""
    path = here.root / "bin" / "llama-server"
    path.parent.mkdir(exist_ok=True)
    path.write_text(script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def real(here: Place, name: str = "llama-server") -> Path:
    path = here.root / "bin" / name
    path.parent.mkdir(exist_ok=True)
    return write_program(path)


def test_a_llama_server_by_its_path(here: Place) -> None:
    path = real(here)
    here.configure(engine=f"server: '{path}', ctx: 4096, parallel: 2, extra_flags: [-t, '1']")
    here.run("up")
    status = here.status()
    assert status["engine"]["healthy"]
    assert status["engine"]["slots"]["total"] == 2
    assert here.json("ask", "hello", "--max-tokens", "4")["completion"]["completion_tokens"] == 4
    here.run("down")
    assert here.processes() == []


def test_a_llama_server_on_path(here: Place) -> None:
    path = real(here)
    here.configure(engine="server: llama-server, ctx: 4096, parallel: 2")
    env = here.env(PATH=f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    here.run("up", env=env)
    here.run("down", env=env)


def test_a_server_that_is_not_there(here: Place) -> None:
    here.configure(engine="server: no-such-server, ctx: 4096, parallel: 2")
    assert here.json("up", code=38)["error"]["fix"]


def test_an_engine_that_dies_while_loading_shows_its_last_lines(here: Place) -> None:
    path = server(here, "#!/bin/sh\necho 'error: no CUDA device found' >&2\nexit 3\n")
    here.configure(engine=f"server: '{path}', ctx: 4096, parallel: 2")
    failed = here.run("up", code=30)
    assert "no CUDA device found" in failed.stderr
    assert "exit code 3" in failed.stderr
    assert here.status()["state"] == "failed"
    assert here.events() == ["BOOT_REQUEST pending", "TEARDOWN_COMPLETE error ENGINE_EXITED"]


def test_an_engine_that_dies_on_a_flag_it_does_not_know(here: Place) -> None:
    path = real(here)
    engine = f"server: '{path}', ctx: 4096, parallel: 2, extra_flags: [--no-such-flag]"
    here.configure(engine=engine)
    assert "no-such-flag" in here.run("up", code=30).stderr
    assert here.processes() == []


def test_an_engine_that_hangs_while_loading_is_given_up(here: Place) -> None:
    path = server(here, "#!/bin/sh\nexec sleep 600\n")
    here.configure(
        engine=f"server: '{path}', ctx: 4096, parallel: 2",
        guards="boot_timeout: 2s, stop_grace: 2s",
    )
    slow = here.run("up", code=31)
    assert "2 s" in slow.stderr
    assert here.events() == ["BOOT_REQUEST pending", "TEARDOWN_COMPLETE timeout BOOT_TIMEOUT"]
    assert here.processes() == []
    assert here.json("ledger", "verify", "--strict")["ok"]


def test_an_engine_that_ignores_sigterm_is_killed_after_its_grace(here: Place) -> None:
    path = real(here, "llama-server.stubborn")
    here.configure(engine=f"server: '{path}', ctx: 4096, parallel: 2", guards="stop_grace: 1s")
    here.run("up")
    here.run("down", "--now")
    assert here.engines() == []
    assert here.events()[-1] == "TEARDOWN_COMPLETE success"


def test_a_flag_the_embedded_server_does_not_take(here: Place) -> None:
    here.configure(engine="ctx: 4096, parallel: 2, extra_flags: [--mlock]")
    assert "--mlock" in here.run("up", code=38).stderr
    here.configure(engine="ctx: 4096, parallel: 2, extra_flags: [--threads, '1', -fa, 'on']")
    here.run("up")


def test_a_wrapper_that_forks_leaves_nothing_behind(here: Place) -> None:
    path = server(here, f"#!/bin/sh\n'{real(here, 'real-server')}' \"$@\"\n")
    here.configure(engine=f"server: '{path}', ctx: 4096, parallel: 2", guards="stop_grace: 5s")
    here.run("up")
    here.run("down", "--now")
    assert here.engines() == []
    here.run("up")
    for pid in here.supervisors():
        os.kill(pid, signal.SIGKILL)
    # The wrapper goes with its supervisor, its child does not: found, and stopped by `down`.
    assert here.status()["state"] == "unknown"
    here.run("down", "--now")
    assert here.engines() == []
    assert here.json("ledger", "verify", "--strict")["ok"]


def test_down_now_cuts_off_a_start_that_hangs(here: Place) -> None:
    path = server(here, "#!/bin/sh\nexec sleep 600\n")
    here.configure(engine=f"server: '{path}', ctx: 4096, parallel: 2", guards="stop_grace: 2s")
    hanging = here.start("up")
    assert hanging.stderr is not None
    for line in hanging.stderr:
        if line.startswith("loading"):
            break
    stopped = here.run("down", "--now")
    assert "tester" in stopped.stderr
    hanging.communicate(timeout=120)
    assert hanging.returncode == 30
    assert here.processes() == []
    assert here.events() == ["BOOT_REQUEST pending", "TEARDOWN_COMPLETE error BOOT_ABANDONED"]
    assert here.json("ledger", "verify", "--strict")["ok"]
