"""In a module of its own: it cannot be loaded before the views of REST framework."""

from drf_spectacular.openapi import AutoSchema


class ShopSchema(AutoSchema):  # type: ignore[no-untyped-call]
    def get_tags(self) -> list[str]:
        return ["shop"]
