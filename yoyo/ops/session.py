"""Books the host, its boot and its clock before a command's first row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yoyo.core.session import (
    Marker,
    clock_step,
    is_open,
    marker_text,
    read_marker,
    session_entry,
    session_record,
    step_entry,
)
from yoyo.errors import YoyoError

if TYPE_CHECKING:
    from yoyo.core.session import Stamp
    from yoyo.ports.ledger import Ledger
    from yoyo.ports.proofs import Proofs
    from yoyo.ports.session import Host, SessionMarker


def open_session(
    ledger: Ledger,
    proofs: Proofs,
    marker: SessionMarker,
    host: Host,
    *,
    place: str,
    operator: str,
    program: str,
) -> None:
    """Write the SESSION row of this boot, or the CLOCK_STEP row, where one is due.

    `place` is the ledger's path, `program` yoyo's version. Whatever fails here fails in
    silence: the row that the command is about must be written, and says more about a broken
    ledger than this one could.
    """
    try:
        stamp = host.stamp()
        if not _is_due(ledger, marker, stamp, place):
            return
        with marker.hold():  # of commands that begin together, one writes the row
            found = _found(ledger, marker, stamp, place)
            if found is None:
                row = ledger.append(
                    session_entry(stamp, operator, _kept(proofs, host, stamp, program))
                )
                found = Marker(place, stamp.boot_id, stamp.offset_s, row.seq, row.row_hash)
            else:
                step = clock_step(found, stamp)
                if step is not None:
                    ledger.append(step_entry(step, operator))
                found = found._replace(offset_s=stamp.offset_s)
            marker.write(marker_text(found))
    except (YoyoError, OSError):
        return


def _is_due(ledger: Ledger, marker: SessionMarker, stamp: Stamp, place: str) -> bool:
    found = _found(ledger, marker, stamp, place)
    return (
        found is None
        or clock_step(found, stamp) is not None
        or (found.offset_s is None and stamp.offset_s is not None)
    )


def _found(ledger: Ledger, marker: SessionMarker, stamp: Stamp, place: str) -> Marker | None:
    """The marker of this session; None: it is not open yet."""
    text = marker.read()
    found = read_marker(text) if text is not None else None
    row = ledger.row_at(found.seq) if found is not None and found.ledger == place else None
    return found if is_open(found, stamp, place, row) else None


def _kept(proofs: Proofs, host: Host, stamp: Stamp, program: str) -> str:
    try:
        return proofs.keep(session_record(stamp, host.facts(), program))
    except (YoyoError, OSError):
        return ""
