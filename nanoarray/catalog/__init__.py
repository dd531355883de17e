"""Catalogs: what finished stores are made of, how to find them, check them and make them again."""

from nanoarray.catalog.catalog import Catalog, Products
from nanoarray.catalog.record import Record

__all__ = ["Catalog", "Products", "Record"]
