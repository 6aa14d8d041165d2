"""Pushing a version: planning, claiming, uploading, sealing and listing it.

The modules in this package import neither `fetch` nor `cleanup`, and don't depend on any SDK.
"""
