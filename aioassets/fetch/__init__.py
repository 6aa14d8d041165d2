"""Fetching a version: resolving it, then downloading and verifying its files and placing them in the cache.

The modules in this package never write to a store, and import neither `push` nor `cleanup`.
"""
