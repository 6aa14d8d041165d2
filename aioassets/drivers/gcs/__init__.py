"""The driver for Google Cloud Storage.

It knows keys and bytes, nothing of assets.
"""
