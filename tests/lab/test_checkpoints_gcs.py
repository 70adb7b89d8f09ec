"""Copies of checkpoints in Cloud Storage, with an account that may create and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from audit_parts import Audited
from fake_gce import FakeGce
from fake_gcs import FakeGcs
from gce_state import Settings
from gcs_auth import accepted_by
from gcs_faults import Fault

import yoyo.ops.audit.copies as copies_module
from yoyo.drivers.gcs.objects import GcsObjects
from yoyo.errors import StoreDenied
from yoyo.model.settings import StoreSettings
from yoyo.ops.audit.against import held_against, verdict
from yoyo.ops.audit.checkpoint import checkpoint
from yoyo.ops.audit.keep import keep_proved
from yoyo.wiring_audit import notes_at
from yoyo.wiring_stores import objects_for

BUCKET = "acme-evidence"
WRITES = "upload.*"


class Evidence(NamedTuple):
    """The auditor's bucket, the operator's ledger, and who may do what."""

    house: Audited
    fake: FakeGcs
    reader: StoreSettings  # the auditor's own account

    @property
    def kept(self) -> dict[str, bytes]:
        """What is in the bucket, as the auditor reads it."""
        store = objects_for(self.reader)
        return {info.key: b"".join(store.read(info.key)) for info in store.list("")}


@pytest.fixture
def evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Evidence]:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    with (
        FakeGce(Settings(project="ledger-writer"), host=None) as writers,
        FakeGce(Settings(project="ledger-auditor"), host=None) as auditors,
    ):
        creates, reads = accepted_by(writers.auth), accepted_by(auditors.auth)
        with FakeGcs(
            tmp_path / "gcs",
            accept=lambda token: creates(token) or reads(token),
            create_only=creates,
            md5=False,
        ) as fake:
            fake.add_bucket(BUCKET)
            house = Audited(tmp_path / "ledger")
            url = f"gs://{BUCKET}/gpu"
            writer = writers.credentials(tmp_path / "writer.json")
            house.settings = house.settings._replace(copy_to=StoreSettings(url, fake.url, writer))
            auditor = auditors.credentials(tmp_path / "auditor.json")
            yield Evidence(house, fake, StoreSettings(url, fake.url, auditor))


def beside(house: Audited) -> dict[str, bytes]:
    """The notes and keys beside the ledger, under the names that copies have."""
    found = {}
    for path in (house.home / "ledger.checkpoints").iterdir():
        if path.suffix in (".note", ".vkey"):
            found[f"checkpoints/{path.name}"] = path.read_bytes()
    return found


def lose_cache(house: Audited) -> None:
    (house.home / "ledger.checkpoints" / "copied.txt").unlink()


def test_permission_to_create_is_enough_and_nothing_else_is_asked_for(evidence: Evidence) -> None:
    house, fake = evidence.house, evidence.fake
    house.book(2)
    first, second = checkpoint(house.ctx), checkpoint(house.ctx)
    assert (first.note, second.note) == ("", "")
    assert (first.copied, second.copied) == ((first.name,), (second.name,))
    assert {seen.kind for seen in fake.calls()} == {"upload.multipart"}
    assert all("ifGenerationMatch=0" in seen.target for seen in fake.calls(WRITES))
    assert len(fake.calls(WRITES)) == 3, "two notes and the key: nothing twice"
    assert evidence.kept == beside(house)


def test_the_auditor_verifies_with_an_account_that_the_operator_has_not(
    evidence: Evidence,
) -> None:
    house = evidence.house
    house.book(3)
    signed = checkpoint(house.ctx)
    with pytest.raises(StoreDenied):
        notes_at(f"gs://{BUCKET}/gpu", house.settings)
    kept = notes_at(f"gs://{BUCKET}/gpu", house.settings._replace(copy_to=evidence.reader))
    found = held_against(house.ctx, kept.notes, [house.key], kept.keys)
    assert verdict(found) is None
    assert found.report.agreed == signed.size


def test_the_writer_can_neither_delete_nor_write_over(evidence: Evidence) -> None:
    house = evidence.house
    house.book(1)
    signed = checkpoint(house.ctx)
    before = evidence.kept
    store = house.ctx.copy_to
    assert store is not None
    with pytest.raises(StoreDenied):
        store().delete(f"checkpoints/{signed.name}.note")
    again = checkpoint(house.ctx)
    assert evidence.kept.items() > before.items()
    assert again.note == ""


def test_a_lost_cache_costs_calls_and_copies_nothing_twice(evidence: Evidence) -> None:
    house, fake = evidence.house, evidence.fake
    house.book(1)
    first, second = checkpoint(house.ctx), checkpoint(house.ctx)
    lose_cache(house)
    third = checkpoint(house.ctx)
    assert third.copied == (third.name,)
    assert "2 older checkpoint(s) were in gs://acme-evidence/gpu already" in third.note
    assert set(evidence.kept) >= {f"checkpoints/{x.name}.note" for x in (first, second, third)}
    asked = len(fake.calls(WRITES))
    fourth = checkpoint(house.ctx)
    assert fourth.note == "", "it is said once"
    assert len(fake.calls(WRITES)) == asked + 1


def test_where_writing_over_is_refused_by_403_it_is_taken_for_there(evidence: Evidence) -> None:
    house, fake = evidence.house, evidence.fake
    house.book(1)
    first = checkpoint(house.ctx)
    lose_cache(house)
    fake.faults.add(Fault(status=403), kind=WRITES, skip=1, times=0)
    second = checkpoint(house.ctx)
    assert second.copied == (second.name,)
    assert "could not be copied" not in second.note
    assert "1 older" in second.note
    assert first.name != second.name


def test_without_permission_to_create_nothing_is_taken_for_there(evidence: Evidence) -> None:
    house, fake = evidence.house, evidence.fake
    house.book(1)
    fake.faults.add(Fault(status=403), kind=WRITES, times=2)
    first = checkpoint(house.ctx)
    assert first.copied == ()
    assert "could not be copied" in first.note
    second = checkpoint(house.ctx)
    third = checkpoint(house.ctx)
    assert second.copied == ()
    assert third.copied == (first.name, second.name, third.name)
    assert evidence.kept == beside(house)


def test_a_second_history_of_one_size_is_named_again_and_again(evidence: Evidence) -> None:
    house = evidence.house
    house.book(1)
    fork = Audited(house.home.with_name("fork"))
    fork.key, fork.settings = house.key, house.settings
    fork.book(1)
    fork.clock.sleep(5)
    first = checkpoint(house.ctx)
    forked = checkpoint(fork.ctx)
    assert forked.name == first.name
    assert forked.copied == ()
    assert f"{first.name}.note before it was written" in forked.note
    assert "two histories" in forked.note
    # The auditor's account may read: then the difference itself is seen, at every checkpoint.
    fork.settings = fork.settings._replace(copy_to=evidence.reader)
    for _ in range(2):
        again = checkpoint(fork.ctx)
        assert again.copied == (again.name,), "one conflict does not keep the others back"
        assert f"another gs://{BUCKET}/gpu/checkpoints/{first.name}.note" in again.note
    assert (
        evidence.kept[f"checkpoints/{first.name}.note"]
        == beside(house)[f"checkpoints/{first.name}.note"]
    ), "what is there was written over"


def test_an_answer_that_is_lost_is_no_conflict(evidence: Evidence) -> None:
    house, fake = evidence.house, evidence.fake
    house.settings = house.settings._replace(copy_to=evidence.reader)
    house.book(1)
    fake.faults.add(Fault(reset=True, after=True), kind=WRITES)
    signed = checkpoint(house.ctx)
    assert signed.note == ""
    assert evidence.kept == beside(house)


def test_a_lost_answer_without_permission_to_read_is_made_up_for(evidence: Evidence) -> None:
    house, fake = evidence.house, evidence.fake
    house.book(1)
    fake.faults.add(Fault(reset=True, after=True), kind=WRITES)
    first = checkpoint(house.ctx)
    assert "could not be copied" in first.note
    second = checkpoint(house.ctx)
    assert second.copied == (second.name,)
    assert "1 older" in second.note
    assert evidence.kept == beside(house)


def test_thousands_are_listed_once_and_copied_by_and_by(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies_module, "_LIST_FROM", 3)
    monkeypatch.setattr(copies_module, "_MOST", 2)
    house, fake = evidence.house, evidence.fake
    house.settings = house.settings._replace(copy_to=None)
    names = [checkpoint(house.ctx).name for _ in range(4)]
    house.settings = house.settings._replace(copy_to=evidence.reader)
    fifth = checkpoint(house.ctx)
    assert fifth.copied == (*names[:2], fifth.name)
    assert "2 older checkpoint(s) are copied at the next one" in fifth.note
    sixth = checkpoint(house.ctx)
    assert sixth.copied == (*names[2:], sixth.name)
    assert evidence.kept == beside(house)
    lose_cache(house)
    before = len(fake.calls(WRITES))
    seventh = checkpoint(house.ctx)
    assert seventh.copied == (seventh.name,)
    assert len(fake.calls(WRITES)) == before + 1, "the new note alone"


def test_a_store_that_does_not_answer_keeps_nobody_long(evidence: Evidence) -> None:
    house, fake = evidence.house, evidence.fake
    house.book(1)
    made = house.settings.copy_to
    assert made is not None
    as_wired = house.ctx.copy_to
    assert as_wired is not None
    store = as_wired()
    assert isinstance(store, GcsObjects)
    assert store.session.patience_s <= 15, "a teardown waits for it"
    quick = GcsObjects(made.url, endpoint=fake.url, credentials=made.credentials, patience_s=0.2)
    fake.faults.add(Fault(status=503), times=0)
    ctx = house.ctx._replace(copy_to=lambda: quick)
    (said,) = keep_proved(ctx)
    assert "could not be copied" in said
    assert len(beside(house)) == 2, "signed all the same"
    quick.close()


def test_two_at_a_time_copy_each_note_once(evidence: Evidence) -> None:
    house, fake = evidence.house, evidence.fake
    house.book(1)
    done: list[tuple[str, ...]] = []
    each = [
        threading.Thread(target=lambda: done.append(checkpoint(house.ctx).copied)) for _ in range(4)
    ]
    for thread in each:
        thread.start()
    for thread in each:
        thread.join()
    names = sorted(name for copied in done for name in copied)
    assert names == sorted(set(names))
    assert len(names) == 4
    assert evidence.kept == beside(house)
    assert len(fake.calls(WRITES)) == 5
