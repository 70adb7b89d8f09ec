"""A trace as a tree for people and as a document for machines. No decisions here."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from yoyo.cli.output import to_plain
from yoyo.cli.render import moment, span, usd
from yoyo.cli.render_ledger import one_line, row_document, row_text

if TYPE_CHECKING:
    from yoyo.ops.trace import Trace
    from yoyo.ops.trace_form import AdapterFacts, CostFacts, Facts, JobFacts, LifeFacts, Origin


class Branch:
    """A line of the tree with what hangs on it."""

    def __init__(self, text: str, *children: "Branch | None") -> None:
        self.text = text
        self.children = [each for each in children if each is not None]

    def lines(self) -> Iterator[str]:
        """The line and all below it."""
        yield self.text
        for number, child in enumerate(self.children, 1):
            last = number == len(self.children)
            first, rest = ("└─ ", "   ") if last else ("├─ ", "│  ")
            for place, line in enumerate(child.lines()):
                yield (first if place == 0 else rest) + line


def trace_document(found: "Trace") -> dict[str, Any]:
    """The trace for machines."""
    return {
        "asked": found.asked,
        "total": found.total,
        "found": [_document(each) for each in found.found],
        "notes": found.notes,
    }


def _document(facts: "Facts") -> dict[str, Any]:
    document: dict[str, Any] = to_plain(facts)
    document["row"] = row_document(facts.row) if facts.row is not None else None
    for adapter in document["adapters"]:
        adapter["signers"] = [
            {"role": role, "identity": identity} for role, identity in adapter["signers"]
        ]
    return document


def trace_text(found: "Trace") -> str:
    """The trace for people, newest last."""
    trees = ["\n".join(_tree(each).lines()) for each in found.found]
    return "\n\n".join([*trees, *(f"note: {one_line(note)}" for note in found.notes)])


def _tree(facts: "Facts") -> Branch:
    life = _life(facts) if facts.life is not None else None
    if facts.job is not None:
        top = _job(facts.job)
    elif facts.row is not None:
        top = Branch(f"row {row_text(facts.row).strip()}")
    elif life is not None:
        top, life = life, None
    else:
        top = Branch("nothing more is known")
    if facts.adapters:
        top.children.append(Branch("adapters", *map(_adapter, facts.adapters)))
    elif facts.job is not None and facts.life is not None:
        top.children.append(Branch("adapters    none weighed in: the base model alone"))
    if life is not None:
        top.children.append(life)
    if facts.cost is not None:
        top.children.append(_cost(facts.cost, of_job=facts.job is not None))
    if facts.corrections:
        top.children.append(Branch("corrections", *_corrections(facts)))
    if facts.checkpoint is not None:
        top.children.append(
            Branch(
                f"checkpoint  {one_line(facts.checkpoint.name)}, over {facts.checkpoint.size} rows "
                "(its signature: `yoyo ledger verify --against`)"
            )
        )
    if facts.unknown:
        top.children.append(
            Branch("not known", *(Branch(one_line(each)) for each in facts.unknown))
        )
    return top


def _job(job: "JobFacts") -> Branch:
    code = f" {one_line(job.error_code)}" if job.error_code else ""
    tokens = "unknown" if job.tokens is None else str(job.tokens)
    if job.cache_hit_ratio is not None:
        tokens += f", {job.cache_hit_ratio} of the prompt from the cache"
    return Branch(
        f"job {one_line(job.job_id)}  {job.status}{code}",
        Branch(f"input       {one_line(job.input_hash or 'nothing was hashed')}"),
        Branch(f"rows        {_rows(job.rows)}"),
        Branch(f"module      {one_line(job.module_id)}, node {one_line(job.node_id)}"),
        Branch(f"operator    {one_line(job.operator or 'unknown')}"),
        Branch(f"took        {_seconds(job.seconds)}, {moment(job.started)} to "
               f"{moment(job.completed)}"),
        Branch(f"tokens      {tokens}"),
        Branch(f"GPU         {_seconds(job.gpu_seconds)}"),
    )  # fmt: skip


def _adapter(adapter: "AdapterFacts") -> Branch:
    how = "weighed in" if adapter.weighed_in else "loaded, did not weigh in"
    verified = None
    if adapter.verified_at is not None:
        verified = Branch(f"verified    {one_line(adapter.verified_at)}, row #{adapter.load_row}")
    return Branch(
        f"{one_line(adapter.name)}  {how}",
        Branch(f"manifest    {one_line(adapter.manifest or 'unknown')}"),
        Branch(f"weights     {one_line(adapter.weights or 'unknown')}"),
        *(
            Branch(f"{one_line(role):<11} by {one_line(identity)}")
            for role, identity in adapter.signers
        ),
        verified,
        _origin("registered", adapter.registered),
    )


def _life(facts: "Facts") -> Branch:
    life = facts.life
    assert life is not None  # noqa: S101 - the caller looked
    boot = facts.boot
    code = f" {one_line(life.error_code)}" if life.error_code else ""
    return Branch(
        f"boot {one_line(life.job_id)}  {life.status}{code}",
        Branch(f"node        {one_line(life.node_id)}{_machine(facts)}"),
        Branch(f"rows        {_rows(life.rows)}"),
        Branch(f"started by  {one_line(life.operator or 'unknown')}, {_when(life.requested)}"),
        Branch(f"healthy     {_when(life.up)}"),
        _ended(life),
        Branch(f"uptime      {_uptime(life.uptime_seconds)}"),
        Branch(f"GPU         {_seconds(life.gpu_seconds)}"),
        _fields("engine", boot.engine if boot else None, facts.engine_staged),
        _fields("weights", boot.weights if boot else None, facts.weights_staged),
    )


def _machine(facts: "Facts") -> str:
    if facts.boot is None:
        return ""
    fields = facts.boot.machine
    words = [one_line(str(value)) for value in fields.values() if value is not None]
    version = [f"yoyo {one_line(facts.boot.yoyo)}"] if facts.boot.yoyo else []
    return f" ({', '.join([*words, *version])})" if words or version else ""


def _ended(life: "LifeFacts") -> Branch:
    if life.ended is None:
        asked = f", its stop was asked for {moment(life.stop_asked)}" if life.stop_asked else ""
        return Branch(f"ended       not yet{asked}")
    return Branch(f"ended       {moment(life.ended)} by {one_line(life.ended_by or 'unknown')}")


def _fields(name: str, fields: "dict[str, str | int | None] | None", staged: Any) -> Branch:
    if fields is None:
        return Branch(f"{name:<11} unknown")
    children = [
        Branch(f"{one_line(key):<12} {one_line(str(value))}")
        for key, value in fields.items()
        if key != "from" and value is not None
    ]
    where = one_line(str(fields.get("from") or "unknown"))
    return Branch(f"{name:<11} from {where}", *children, _origin("staged", staged))


def _origin(what: str, origin: "Origin | None") -> Branch | None:
    if origin is None:
        return None
    by = one_line(origin.operator or "unknown")
    return Branch(f"{what:<11} by {by}, {moment(origin.at)}, row #{origin.seq}")


def _cost(cost: "CostFacts", *, of_job: bool) -> Branch:
    children = [Branch(f"life        {usd(cost.life_usd)} ({cost.life_is})")]
    if of_job:
        share = "" if cost.job_share is None else f", {cost.job_share:.6%} of the life's GPU time"
        children.append(Branch(f"this job    {usd(cost.job_usd)}{share}"))
    price = cost.price
    if price is None:
        children.append(Branch("price       unknown"))
    else:
        dated = f", valid from {one_line(price.valid_from)}" if price.valid_from else ""
        figure = usd(price.hourly_usd if price.hourly_usd is not None else price.disk_gb_month_usd)
        unit = "an hour" if price.hourly_usd is not None else "a GB and month"
        children.append(
            Branch(
                f"price       {figure} {unit}, table {one_line(price.version)}{dated}",
                Branch(f"source      {one_line(price.source)}"),
            )
        )
    return Branch("cost", *children)


def _corrections(facts: "Facts") -> Iterator[Branch]:
    for each in facts.corrections:
        figures = [
            f"{name} {value}"
            for name, value in (
                ("tokens", each.tokens),
                ("GPU seconds", each.gpu_seconds),
                ("USD", each.cost_usd),
            )
            if value is not None
        ]
        reason = f" ({one_line(each.reason)})" if each.reason else ""
        state = "" if each.in_force else "  [superseded]"
        if each.problem:
            state = f"  [NOT APPLIED: {one_line(each.problem)}]"
        yield Branch(
            f"row #{each.seq} {one_line(each.code)} of row #{each.of_row}, by "
            f"{one_line(each.operator or 'unknown')}, {moment(each.at)}: "
            f"{', '.join(figures) or 'nothing'}{reason}{state}"
        )


def _rows(seqs: tuple[int, ...]) -> str:
    return ", ".join(f"#{seq}" for seq in seqs)


def _seconds(value: Decimal | None) -> str:
    return "unknown" if value is None else f"{value} s"


def _uptime(value: Decimal | None) -> str:
    return "unknown" if value is None else f"{span(float(value))} ({value} s)"


def _when(at: datetime | None) -> str:
    return "unknown" if at is None else moment(at)
