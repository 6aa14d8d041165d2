"""The driver for Google Cloud Storage.

It deals with keys and bytes, and knows nothing about assets.
"""
