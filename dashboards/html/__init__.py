"""Output formats: escaped HTML, the page skeleton, embedded figures, numbers as text, and tables in every format."""
