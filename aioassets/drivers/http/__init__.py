"""HTTP/1.1 connections for the drivers' most frequent requests.

This package deals with hosts and bytes. It knows nothing about stores.
"""
