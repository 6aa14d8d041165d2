"""Reading the files of a version where they are: in the store by ranges, or in the cache.

The modules in this package download nothing to the cache and write nothing to a store.
"""
