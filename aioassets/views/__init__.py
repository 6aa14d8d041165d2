"""Views of versions: descriptions, logs and differences.

The modules here read documents, and hash local files to compare them. They write nothing, and don't read the content of
assets in a store.
"""
