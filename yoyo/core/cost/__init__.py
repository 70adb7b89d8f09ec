"""What the ledger says that things cost: by tenant, machine, time, adapter, person and guard."""
