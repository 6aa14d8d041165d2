"""The command line: parse arguments, call the manager, print the outcome.

It holds no rules about assets, and only `__main__` may import it.
"""
