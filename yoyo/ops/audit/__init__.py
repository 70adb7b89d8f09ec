"""Use cases that prove the ledger: checkpoints, sealing, extracts."""
