#!/usr/bin/env python3
"""A year of a ledger, made from a seed, with the bill and the platform that go with it.

    scripts/generate_year.py --out DIR [--seed 7] [--rows-per-day 360] [--days 365]
    scripts/generate_year.py --out DIR --rows 10000000
    scripts/generate_year.py --out DIR --signed [--seed 7] [--rows-per-day 360] [--days 365]
    scripts/generate_year.py --out COPY --tamper KIND --year DIR [--other DIR]

The first writes DIR/ledger.csv with its proofs, yoyo.yaml, billing.csv and platform.json. The third
has all that in DIR/ledger, sealed and signed, beside DIR/keys, DIR/copies and DIR/auditor. The
last one copies such a directory, sealed and signed or not, and tampers with the copy.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from year_papers import write_papers  # noqa: E402
from year_parts import Year  # noqa: E402
from year_signed import sign_year  # noqa: E402
from year_tampering import KINDS, tamper  # noqa: E402


def main() -> None:
    """Parse and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--days", type=int, default=365, help="before the running month's 20")
    parser.add_argument("--rows-per-day", type=int, default=360, help="about")
    parser.add_argument("--rows", type=int, help="this many instead: not one more")
    parser.add_argument("--signed", action="store_true", help="lay it out sealed and signed")
    parser.add_argument("--tamper", choices=sorted(KINDS))
    parser.add_argument("--year", type=Path, help="the directory to tamper with a copy of")
    parser.add_argument("--other", type=Path, help="another ledger, where the kind needs one")
    given = parser.parse_args()
    if given.tamper:
        if given.year is None:
            parser.error("--tamper needs --year DIR")
        print(tamper(given.tamper, given.year, given.out, given.other))
        return
    per_day = given.rows_per_day
    if given.rows:
        # A tenth more than needed, as weekends and stockouts have fewer; the rest is cut off.
        per_day = given.rows * 14 // 10 // given.days
    year = Year(given.seed, per_day, given.days)
    if given.signed:
        if given.rows:
            parser.error("--signed goes with --rows-per-day")
        papers = sign_year(year, given.out)
        print(f"{year.rows} rows: {papers.ledger}")
        return
    path = year.write(given.out, given.rows)
    write_papers(year, given.out)
    print(f"{year.rows} rows, {path.stat().st_size} bytes: {path}")


if __name__ == "__main__":
    main()
