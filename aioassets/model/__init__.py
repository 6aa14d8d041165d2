"""Values and rules: names, versions, keys, documents, files.

Modules here do no I/O, don't wait and know no store. They import only `errors` and one another.
"""
