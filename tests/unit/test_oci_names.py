"""References: what is written comes back, and what is no reference is refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoyo.core.oci_names import (
    InvalidReference,
    fallback_tag,
    is_loopback,
    parse_digest,
    parse_reference,
)
from yoyo.model.oci import Reference

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"

LABELS = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,8}[a-zA-Z0-9])?", fullmatch=True)
NAMES = st.builds(
    lambda labels, last: ".".join([*labels, last]),
    st.lists(LABELS, min_size=1, max_size=3),
    st.from_regex(r"[a-zA-Z][a-zA-Z0-9]{0,8}", fullmatch=True),
)
ADDRESSES = st.one_of(
    st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(lambda found: f"[{found}]")
)
PORTS = st.one_of(st.just(""), st.integers(1, 65535).map(lambda port: f":{port}"))
HOSTS = st.builds(
    lambda host, port: host + port, st.one_of(st.just("localhost"), NAMES, ADDRESSES), PORTS
)
COMPONENTS = st.from_regex(r"[a-z0-9]{1,6}((\.|_|__|-{1,3})[a-z0-9]{1,6}){0,2}", fullmatch=True)
REPOSITORIES = st.lists(COMPONENTS, min_size=1, max_size=4).map("/".join)
TAGS = st.one_of(st.just(""), st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", fullmatch=True))
DIGESTS = st.one_of(st.just(""), st.binary(min_size=32, max_size=32).map(lambda b: b.hex()))


@given(HOSTS, REPOSITORIES, TAGS, DIGESTS)
def test_a_reference_comes_back_as_it_was_written(
    host: str, repository: str, tag: str, hexadecimal: str
) -> None:
    digest = f"sha256:{hexadecimal}" if hexadecimal else ""
    reference = Reference(host, repository, tag, digest)
    assert parse_reference(str(reference)) == reference
    assert str(parse_reference(str(reference))) == str(reference)


@given(st.one_of(st.text(), st.text(alphabet="aZ09.:/@[]_- \n%\\", max_size=40)))
def test_any_text_is_refused_or_comes_back(text: str) -> None:
    try:
        said = str(parse_reference(text))
    except InvalidReference as refused:
        said = str(refused)
        accepted = False
    else:
        accepted = True
    assert said == text if accepted else said.isascii() and len(said) < 1000


def test_the_parts_of_a_reference() -> None:
    found = parse_reference(f"Registry.example.com:5000/team/a__b/c.d-e:V1.0_x@{DIGEST}")
    assert found == ("Registry.example.com:5000", "team/a__b/c.d-e", "V1.0_x", DIGEST)
    assert parse_reference("[::1]:5000/a") == ("[::1]:5000", "a", "", "")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "names no registry"),
        ("adapter:1.0", "names no registry"),
        ("library/adapter", "names no registry"),
        ("example.com", "names no registry"),
        (":5000/a", "no host name"),
        ("example.com/", "no repository"),
        ("example.com/A", "no repository"),
        ("example.com//a", "no repository"),
        ("example.com/../a", "no repository"),
        ("example.com/a/", "no repository"),
        ("example.com/a___b", "no repository"),
        ("example.com/a..b", "no repository"),
        ("example.com/-a", "no repository"),
        ("example.com/a\n", "no repository"),
        ("example.com/a?x", "no repository"),
        ("example.com/a:", "no tag"),
        ("example.com/a:.b", "no tag"),
        ("example.com/a:b:c", "no tag"),
        ("example.com/a:b\n", "no tag"),
        ("example.com/a:" + "b" * 129, "no tag"),
        ("example.com/a@", "no digest"),
        (f"example.com/a@sha512:{HEX}{HEX}", "no digest"),
        (f"example.com/a@sha256:{HEX.upper()}", "no digest"),
        (f"example.com/a@{DIGEST}\n", "no digest"),
        (f"example.com/a@{DIGEST}@{DIGEST}", "no digest"),
        ("user@example.com/a", "no digest"),
        ("example.com:/a", "no port"),
        ("example.com:0/a", "no port"),
        ("example.com:080/a", "no port"),
        ("example.com:65536/a", "no port"),
        ("example.com:5\u0660/a", "no port"),
        ("-example.com/a", "no host name"),
        ("exa mple.com/a", "no host name"),
        ("ex\u00e4mple.com/a", "no host name"),
        ("example..com/a", "no host name"),
        ("example.com./a", "no host name"),
        (f"{'a' * 64}.com/a", "no host name"),
        ("127.1/a", "no IP address"),
        ("127.0.0.01/a", "no IP address"),
        ("1.2.3.999/a", "no IP address"),
        ("[::1/a", "ends with ']'"),
        ("[::1]5000/a", "ends with ']'"),
        ("[fe80::1%eth0]/a", "no IP address"),
        ("[127.0.0.1]/a", "no IP address"),
        ("https://example.com/a", "leave out https://"),
        (f"example.com/{'a/' * 130}a", "at most 255"),
        ("example.com/" + "a" * 1000, "at most"),
    ],
)
def test_what_is_no_reference_says_why(text: str, why: str) -> None:
    with pytest.raises(InvalidReference, match=r".*") as refused:
        parse_reference(text)
    assert why in str(refused.value)


def test_name_and_host_fill_255_characters_and_no_more() -> None:
    assert parse_reference("example.com/" + "a" * 243)
    with pytest.raises(InvalidReference):
        parse_reference("example.com/" + "a" * 244)


def test_the_fallback_tag_is_a_tag() -> None:
    assert fallback_tag(DIGEST) == f"sha256-{HEX}"
    assert parse_reference(f"example.com/a:{fallback_tag(DIGEST)}").tag == f"sha256-{HEX}"
    for wrong in ("", HEX, f"sha256:{HEX[1:]}", f"sha256:{HEX}0", f"md5:{HEX}", f"sha256:{HEX}\n"):
        with pytest.raises(InvalidReference):
            fallback_tag(wrong)
        with pytest.raises(InvalidReference):
            parse_digest(wrong)
    assert parse_digest(DIGEST) == DIGEST


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:5000", "[::1]", "[::1]:5000"]
)
def test_this_machine_is_known_by_its_spelling(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["example.com", "localhost.example.com", "127.0.0.1.example.com", "127.1", "10.0.0.1",
     "[::2]:5000", "2130706433", "", "0.0.0.0"],
)  # fmt: skip
def test_another_machine_is_not(host: str) -> None:
    assert not is_loopback(host)
