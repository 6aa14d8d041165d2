"""The driver for S3 and compatible stores.

It knows keys and bytes. It knows nothing of assets.
"""
