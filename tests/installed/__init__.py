"""Projects of others, in a virtual environment of their own that the wheel is installed in."""
