"""The `yoyo` executable: start fast, turn every failure into a message and an exit code."""

import gc
import sys
from io import TextIOWrapper

from yoyo import __version__
from yoyo.errors import YoyoError

INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h


INTERRUPTED = 130  # 128 + SIGINT, as shells say it


def main() -> None:
    """Entry point. Exits with the code of the error that ended the command."""
    try:
        _main()
    except KeyboardInterrupt:
        # While modules are still being imported: no command has begun.
        sys.stderr.write("error: Interrupted.\n")
        sys.exit(INTERRUPTED)


def _main() -> None:
    if sys.argv[1:] in (["--version"], ["version"]):
        sys.stdout.write(f"yoyo {__version__}\n")
        return
    # Imports make many objects and hardly any cycle: looking for them costs 5 ms at every start.
    gc.set_threshold(50_000, 20, 20)
    from yoyo.cli.app import app_for_argv

    for stream in (sys.stdout, sys.stderr):
        # A terminal of another encoding shows an escape, and does not end the command.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    debug = "--debug" in sys.argv
    try:
        app_for_argv()(prog_name="yoyo")
    except YoyoError as error:
        if debug:
            _traceback()
        from yoyo.cli.output import Output

        Output(json="--json" in sys.argv).error(error)
        sys.exit(error.exit_code)
    except Exception as error:
        if debug:
            _traceback()
        if "--json" in sys.argv:
            sys.stdout.write(
                '{"error": {"code": "InternalError", "exit_code": 70, '
                f'"what": "{type(error).__name__}"}}}}\n'
            )
        sys.stderr.write(
            f"error: yoyo failed in a way it should not: {type(error).__name__}\n"
            "  fix: run the command again with --debug and report what it prints\n"
        )
        sys.exit(INTERNAL_ERROR)


def _traceback() -> None:
    import traceback

    traceback.print_exc()
