"""Who is on the local network: services announced and found by mDNS and DNS-SD."""
