"""What the API is, as OpenAPI 3.1: described beside the code, and served. Imports the gateway's."""
