"""The ledger's columns as SQL engines know them: types, views, and tables of a warehouse. Pure."""

from __future__ import annotations

from typing import Final

from yoyo.model.ledger import BILLED, COLUMNS, CORRECTION, DISK_COST

# 18 digits before the point and 18 after it is all that docs/formats/ledger.md allows.
AMOUNT: Final = "DECIMAL(36,18)"
# Column -> its type; what is not here is text.
TYPES: Final = {
    "timestamp_utc": "TIMESTAMP",
    "cache_hit_ratio": "DECIMAL(19,18)",
    "tokens_processed": "BIGINT",
    "gpu_seconds": AMOUNT,
    "cost_usd": AMOUNT,
    "seq": "BIGINT",
}
# BigQuery's NUMERIC has 9 digits after the point; BIGNUMERIC has 38.
# https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types
_BIGQUERY: Final = {
    "timestamp_utc": "TIMESTAMP",
    "cache_hit_ratio": "BIGNUMERIC(19, 18)",
    "tokens_processed": "INT64",
    "gpu_seconds": "BIGNUMERIC(36, 18)",
    "cost_usd": "BIGNUMERIC(36, 18)",
    "seq": "INT64",
}
PARTITIONS: Final = ("month", "moduleId")


def quoted(text: str) -> str:
    """A string as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def read_csv(path: str) -> str:
    """A table function that reads a ledger's file as text, by this schema and no guess.

    Lines that do not have the form are left out: whoever reads compares rows and bytes with
    what there should be.
    """
    columns = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in COLUMNS)
    return (
        f"read_csv({quoted(path)}, auto_detect=false, header=true, delim=',', quote='\"', "
        "escape='\"', new_line='\\n', strict_mode=true, max_line_size=65536, "
        f"ignore_errors=true, columns={{{columns}}})"
    )


def typed_columns() -> str:
    """The select list that gives text columns the schema's types; fails on what has no form."""
    return ", ".join(_typed(name) for name in COLUMNS)


def _typed(name: str) -> str:
    if name == "timestamp_utc":
        # Without the Z: a TIMESTAMP has no zone, and every time of the ledger is UTC.
        return "CAST(rtrim(timestamp_utc, 'Z') AS TIMESTAMP) AS timestamp_utc"
    kind = TYPES.get(name)
    return f"CAST({name} AS {kind}) AS {name}" if kind else name


def column_list() -> str:
    """The ledger's columns in their order."""
    return ", ".join(COLUMNS)


def ledger_view(sources: tuple[str, ...]) -> str:
    """The view `ledger` over those table expressions, in their order."""
    parts = [f"SELECT {column_list()} FROM {source}" for source in sources]  # noqa: S608
    nothing = f"SELECT {typed_nulls()} WHERE false"
    return "CREATE VIEW ledger AS " + " UNION ALL ".join(parts or [nothing])


def typed_nulls() -> str:
    """A select list of no values with the schema's types."""
    return ", ".join(f"CAST(NULL AS {TYPES.get(name, 'VARCHAR')}) AS {name}" for name in COLUMNS)


_MONEY: Final = f"""
CREATE VIEW money AS
WITH booked AS (
  SELECT *, CASE WHEN event_type = 'CHECKPOINT' THEN 'disk' ELSE 'machine' END AS kind
  FROM ledger
  WHERE event_type IN ('TEARDOWN_COMPLETE', 'PREEMPTION')
    AND coalesce(error_code, '') NOT IN ('{CORRECTION}', '{BILLED}')
    OR event_type = 'CHECKPOINT' AND error_code = '{DISK_COST}'
), named AS (
  SELECT *, regexp_extract(job_id,
    '^correct/([1-9][0-9]{{0,17}})/([0-9a-f-]{{36}})(/[a-z0-9]([a-z0-9-]*[a-z0-9])?)?$',
    ['target', 'event']) AS names
  FROM ledger
  WHERE event_type = 'CHECKPOINT' AND error_code IN ('{CORRECTION}', '{BILLED}')
), applied AS (
  SELECT booked.seq AS target, named.gpu_seconds, named.cost_usd, named.error_code
  FROM named JOIN booked
    ON booked.seq = TRY_CAST(named.names.target AS BIGINT) AND booked.seq < named.seq
   AND booked.event_id = named.names.event
   AND named.input_hash = 'sha256:' || booked.row_hash
  WHERE named.tokens_processed IS NULL
    AND (named.cost_usd IS NOT NULL OR named.gpu_seconds IS NOT NULL)
    AND (booked.kind = 'machine' OR named.gpu_seconds IS NULL)
    AND (named.error_code <> '{BILLED}' OR named.cost_usd IS NOT NULL)
  QUALIFY row_number() OVER (PARTITION BY booked.seq ORDER BY named.seq DESC) = 1
)
SELECT booked.event_id, booked.timestamp_utc, booked.event_type, booked.moduleId, booked.node_id,
  booked.job_id, booked.kind,
  coalesce(applied.gpu_seconds, booked.gpu_seconds) AS gpu_seconds,
  coalesce(applied.cost_usd, booked.cost_usd) AS cost_usd,
  booked.gpu_seconds AS booked_gpu_seconds, booked.cost_usd AS booked_cost_usd,
  coalesce(applied.error_code = '{BILLED}', false) AS billed,
  booked.error_code, booked.operator_id, booked.seq
FROM booked LEFT JOIN applied ON applied.target = booked.seq
"""  # noqa: S608 (constants)


def money_view() -> str:
    """The view `money`: the rows that totals are made of, with the corrections that apply.

    One row for each machine's closing row and each row of a disk's cost; `gpu_seconds` and
    `cost_usd` as corrected, `booked_gpu_seconds` and `booked_cost_usd` as they stood, `kind`
    `machine` or `disk`, `billed` whether the platform's bill says so.
    """
    return _MONEY


def bigquery_ddl(table: str, uri: str) -> str:
    """An external table of BigQuery over the partitions that `export --to parquet` writes.

    `month` and `moduleId` come from the folders' names, so that a query with a condition on
    them reads those folders alone. `uri` is the folder's, as gs://BUCKET/PREFIX.
    https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language
    """
    base = uri.rstrip("/")
    columns = ",\n".join(
        f"  `{name}` {_BIGQUERY.get(name, 'STRING')}" for name in COLUMNS if name not in PARTITIONS
    )
    keys = ",\n".join(f"  `{name}` STRING" for name in PARTITIONS)
    return (
        f"CREATE OR REPLACE EXTERNAL TABLE `{table}` (\n{columns}\n)\n"
        f"WITH PARTITION COLUMNS (\n{keys}\n)\n"
        "OPTIONS (\n"
        "  format = 'PARQUET',\n"
        f"  uris = ['{base}/*'],\n"
        f"  hive_partition_uri_prefix = '{base}',\n"
        "  require_hive_partition_filter = false,\n"
        "  decimal_target_types = ['NUMERIC', 'BIGNUMERIC']\n"
        ");\n"
    )
