"""The driver for Azure Blob Storage.

It deals with keys and bytes, and knows nothing about assets.
"""
