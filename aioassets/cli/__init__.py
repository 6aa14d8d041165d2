"""The command line: parsing arguments, calling the manager and printing the result.

These modules contain no rules about assets. Only `__main__` may import them.
"""
