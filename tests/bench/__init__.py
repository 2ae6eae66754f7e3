"""`python -m tests.bench`: this project beside others, on this machine, in one table."""
