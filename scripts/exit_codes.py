"""Write docs/exit-codes.md from yoyo/errors.py. Run it after adding an error."""

from pathlib import Path

from yoyo import errors
from yoyo.errors import YoyoError

HEAD = """# Exit codes

Made by `python scripts/exit_codes.py` from `yoyo/errors.py`. A released code never changes
its meaning.

| code | name | meaning |
|---|---|---|
| 0 | | done |
| 2 | | usage: unknown command or option |
| 70 | | a bug in yoyo; `--debug` shows where |
| 141 | | the reader of stdout went away |
"""


def main() -> None:
    found = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, YoyoError) and value is not YoyoError
    ]
    rows = "".join(
        f"| {e.exit_code} | `{e.__name__}` | {e.summary} |\n"
        for e in sorted(found, key=lambda e: e.exit_code)
    )
    (Path(__file__).parents[1] / "docs" / "exit-codes.md").write_text(HEAD + rows)


if __name__ == "__main__":
    main()
