"""``python -m objxfer_cli``."""

from objxfer_cli.main import main

main()
