"""The composition: reads the environment, opens connections, owns processes. May import all."""
