"""DuckDB: large ledgers, SQL and Parquet. Needs the extra `query`."""
