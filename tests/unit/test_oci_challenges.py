"""WWW-Authenticate: what RFC 9110 allows is read, whatever else comes is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoyo.drivers.oci.auth import Challenge, Grant, parse_challenges
from yoyo.model.oci import Reference

TOKENS = st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,10}", fullmatch=True)
TEXTS = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
# Parameters come without the case that their names had.
NAMES = st.dictionaries(TOKENS.map(str.lower), TEXTS, min_size=1, max_size=4)


@given(st.lists(st.tuples(TOKENS, NAMES), max_size=4))
def test_what_is_written_is_read(challenges: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(text: str) -> str:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'

    header = ", ".join(
        f"{scheme} " + ",".join(f"{name}={quoted(text)}" for name, text in parameters.items())
        for scheme, parameters in challenges
    )
    assert parse_challenges(header) == tuple(
        Challenge(scheme.lower(), parameters) for scheme, parameters in challenges
    )


@given(st.one_of(st.text(), st.text(alphabet='Bearer=", \t\\realm', max_size=60)))
def test_anything_is_read_or_left_alone(header: str) -> None:
    for challenge in parse_challenges(header):
        assert challenge.scheme.islower() or not challenge.scheme.isalpha()


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", []),
        ("Basic", [("basic", {})]),
        ('Basic realm="x"', [("basic", {"realm": "x"})]),
        ("BASIC Realm = x ,", [("basic", {"realm": "x"})]),
        (
            ', Bearer realm="a,b=\\"c\\"" , scope=""',
            [("bearer", {"realm": 'a,b="c"', "scope": ""})],
        ),
        ("Negotiate, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ("Negotiate YWJj==, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ("Bearer realm=a, service=b", [("bearer", {"realm": "a", "service": "b"})]),
    ],
)
def test_what_rfc_9110_allows(header: str, found: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(header) == tuple(Challenge(*challenge) for challenge in found)


@pytest.mark.parametrize(
    "header",
    [
        "realm=x", 'Bearer realm="x', 'Bearer realm="a" service="b"', "Bearer realm=a,realm=b",
        'Bearer realm="a",REALM="b"', 'Bearer realm="\0"', 'Bearer realm="\n"', "Bearer realm=@",
        "Bearer a b", '"Bearer"', "Bearer realm=http://x", "B\u00e4rer realm=x", "Basic=",
        "x," * 17, "Bearer realm=" + "a" * 9000,
    ],
)  # fmt: skip
def test_what_is_malformed_is_nothing(header: str) -> None:
    assert parse_challenges(header) == ()


def test_a_long_header_takes_no_long_time() -> None:
    # Each of these would take minutes if the parser tried every way to read it.
    for part in ('\\"', "a=", 'a="', "a ", "=", "a=a ", "\\", " ", "a=\t"):
        parse_challenges(f'Bearer realm="{part * (8000 // len(part))}')
        parse_challenges(f"Bearer {part * (8000 // len(part))}")


def test_a_grant_names_what_is_mounted_from() -> None:
    ref = Reference("example.com", "team/a")
    pushed = ("repository:team/a:pull,push",)
    assert Grant.of(ref, "pull,push").scopes == pushed
    assert Grant.of(ref, "pull,push", "team/b").scopes == (*pushed, "repository:team/b:pull")
    assert Grant.of(ref, "pull,push", "team/a").scopes == pushed
