"""A project whose users log in with an e-mail address and have UUIDs."""

from ara_project.settings import *  # noqa: F403
from ara_project.settings import INSTALLED_APPS as _APPS

INSTALLED_APPS = [*_APPS, "tests.uuid_users"]
AUTH_USER_MODEL = "uuid_users.Member"
# A test logs in once or more: a real hasher takes a third of a second each time.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
