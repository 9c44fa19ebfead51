"""A firewall of a neighbour."""

from __future__ import annotations

import shutil

import pytest

from support.neighbours import Neighbour

needs_nft = pytest.mark.skipif(shutil.which("nft") is None, reason="needs nftables")


def guard(neighbour: Neighbour, *rule: str, hook: str = "input") -> None:
    """Give a neighbour a firewall with one rule for what comes in, or goes out."""
    base = f"{{ type filter hook {hook} priority 0; policy accept; }}"
    neighbour.run("nft", "add", "table", "inet", "guard")
    neighbour.run("nft", "add", "chain", "inet", "guard", hook, base)
    neighbour.run("nft", "add", "rule", "inet", "guard", hook, *rule)
