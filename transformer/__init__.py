"""GROUND: runs customers' JavaScript in processes of its own. Imports nothing of ours."""
