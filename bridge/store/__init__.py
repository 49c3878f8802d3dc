"""The bridge's tables of record and the transactions on them."""
