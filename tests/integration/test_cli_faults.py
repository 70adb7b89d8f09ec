"""Bad input and faults: each has its exit code, its message, and leaves nothing behind."""

import json
import os
import resource
import shutil
import signal
import socket
from pathlib import Path

import pytest
from cli import Place


def nothing_left(here: Place) -> None:
    """No process, no open intent, a sound ledger."""
    assert here.processes() == []
    if here.ledger.exists():
        report = here.json("ledger", "verify", "--strict")
        assert report["ok"]


def error_of(here: Place, *arguments: str, code: int) -> dict[str, str]:
    document = here.json(*arguments, code=code)
    error: dict[str, str] = document["error"]
    assert error["what"]
    assert error["fix"]
    return error


def test_missing_model(here: Place) -> None:
    (here.root / "yoyo.yaml").write_text(
        "version: 1\nnodes: {local: {moduleId: demo, driver: local, engine: {model: no.gguf}}}\n"
    )
    assert "no.gguf" in str(error_of(here, "up", code=33))
    nothing_left(here)


def with_model(here: Place, content: bytes) -> None:
    (here.root / "model.gguf").write_bytes(content)
    (here.root / "yoyo.yaml").write_text(
        "version: 1\nnodes:\n  local:\n    moduleId: demo\n    driver: local\n"
        "    engine: {model: model.gguf}\n    guards: {stop_grace: 5s}\n"
    )


def smoke_model(here: Place) -> bytes:
    here.run("up")
    here.run("down", "--now")
    models = list((here.root / ".yoyo" / "models").glob("*.gguf"))
    return models[0].read_bytes()


def test_a_file_that_is_no_model(here: Place) -> None:
    with_model(here, b"<html>404 Not Found</html>")
    assert "GGUF" in str(error_of(here, "up", code=33))
    nothing_left(here)


def test_a_model_cut_short(here: Place) -> None:
    whole = smoke_model(here)
    with_model(here, whole[: len(whole) // 2])
    assert "truncated" in str(error_of(here, "up", code=33))
    with_model(here, whole)
    here.run("up")


def test_a_port_that_is_taken(here: Place) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        here.configure(engine=f"port: {port}")
        assert str(port) in str(error_of(here, "up", code=32))
    nothing_left(here)
    here.run("up")


def test_frozen(here: Place) -> None:
    here.run("freeze", "--reason", "bill under review")
    assert "bill under review" in error_of(here, "up", code=20)["why"]
    assert here.status()["frozen"]["reason"] == "bill under review"
    assert not here.ledger.exists()
    here.run("thaw")
    here.run("up")


def test_an_unreadable_kill_switch_counts_as_on(here: Place) -> None:
    here.run("freeze", "--reason", "x")
    (here.root / ".yoyo" / "frozen.json").write_text("{")
    error_of(here, "up", code=20)


def test_over_budget_says_the_figures(here: Place) -> None:
    here.configure(more="prices: {hourly_usd: 0.71}\n    budget: {day_usd: 5}")
    why = error_of(here, "up", code=21)["why"]
    assert "5.68" in why
    assert "day cap of 5" in why
    here.configure(more="prices: {hourly_usd: 0.71}\n    budget: {day_usd: 6}")
    here.run("up")


@pytest.mark.parametrize(
    "module",
    ["../up", "a'b", 'a"b', "a\nb", "Upper", "a" * 64, "", "a b", "-a", "a\x1b[31m"],
)
def test_hostile_module_ids(here: Place, module: str) -> None:
    text = json.dumps(module)
    (here.root / "yoyo.yaml").write_text(
        f"version: 1\nnodes:\n  local:\n    moduleId: {text}\n    driver: local\n"
    )
    done = here.run("up", code=10)
    assert "yoyo.yaml:4" in done.stderr
    assert "\x1b" not in done.stderr


def test_no_configuration(here: Place) -> None:
    (here.root / "yoyo.yaml").unlink()
    env = here.env(HOME=str(here.root))
    assert "yoyo init" in here.run("status", code=11, env=env).stderr


def test_init_never_overwrites(here: Place) -> None:
    before = (here.root / "yoyo.yaml").read_bytes()
    here.run("init", code=12)
    assert (here.root / "yoyo.yaml").read_bytes() == before


def test_a_driver_that_is_not_there(here: Place) -> None:
    text = (here.root / "yoyo.yaml").read_text().replace("driver: local", "driver: moon")
    (here.root / "yoyo.yaml").write_text(text)
    assert "yoyo[moon]" in str(error_of(here, "up", code=14))


def test_home_and_state_that_cannot_be_written(here: Place) -> None:
    nowhere = "/proc/nowhere"
    here.run("up", env=here.env(HOME=nowhere))
    here.run("down", "--now", env=here.env(HOME=nowhere))
    env = here.env(HOME=nowhere, YOYO_STATE_DIR="/proc/nowhere/state")
    assert "state" in here.run("up", code=50, env=env).stderr


def test_a_full_disk_under_the_ledger_starts_nothing_and_loses_nothing(here: Place) -> None:
    for _ in range(3):
        here.run("up")
        here.run("down", "--now")
    before = here.ledger.read_bytes()

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 40, len(before) + 40))

    full = here.start("up", preexec_fn=limit)
    _, stderr = full.communicate(timeout=60)
    assert full.returncode == 41, stderr
    assert here.ledger.read_bytes() == before
    nothing_left(here)


