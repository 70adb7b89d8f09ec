"""Files of the controller: the ledger, locks, samples and what other programs read."""
