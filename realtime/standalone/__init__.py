"""Everything for a single machine: `manage.py up` and the embedded Valkey.

- `valkey`: the embedded server: started, shared and stopped.
- `supervisor`: child processes that are started again and never outlive their parent.
- `demo`: the demo login and API key.
"""
