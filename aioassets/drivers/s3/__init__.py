"""The driver for S3 and compatible stores.

It only deals with keys and bytes, and knows nothing about assets.
"""
