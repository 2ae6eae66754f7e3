"""Databases of released versions, as dumps with rows in every table: later versions open them.

`python -m tests.databases.make VERSION` writes both from the code that it stands beside: run it
once for each release.
"""
