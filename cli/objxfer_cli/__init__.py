"""The command ``objxfer``."""
