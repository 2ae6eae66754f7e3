"""Quotas of a key, user or address, counted over all processes that share a Redis.

- `policy`: which limits apply to whom, and what a refused client is told.
- `rates`: events per minute and per second of one socket; `shared_rates`: of all processes.
- `slots`: open sockets, as leases; `scripts`: what Redis runs for them.
- `logins`: how often an address may try a password.
"""