def test_a_ledger_that_cannot_be_written_does_not_keep_a_node_running(here: Place) -> None:
    here.run("up")
    size = here.ledger.stat().st_size

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, size + 40))

    stop = here.start("down", "--now", preexec_fn=limit)
    _, stderr = stop.communicate(timeout=60)
    assert stop.returncode == 41, stderr
    assert here.processes() == []
    here.run("status")
    assert here.events()[-1].startswith("PREEMPTION preempted STOPPED_OUTSIDE")
    nothing_left(here)


def tampered(here: Place, kind: str) -> None:
    lines = here.ledger.read_bytes().splitlines(keepends=True)
    match kind:
        case "edited":
            lines[3] = lines[3].replace(b"success", b"timeout", 1)
        case "dropped":
            del lines[2]
        case "swapped":
            lines[2], lines[3] = lines[3], lines[2]
        case "two headers":
            lines.insert(2, lines[0])
        case "crlf":
            lines = [line.replace(b"\n", b"\r\n") for line in lines]
        case "nul":
            lines[2] = lines[2][:20] + b"\0" + lines[2][21:]
    content = b"".join(lines)
    assert content != here.ledger.read_bytes()
    here.ledger.write_bytes(content)


@pytest.mark.parametrize("kind", ["edited", "dropped", "swapped", "two headers", "crlf", "nul"])
def test_a_tampered_ledger(here: Place, kind: str) -> None:
    here.run("up")
    here.run("down", "--now")
    tampered(here, kind)
    report = here.run("ledger", "verify", code=40)
    assert "line" in report.stdout
    here.run("up", code=40)
    assert here.processes() == []


def test_a_cut_tail_is_found_against_a_noted_head(here: Place) -> None:
    here.run("up")
    here.run("down", "--now")
    head = here.json("ledger", "verify")["head"]
    here.run("ledger", "verify", "--expect", head)
    lines = here.ledger.read_bytes().splitlines(keepends=True)
    here.ledger.write_bytes(b"".join(lines[:-1]))
    here.run("ledger", "verify", "--expect", head, code=44)
    here.run("ledger", "verify", "--strict", code=42)


def test_a_torn_tail_is_set_aside_and_recorded(here: Place) -> None:
    here.run("up")
    here.run("down", "--now")
    with here.ledger.open("ab") as file:
        file.write(b"0192-torn,2026-")
    assert here.json("ledger", "verify")["torn_tail_bytes"] == 15
    here.run("up")
    assert "CHECKPOINT success TORN_TAIL_RECOVERED" in here.events()
    assert b"0192-torn,2026-" in (here.root / "ledger.csv.torn").read_bytes()
    assert here.json("ledger", "verify")["ok"]


def test_a_node_that_is_gone(here: Place) -> None:
    here.run("up")
    for pid in here.processes():
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(here.root / ".yoyo" / "nodes")
    down = here.json("down")
    assert down["already_down"]
    assert here.events()[-1] == "PREEMPTION error MACHINE_GONE"
    nothing_left(here)


