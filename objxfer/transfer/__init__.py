"""One generator an item and side; the exchange runs those of one connection."""
