"""Projects that `realtime` is installed in, which have habits of their own; see test_hosts.py."""
