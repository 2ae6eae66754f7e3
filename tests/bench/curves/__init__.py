"""`python -m tests.bench curves`: how costs grow, and whether a model of them holds.

- `command`: its options. `cases`: what is measured, and how. `points`: one measurement of it.
- `model`: costs fitted to the points, the check, and what a number of sockets needs.
- `tables`, `plots`: what is shown.
"""
