"""The version that `status` and the schema name; pyproject.toml has the same (a test compares)."""

VERSION = "0.2.0"
