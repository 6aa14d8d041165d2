"""Fetching a version: resolve it, then download, verify and place its files in the cache.

The modules here never write to a store, and import neither `push` nor `cleanup`.
"""
