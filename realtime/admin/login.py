"""The admin's login, which limits the attempts of an address per minute."""

from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError

from realtime.limits.logins import count_login


class LoginForm(AdminAuthenticationForm):
    def clean(self) -> dict[str, object]:
        wait = count_login(self.request.META) if self.request is not None else 0
        if wait:
            raise ValidationError(
                f"Too many logins from your address. Try again in {wait} seconds.", code="throttled"
            )
        return super().clean()


if admin.site.login_form is None:  # a project may have a form of its own
    admin.site.login_form = LoginForm
