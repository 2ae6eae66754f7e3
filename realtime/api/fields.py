"""Fields whose format does not depend on the settings of the project."""

from typing import TypeVar

from django.db import models
from rest_framework import ISO_8601, serializers

Row = TypeVar("Row", bound=models.Model)


class DateTimeField(serializers.DateTimeField):
    """A time in ISO 8601, whatever formats REST_FRAMEWORK sets."""

    format = ISO_8601
    input_formats = [ISO_8601]


class ModelSerializer(serializers.ModelSerializer[Row]):
    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        models.DateTimeField: DateTimeField,
    }
