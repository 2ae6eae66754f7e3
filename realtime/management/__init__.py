"""Shared parts of the management commands; each command is a file in `commands`.

- `background`: commands that run until they are told to stop.
- `publishing`: arguments and input of the commands that publish. `json_lines`: JSON from a pipe.
- `keys`: arguments and output of the commands for API keys.
"""
