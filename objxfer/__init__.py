"""Moves files, folders, streams and Python objects from one process to another."""

__version__ = "0.1.0"
