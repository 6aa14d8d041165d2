"""Versioned assets on object stores, asyncio-native and with no server of its own."""

__version__ = "0.1.0"
