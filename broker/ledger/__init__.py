"""The ledger: a file in SQLite that outlives the broker."""
