"""Documents in a store, such as indexes, claims and manifests, and the probe for conditional writes.

The modules in this package use drivers only through the driver protocol, and don't transfer the content of assets.
"""
