"""Only for tools that insist on WSGI; WebSockets need `ara_project.asgi`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ara_project.settings")
application = get_wsgi_application()
