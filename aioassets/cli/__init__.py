"""The command line: parse arguments, call the manager, print the outcome.

No rule about assets lives here, and nothing imports it but `__main__`.
"""
