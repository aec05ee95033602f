"""Every contract that outlives a process. Opens nothing; imports the standard library, drivers."""
