"""The command line: parsing arguments, calling the manager and printing the result.

The modules here contain no rules about assets, and only `__main__` may import them.
"""
