"""GROUND: every contract that outlives a process. Opens nothing, reads no environment; imports the standard library and drivers only."""
