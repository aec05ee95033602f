"""Statements and the wrappers that run them: one .sql and one .py per table."""
