"""Bytes to messages and back, without I/O, clock or randomness."""
