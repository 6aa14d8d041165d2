"""Drivers: where objects are kept."""
