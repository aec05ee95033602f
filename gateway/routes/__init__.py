"""One file per resource of the API; each gives its operations by `routes()`."""
