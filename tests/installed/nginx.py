"""An nginx that serves a project below a path."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import require_program
from tests.installed.project import answers
from tests.processes import START_SECONDS, STOP_SECONDS, free_port
from tests.standalone.test_supervisor import wait_until

_CONFIGURATION = """
daemon off; pid {directory}/pid; error_log {directory}/log; events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
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
}}
"""


@contextlib.contextmanager
def nginx(directory: Path, behind: str, path: str, probe: str) -> Iterator[str]:
    """`127.0.0.1:PORT/path`, where the server at `behind` answers."""
    program, port = require_program("nginx"), free_port()
    text = _CONFIGURATION.format(directory=directory, port=port, behind=behind, path=path)
    (directory / "nginx.conf").write_text(text)
    process = subprocess.Popen([program, "-c", str(directory / "nginx.conf")])
    place = f"127.0.0.1:{port}{path}"
    try:
        assert wait_until(lambda: answers(f"http://{place}{probe}"), seconds=START_SECONDS)
        yield place
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)
