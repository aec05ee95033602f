"""Prove who sent a body, and keep the keys that prove it. Imports nothing of ours."""
