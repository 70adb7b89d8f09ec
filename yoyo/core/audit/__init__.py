"""What proves a ledger, as pure functions: its tree, signed notes, extracts and seals."""
