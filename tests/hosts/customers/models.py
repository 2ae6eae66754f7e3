"""Users whose primary key is a text that is not called `id`, with no more than they need."""

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models


class CustomerManager(BaseUserManager["Customer"]):
    def create_user(self, code: str, password: str) -> "Customer":
        customer = self.model(code=code, email=f"{code.lower()}@example.com")
        customer.set_password(password)
        customer.save(using=self._db)
        return customer


class Customer(AbstractBaseUser):
    """No name, staff, superusers or permissions; all are active."""

    code = models.CharField(primary_key=True, max_length=40)
    email = models.EmailField(unique=True)
    objects = CustomerManager()
    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: list[str] = []

    def __str__(self) -> str:
        return self.code
