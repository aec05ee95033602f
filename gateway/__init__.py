"""The HTTP side: accepts and answers, never calls out. May import schema and signer."""
