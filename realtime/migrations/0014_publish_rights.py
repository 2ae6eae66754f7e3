"""To publish takes the permission: being staff is not enough any more.

Those who are staff now get the permission, which the admin shows and takes away. Keys that publish
whose owners may not were granted that by an operator, and keep it.
"""

from django.conf import settings
from django.db import migrations, models
from django.db.models import Q


def keep_rights(apps, schema_editor):
    alias = schema_editor.connection.alias
    permission = apps.get_model("auth", "Permission").objects.using(alias).filter(
        content_type__app_label="realtime", codename="publish"
    ).first()
    if permission is not None:  # it is made after the migrations of a new database
        grant_to_staff(apps, alias, permission)
    users = apps.get_model(settings.AUTH_USER_MODEL)
    for key in apps.get_model("realtime", "ApiKey").objects.using(alias).iterator():
        if "publish" in key.scopes and not may_publish(users, alias, key.owner_id, permission):
            key.publish_granted = True
            key.save(update_fields=["publish_granted"])


def grant_to_staff(apps, alias, permission):
    users = apps.get_model(settings.AUTH_USER_MODEL)
    if {"is_staff", "is_superuser", "user_permissions"} <= {field.name for field in users._meta.get_fields()}:
        staff = users._base_manager.using(alias).filter(is_staff=True)
        for user in staff.exclude(is_superuser=True):
            user.user_permissions.add(permission)


def may_publish(users, alias, key, permission):
    names = {field.name for field in users._meta.get_fields()}
    if not {"is_superuser", "groups", "user_permissions"} <= names:
        return False
    has = Q(is_superuser=True)
    if permission is not None:
        has |= Q(user_permissions=permission) | Q(groups__permissions=permission)
    return users._base_manager.using(alias).filter(has, pk=key).exists()


class Migration(migrations.Migration):

    dependencies = [
        ('realtime', '0013_alert_rule_key'),
        ('auth', '0012_alter_user_first_name_max_length'),
        ('contenttypes', '0002_remove_content_type_name'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='apikey',
            name='publish_granted',
            field=models.BooleanField(default=False, editable=False),
        ),
        migrations.RunPython(keep_rights, migrations.RunPython.noop, elidable=True),
    ]
