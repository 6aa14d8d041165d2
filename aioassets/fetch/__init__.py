"""Fetching a version: resolve, download, verify, place it in the cache.

It writes nothing to a store, and imports neither `push` nor `cleanup`.
"""
