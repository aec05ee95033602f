"""The commands that are clients of the public API: of a running Hookline, and of a Svix server.

They know no database and no stream; what they do, anybody with a key can do.
"""
