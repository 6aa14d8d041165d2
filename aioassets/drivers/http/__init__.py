"""HTTP/1.1 connections for the hot requests of drivers.

It knows hosts and bytes, and no store.
"""
