"""Values and rules: names, versions, keys, documents, files.

Nothing here does I/O, waits, or knows a store; it imports only `errors`.
"""
