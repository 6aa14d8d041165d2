"""Values and rules: names, versions, keys, documents, files.

The modules here perform no I/O, never wait, and know nothing about stores. They import only `errors` and one another.
"""
