"""Pushing a version: planning, claiming, uploading, sealing and listing it.

The modules here import neither `fetch` nor `cleanup`, and don't depend on any SDK.
"""
