from typing import TYPE_CHECKING

from django.contrib import admin

from tests.uuid_users.models import Member

_MemberAdmin = admin.ModelAdmin[Member] if TYPE_CHECKING else admin.ModelAdmin


@admin.register(Member)
class MemberAdmin(_MemberAdmin):
    search_fields = ("email",)
    list_display = ("email", "is_active")
