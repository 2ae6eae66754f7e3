from django.contrib import admin
from django.urls import include, path

from realtime.admin.keys import ApiKeyAdmin
from realtime.admin.webhooks import WebhookEndpointAdmin
from realtime.models import ApiKey, WebhookEndpoint
from tests.uuid_users.models import Member

admin.site.unregister(Member)


class Office(admin.AdminSite):
    site_header = "The office"


office = Office(name="office")
office.register(ApiKey, ApiKeyAdmin)
office.register(WebhookEndpoint, WebhookEndpointAdmin)

urlpatterns = [
    path("admin/", admin.site.urls),
    path("office/", office.urls),
    path("", include("realtime.urls")),
]
