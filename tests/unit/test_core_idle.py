"""The idle monitor's decision. Every rule is checked by what it must never do."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from sample_node import GUARDS

from yoyo.core.idle import Verdict, busy_reasons, decide, monitor_armed
from yoyo.model.samples import Sample

T0 = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
BOOTED = T0 - timedelta(hours=1)
EVERY = timedelta(seconds=300)


def idle(at: datetime, **changes: object) -> Sample:
    sample = Sample(at, "life", True, 0, 0, 0, 1000, 0)
    return sample._replace(**changes)  # type: ignore[arg-type]


def series(count: int, **last: object) -> list[Sample]:
    """`count` idle samples, five minutes apart; the newest one changed by `last`."""
    samples = [idle(T0 + EVERY * i) for i in range(count)]
    return [*samples[:-1], samples[-1]._replace(**last)]  # type: ignore[arg-type]


def verdict(samples: list[Sample], now: datetime | None = None) -> Verdict:
    at = now or max(sample.at for sample in samples)
    return decide(samples, GUARDS, boot="life", booted_at=BOOTED, now=at).verdict


def test_stops_after_thirty_minutes_of_idle_samples() -> None:
    assert verdict(series(6)) is Verdict.IDLE
    assert verdict(series(7)) is Verdict.STOP_IDLE


def test_one_busy_sample_starts_the_count_again() -> None:
    for signal in ({"processing": 1}, {"deferred": 1}, {"slots_busy": 1}, {"open_jobs": 1}):
        samples = series(20)
        samples[15] = samples[15]._replace(**signal)  # type: ignore[arg-type]
        assert verdict(samples) is Verdict.IDLE


def test_a_reading_that_failed_counts_as_busy() -> None:
    for name in ("processing", "deferred", "slots_busy", "tokens_total"):
        assert verdict(series(20, **{name: None, "error": "timed out"})) is Verdict.BUSY


def test_tokens_between_two_samples_are_work() -> None:
    samples = series(20)
    samples = [s._replace(tokens_total=1000 if i < 16 else 1001) for i, s in enumerate(samples)]
    assert verdict(samples) is Verdict.IDLE


def test_a_gap_is_no_evidence() -> None:
    early = [idle(T0 + EVERY * i) for i in range(5)]
    late = [idle(T0 + EVERY * (i + 12)) for i in range(5)]
    assert verdict(early + late) is Verdict.IDLE


def test_a_stale_series_decides_nothing() -> None:
    assert verdict(series(20), now=T0 + timedelta(hours=10)) is Verdict.BUSY


def test_samples_of_another_life_or_of_the_future_do_not_count() -> None:
    assert verdict([s._replace(boot="before") for s in series(20)]) is Verdict.BUSY
    future = series(20)
    assert verdict(future, now=future[2].at) is Verdict.IDLE


def test_boot_grace_holds_back() -> None:
    samples = series(20)
    now = samples[-1].at
    decision = decide(samples, GUARDS, boot="life", booted_at=now - timedelta(minutes=5), now=now)
    assert decision.verdict is Verdict.GRACE


def test_unreachable_is_a_fault_with_its_own_longer_rule() -> None:
    dead = [s._replace(reachable=False, processing=None, error="refused") for s in series(13)]
    assert verdict(dead[:12]) is Verdict.FAULT
    assert verdict(dead) is Verdict.STOP_FAULT
    assert verdict([*dead[:6], idle(dead[6].at), *dead[7:]]) is Verdict.FAULT


def test_the_reason_names_the_signal() -> None:
    assert busy_reasons(idle(T0, processing=2)) == ("requests processing: 2 requests",)
    assert "timed out" in busy_reasons(idle(T0, slots_busy=None, error="timed out"))[0]


def test_monitor_is_armed_by_evidence_alone() -> None:
    assert not monitor_armed([], GUARDS, T0)
    assert monitor_armed([idle(T0)], GUARDS, T0 + timedelta(minutes=6))
    assert not monitor_armed([idle(T0)], GUARDS, T0 + timedelta(hours=1))
    assert not monitor_armed([idle(T0)], GUARDS, T0 - timedelta(hours=1))


reading = st.none() | st.integers(min_value=0, max_value=3)
samples_strategy = st.lists(
    st.builds(
        Sample,
        at=st.integers(min_value=0, max_value=7200).map(lambda s: T0 + timedelta(seconds=s)),
        boot=st.sampled_from(["life", "other"]),
        reachable=st.booleans(),
        processing=reading,
        deferred=reading,
        slots_busy=reading,
        tokens_total=st.none() | st.integers(min_value=0, max_value=2),
        open_jobs=st.integers(min_value=0, max_value=1),
    ),
    max_size=30,
)


@given(samples_strategy, st.integers(min_value=0, max_value=9000))
def test_never_stops_a_node_whose_last_half_hour_saw_work(
    samples: list[Sample], offset: int
) -> None:
    now = T0 + timedelta(seconds=offset)
    decision = decide(samples, GUARDS, boot="life", booted_at=BOOTED, now=now)
    if decision.verdict is Verdict.STOP_IDLE:
        window = [
            s
            for s in samples
            if s.boot == "life" and decision.since is not None and decision.since <= s.at <= now
        ]
        assert not any(busy_reasons(s) for s in window)
        assert len({s.tokens_total for s in window}) == 1
        assert max(s.at for s in window) - min(s.at for s in window) >= timedelta(minutes=30)
    if decision.verdict is Verdict.STOP_FAULT:
        recent = [
            s for s in samples if s.boot == "life" and now - timedelta(hours=1) <= s.at <= now
        ]
        assert not any(s.reachable for s in recent)


@given(samples_strategy)
def test_order_of_samples_does_not_matter(samples: list[Sample]) -> None:
    distinct = list({s.at: s for s in samples}.values())
    now = T0 + timedelta(seconds=7200)
    kwargs = {"boot": "life", "booted_at": BOOTED, "now": now}
    assert decide(distinct, GUARDS, **kwargs) == decide(distinct[::-1], GUARDS, **kwargs)  # type: ignore[arg-type]
