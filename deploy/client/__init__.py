"""The commands that are clients of the public API.

They know no database and no stream; what they do, anybody with a key can do.
"""
