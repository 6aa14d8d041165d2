"""Documents of a store: indexes, claims and manifests, and the probe of conditional writes.

Modules here use drivers through their protocol only, and transfer no content of assets.
"""
