"""A project with two admin sites, and without an admin of its users."""

from tests.hosts.settings import *  # noqa: F403
from tests.hosts.settings import INSTALLED_APPS as _APPS

INSTALLED_APPS = [*_APPS, "tests.uuid_users"]
AUTH_USER_MODEL = "uuid_users.Member"
ROOT_URLCONF = "tests.hosts.office_urls"
