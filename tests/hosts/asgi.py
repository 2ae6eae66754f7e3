from django.core.asgi import get_asgi_application

from realtime.asgi import application as realtime_application

application = realtime_application(get_asgi_application())
