"""The name of the site, and what is not shown in it."""

from django.contrib import admin
from rest_framework_simplejwt.token_blacklist import admin as token_admin
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

admin.site.site_header = admin.site.site_title = "ARA Realtime"
admin.site.index_title = "Administration"

# They show refresh tokens that still work to everybody who may look at them, and there is nothing
# to do there: a login is ended by a new password, by log-out, or by making the account inactive.
assert token_admin  # which has registered them, whatever the order of INSTALLED_APPS
admin.site.unregister([BlacklistedToken, OutstandingToken])
