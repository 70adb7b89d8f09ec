"""Comparing the ledger with what the platform says, as pure decisions."""
