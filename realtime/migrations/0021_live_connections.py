"""No table: only the permissions to see and to end live connections."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("realtime", "0020_destinations"),
    ]

    operations = [
        migrations.CreateModel(
            name="LiveConnection",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
            ],
            options={
                "verbose_name": "live connection",
                "managed": False,
                "base_manager_name": "objects",
                "default_permissions": ("view", "delete"),
            },
        ),
    ]
