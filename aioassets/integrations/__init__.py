"""Integrations with other libraries, built on the public manager.

Each module imports the library that it serves, which is an extra. Nothing else in the package imports this room.
"""
