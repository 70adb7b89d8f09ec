"""The error tree is an interface: codes are unique, named and documented."""

from pathlib import Path

from yoyo import errors
from yoyo.cli.main import INTERNAL_ERROR
from yoyo.cli.session import BROKEN_PIPE
from yoyo.errors import YoyoError

ROOT = Path(__file__).parents[2]


def every_error() -> list[type[YoyoError]]:
    return [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, YoyoError) and value is not YoyoError
    ]


def test_every_error_has_its_own_exit_code() -> None:
    codes = [error.exit_code for error in every_error()]
    reserved = {0, 1, 2, INTERNAL_ERROR, BROKEN_PIPE}
    assert len(set(codes)) == len(codes)
    assert not reserved & set(codes)
    assert all(0 < code < 256 for code in codes)


def test_every_exit_code_is_on_the_page() -> None:
    page = (ROOT / "docs" / "exit-codes.md").read_text()
    for error in every_error():
        assert f"| {error.exit_code} | `{error.__name__}` | {error.summary} |" in page
