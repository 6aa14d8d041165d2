"""HTTP/1.1 connections for the hot requests of drivers.

They know hosts and bytes. They know no store.
"""
