from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.views import defaults
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from realtime.pages import guard_page, guard_urls

admin.site.site_header = admin.site.site_title = "ARA Realtime"
admin.site.index_title = "Administration"
# They show refresh tokens that still work to everybody who may look at them, and there is nothing
# to do there: a login is ended by a new password, by log-out, or by making the account inactive.
admin.site.unregister([BlacklistedToken, OutstandingToken])

# In this project the whole admin, and the pages of errors, are guarded as our own pages are.
_admin, _app, _site = admin.site.urls
guard_urls(_admin)

urlpatterns = [
    path("admin/", (_admin, _app, _site)),
    path("", include("realtime.urls")),
]
handler400 = guard_page(defaults.bad_request)
handler403 = guard_page(defaults.permission_denied)
handler404 = guard_page(defaults.page_not_found)
handler500 = guard_page(defaults.server_error)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Not Django's own page, which has its styles in it."""
    text = f"{reason} Reload the form and try again; this browser must accept cookies.\n"
    return HttpResponse(text, status=403, content_type="text/plain")
