"""The driver: profiles, execution of notebooks, publishing, the book."""
