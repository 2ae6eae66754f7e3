"""A project whose REST framework and tokens are set up quite unlike ours."""

from datetime import timedelta

from tests.hosts.settings import *  # noqa: F403
from tests.hosts.settings import INSTALLED_APPS as _APPS

INSTALLED_APPS = [*_APPS, "drf_spectacular"]
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"],
    "DEFAULT_RENDERER_CLASSES": ["tests.hosts.rest.ShoutingRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.FormParser"],
    "DEFAULT_THROTTLE_CLASSES": ["tests.hosts.rest.NeverThrottle"],
    "DEFAULT_VERSIONING_CLASS": "rest_framework.versioning.AcceptHeaderVersioning",
    "DEFAULT_VERSION": "7",
    "ALLOWED_VERSIONS": ["7"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
    "PAGE_SIZE": 2,
    "DEFAULT_FILTER_BACKENDS": ["rest_framework.filters.SearchFilter"],
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_SCHEMA_CLASS": "tests.hosts.shop_schema.ShopSchema",
    "EXCEPTION_HANDLER": "tests.hosts.rest.handle",
    "UNAUTHENTICATED_USER": None,
    "NON_FIELD_ERRORS_KEY": "problems",
    "DATETIME_FORMAT": "%d.%m.%Y",
    "DATETIME_INPUT_FORMATS": ["%d.%m.%Y"],
    "STRICT_JSON": False,
    "COMPACT_JSON": False,
    "UNICODE_JSON": False,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "The shop",
    "SCHEMA_PATH_PREFIX": "/nothing",
    "CAMELIZE_NAMES": True,
    "ENUM_NAME_OVERRIDES": {"ColourEnum": ["red", "blue"]},
    "POSTPROCESSING_HOOKS": ["tests.hosts.rest.sign"],
}
SIMPLE_JWT = {
    "ALGORITHM": "HS384",
    "SIGNING_KEY": "the shop signs its tokens with a key of its own, not SECRET_KEY",
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=3),
    "USER_ID_FIELD": "username",
    "USER_ID_CLAIM": "sub",
    "AUTH_HEADER_TYPES": ("JWT",),
    "TOKEN_OBTAIN_SERIALIZER": "tests.hosts.rest.Nothing",
}
