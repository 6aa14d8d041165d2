"""Values and rules for names, versions, keys, documents and files.

The modules in this package perform no I/O, never wait, and know nothing about stores. Apart from one another,
they import only `errors`.
"""
