"""`manage.py loadtest`: how a server does under many clients.

- `aims`: what was asked for, and the address of the server.
- `crowd`: the connections, and what each one follows.
- `publishing`: updates at an even pace, through the channel layer or over HTTP.
- `tally`: what arrived, how late, and what did not.
- `running`: the phases of one load test.
- `report`: the outcome as text and as JSON.
"""
