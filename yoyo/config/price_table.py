"""Reads a table of prices, the one that comes with yoyo or the operator's, with every mistake."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Final

from yoyo.config.document import Mapping, Scalar, Sequence, Tree, parse, read_text
from yoyo.config.mistakes import UNSAFE, Origin, Report, TooMany, nearest, printable, quoted
from yoyo.core.prices import overlaps
from yoyo.errors import BillingInvalid
from yoyo.model.prices import (
    CURRENCY,
    DISK,
    MACHINE,
    SPOT,
    STANDARD,
    Price,
    PriceKey,
    PriceTable,
)

SHIPPED: Final = Path(__file__).parents[1] / "data" / "prices.yaml"

_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d\Z", re.ASCII)
_USD: Final = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{1,9})?\Z")
_VERSION: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}\Z")
_MAX_SOURCE: Final = 400
_MAX_PRICES: Final = 20_000
_TOP: Final = ("version", "table", "currency", "machines", "disks")
_COMMON: Final = ("provider", "valid_from", "valid_to", "retrieved", "source")
# List -> its name key, its figures' key, and the words that stand beside them.
_LISTS: Final = {
    "machines": (MACHINE, "machine_type", "hourly_usd", (*_COMMON, "provisioning")),
    "disks": (DISK, "disk_type", "gb_month_usd", _COMMON),
}
_OPTIONAL: Final = ("valid_to", "provisioning")


def table_invalid(path: Path, report: Report) -> BillingInvalid:
    """The error for a table with these mistakes."""
    count = len(report.mistakes)
    return BillingInvalid(
        f"The price table {printable(str(path))} has {count} mistake{'' if count == 1 else 's'}.",
        why="No cost is computed from a part of it.",
        fix="Correct the lines above; docs/formats/prices.md has a whole one.",
        details=tuple(str(mistake) for mistake in report.mistakes),
    )


def read_price_table(path: Path | None, report: Report) -> PriceTable | None:
    """The table, or None with what is wrong in `report`."""
    label = str(path or SHIPPED)
    before = len(report.mistakes)
    with suppress(TooMany):
        text, _ = read_text(label, label, report)
        tree = parse(text, label, report) if text is not None else None
        if text is not None and tree is not None:
            reader = _Reader(label, report)
            reader.read(tree)
            if len(report.mistakes) == before:
                version = reader.name if path is None else f"operator-{_digest(text)[:12]}"
                return PriceTable(version, tuple(price for price, _ in reader.found))
    return None


def _digest(text: str) -> str:
    from hashlib import sha256

    return sha256(text.encode()).hexdigest()


class _Reader:
    """One reading; mistakes gather in the report."""

    def __init__(self, label: str, report: Report) -> None:
        self._start, self._report = Origin(label, 1, 1), report
        self.name = ""
        self.found: list[tuple[Price, Origin]] = []

    def read(self, tree: Tree) -> None:
        top = self._fields(tree, "", _TOP)
        if top is None:
            return
        version, currency = self._word(top, "version", tree), self._word(top, "currency", tree)
        if version is not None and version.text != "1":
            self._wrong(version, "version", "expected 1: this yoyo knows no other form")
        if currency is not None and currency.text != CURRENCY:
            self._wrong(
                currency,
                "currency",
                f"{quoted(currency.text)} is refused: the ledger's money is {CURRENCY}, and no "
                "rate is guessed",
            )
        if "table" in top:
            name = self._word(top, "table", tree)
            if name is not None and not _VERSION.match(name.text):
                self._wrong(name, "table", "expected a name such as acme-2026-11")
            self.name = name.text if name is not None else ""
        for key in _LISTS:
            if key in top:
                self._list(key, top[key])
        if not {"machines", "disks"} & top.keys():
            self._wrong(tree, "machines", "is missing: a table has machines, disks or both")
        self._check_overlaps()

    def _list(self, key: str, tree: Tree) -> None:
        if not isinstance(tree, Sequence):
            self._wrong(tree, key, "expected a list, each entry begun with '- '")
            return
        for number, each in enumerate(tree.items):
            self._entry(key, f"{key}[{number}]", each)

    def _entry(self, key: str, path: str, tree: Tree) -> None:
        kind, name_key, usd_key, words = _LISTS[key]
        fields = self._fields(tree, path, (name_key, usd_key, *words))
        if fields is None:
            return
        found = {
            word: self._word(fields, word, tree, path)
            for word in (name_key, *words)
            if word in fields or word not in _OPTIONAL
        }
        for word in ("provider", name_key):
            self._match(found.get(word), f"{path}.{word}", _LABEL, "a-z, 0-9 and '-'")
        dates = {w: self._date(found.get(w), f"{path}.{w}") for w in ("valid_from", "retrieved")}
        until = self._date(found.get("valid_to"), f"{path}.valid_to")
        begun = dates["valid_from"]
        if until is not None and begun is not None and until < begun:
            self._wrong(found["valid_to"], f"{path}.valid_to", "is before valid_from")
        how = found.get("provisioning")
        if how is not None and how.text not in (STANDARD, SPOT):
            self._wrong(how, f"{path}.provisioning", f"expected {STANDARD} or {SPOT}")
        source = found["source"]
        if source is not None and (
            not source.text or len(source.text) > _MAX_SOURCE or UNSAFE.search(source.text)
        ):
            self._wrong(source, f"{path}.source", "expected where the figures can be looked up")
        self._figures(
            fields.get(usd_key),
            tree,
            f"{path}.{usd_key}",
            PriceKey(
                kind,
                _text(found["provider"]),
                _text(found[name_key]),
                "",
                (_text(how) or STANDARD) if kind == MACHINE else "",
            ),
            Price(
                PriceKey("", "", "", ""),
                Decimal(0),
                begun or date.min,
                until,
                _text(source),
                dates["retrieved"] or date.min,
            ),
        )

    def _figures(self, tree: Tree | None, at: Tree, path: str, key: PriceKey, like: Price) -> None:
        if tree is None:
            self._wrong(at, path, "is missing: a price for each region")
            return
        if not isinstance(tree, Mapping):
            self._wrong(tree, path, "expected a price for each region: us-central1: 0.71")
            return
        seen: set[str] = set()
        for name, value in tree.pairs:
            region = name.text if isinstance(name, Scalar) else ""
            if not _LABEL.match(region) or region in seen:
                self._wrong(name, path, "a region is a name such as us-central1, and stands once")
            elif not isinstance(value, Scalar) or not _USD.match(value.text):
                self._wrong(
                    value, f"{path}.{region}", "expected an amount such as 0.71, of 0 or more"
                )
            elif len(self.found) >= _MAX_PRICES:
                self._wrong(value, path, f"a table has at most {_MAX_PRICES} prices")
                raise TooMany
            else:
                price = like._replace(key=key._replace(region=region), usd=Decimal(value.text))
                self.found.append((price, value.at))
            seen.add(region)

    def _check_overlaps(self) -> None:
        if self._report.mistakes:
            return  # a date that could not be read would be seen as another one
        at = {id(price): origin for price, origin in self.found}
        for before, after in overlaps(price for price, _ in self.found):
            key = after.key
            what = " ".join(filter(None, (key.name, key.provisioning, key.region)))
            first = at[id(before)]
            self._report.add(
                at[id(after)],
                what,
                f"the price of line {first.line} holds on {after.valid_from} too. End that one "
                "the day before, with valid_to",
            )

    def _fields(self, tree: Tree, path: str, known: tuple[str, ...]) -> dict[str, Tree] | None:
        if not isinstance(tree, Mapping):
            self._wrong(tree, path, f"expected keys and values: {', '.join(known)}")
            return None
        found: dict[str, Tree] = {}
        for key, value in tree.pairs:
            name = key.text if isinstance(key, Scalar) else ""
            if name not in known:
                near = nearest(name, known)
                hint = f". Did you mean {near}?" if near else f"; known: {', '.join(known)}"
                self._wrong(key, f"{path}.{name}".strip("."), f"unknown key{hint}")
            elif name in found:
                self._wrong(key, f"{path}.{name}".strip("."), "stands twice")
            else:
                found[name] = value
        return found

    def _word(self, fields: dict[str, Tree], name: str, at: Tree, path: str = "") -> Scalar | None:
        tree = fields.get(name)
        if isinstance(tree, Scalar):
            return tree
        where = f"{path}.{name}".strip(".")
        if tree is None:
            self._wrong(at, where, "is missing")
        else:
            self._wrong(tree, where, "expected one value")
        return None

    def _match(self, value: Scalar | None, path: str, form: re.Pattern[str], expected: str) -> None:
        if value is not None and not form.match(value.text):
            self._wrong(value, path, f"expected {expected}")

    def _date(self, value: Scalar | None, path: str) -> date | None:
        if value is None:
            return None
        with suppress(ValueError):
            if _DATE.match(value.text):
                return date.fromisoformat(value.text)
        self._wrong(value, path, "expected a day such as 2026-11-01, UTC")
        return None

    def _wrong(self, at: Tree | None, key: str, message: str) -> None:
        self._report.add(at.at if at is not None else self._start, key, message)


def _text(value: Scalar | None) -> str:
    return value.text if value is not None else ""
