"""The ledger in the words of other tools: FOCUS, OpenTelemetry, spreadsheets. Pure."""
