"""An nginx that serves a project below a path."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests import nginx
from tests.installed.project import answers
from tests.processes import free_port

_CONFIGURATION = """
map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
server {{
    listen 127.0.0.1:{port};
    location {path}/ {{
        proxy_pass http://{behind};
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
        proxy_set_header Host $http_host;
    }}
}}
"""


@contextlib.contextmanager
def below_path(directory: Path, behind: str, path: str, probe: str) -> Iterator[str]:
    """`127.0.0.1:PORT/path`, where the server at `behind` answers."""
    port = free_port()
    text = _CONFIGURATION.format(port=port, behind=behind, path=path)
    place = f"127.0.0.1:{port}{path}"
    with nginx.nginx(directory, text, lambda: answers(f"http://{place}{probe}")):
        yield place
