"""Pages of the reference that are made from the code, and the code blocks of the documentation."""
