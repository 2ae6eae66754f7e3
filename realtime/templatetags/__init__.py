"""Template tags for pages of any project: `realtime`."""
