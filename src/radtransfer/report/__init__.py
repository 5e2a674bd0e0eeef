"""Numbers, tables and figures on their way into the book."""
