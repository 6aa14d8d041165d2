"""The driver for Azure Blob Storage.

It knows keys and bytes, nothing of assets.
"""