def test_a_supervisor_that_was_killed(here: Place) -> None:
    here.run("up")
    for pid in here.processes():
        os.kill(pid, signal.SIGKILL)
    assert here.status()["state"] == "failed"
    assert here.events()[-1] == "PREEMPTION error SUPERVISOR_LOST"
    here.run("up")
    assert here.status()["state"] == "ready"


def test_a_machine_of_another_ledger_is_refused(here: Place) -> None:
    here.run("up")
    here.ledger.rename(here.root / "elsewhere.csv")
    error_of(here, "up", code=37)
    error_of(here, "down", code=37)
    here.run("down", "--now")
    assert here.events() == ["TEARDOWN_REQUEST pending", "TEARDOWN_COMPLETE success"]
    nothing_left(here)


@pytest.mark.parametrize("phase", ["checking", "creating", "provisioning", "loading"])
def test_sigint_in_each_phase_of_up(here: Place, phase: str) -> None:
    slow_model(here)
    process = here.start("up")
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith(phase):
            break
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    if process.returncode == 0:
        # It was done before the signal reached it: then the node is simply up.
        assert here.status()["state"] == "ready"
        here.run("down", "--now")
    else:
        assert process.returncode == 130, "".join(seen) + rest
    assert "Traceback" not in "".join(seen) + rest
    nothing_left(here)


def slow_model(here: Place) -> None:
    """Write the smoke model beforehand, so that `creating` is not all there is to hit."""
    here.run("up")
    here.run("down", "--now")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_down_interrupted_can_be_repeated(here: Place, signum: int) -> None:
    here.run("up")
    process = here.start("down", "--now")
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("stopping"):
            break
    process.send_signal(signum)
    process.communicate(timeout=60)
    assert process.returncode in (0, 130)
    here.run("down", "--now")
    nothing_left(here)


def test_config_mistakes_all_at_once_with_positions(here: Place) -> None:
    (here.root / "yoyo.yaml").write_text(
        "version: 1\nnodes:\n  local:\n    moduleId: Demo\n    driver: local\n"
        "    engin: {}\n    engine: {ctx: 4096, parallel: 4}\n"
    )
    done = here.run("config", "validate", code=10)
    assert "yoyo.yaml:4:15" in done.stderr
    assert "yoyo.yaml:6:5" in done.stderr
    assert "did you mean" in done.stderr
    assert "1024" in done.stderr


def test_no_color_and_no_terminal(here: Place) -> None:
    for command in ("status", "plan"):
        assert "\x1b" not in here.run(command, env=here.env(NO_COLOR="1")).stdout


def test_a_reader_that_goes_away(here: Place, tmp_path: Path) -> None:
    here.run("up")
    here.run("down", "--now")
    process = here.start("ledger", "show")
    assert process.stdout is not None
    process.stdout.close()
    with process:
        process.stdout = None
        assert process.wait(timeout=60) == 141


def test_bytes_that_are_no_text_and_a_terminal_of_another_encoding(here: Place) -> None:
    here.run("up")
    for command in (("ask", "\udcff\u00e9", "--max-tokens", "2"), ("status",)):
        here.run(*command, env=here.env(PYTHONIOENCODING="ascii"))
    here.run("freeze", "--reason", "\udcff\x1b[31mred")
    shown = here.run("status", env=here.env(PYTHONIOENCODING="ascii"))
    assert "\x1b" not in shown.stdout
    assert "FROZEN" in shown.stdout


def test_status_is_shown_even_when_nothing_can_be_booked(here: Place) -> None:
    here.run("up")
    for pid in here.processes():
        os.kill(pid, signal.SIGKILL)
    size = here.ledger.stat().st_size

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, size + 40))

    looking = here.start("status", preexec_fn=limit)
    shown, stderr = looking.communicate(timeout=60)
    assert looking.returncode == 0, stderr
    assert "NOT BOOKED" in shown
    assert here.ledger.stat().st_size == size
    assert here.status()["state"] == "failed"
    nothing_left(here)
