"""A database of a vendor that the ledger does not support, without its server or driver."""

from django.db.backends.sqlite3 import base, features


class DatabaseFeatures(features.DatabaseFeatures):
    # As Django's MySQL backend says it, without asking its server. SQLite's asks, and in Django 6.1
    # plain checks want to know it of every database that a model with JSON may be migrated to.
    supports_json_field = True


class DatabaseWrapper(base.DatabaseWrapper):
    vendor = "mysql"
    display_name = "MySQL"
    features_class = DatabaseFeatures
