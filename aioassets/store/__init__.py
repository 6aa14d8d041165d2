"""The documents of assets in a store: indexes, claims, manifests, and the probe of conditional writes.

It talks to drivers by their protocol only, and moves no content of assets.
"""
