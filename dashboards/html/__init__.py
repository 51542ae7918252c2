"""HTML, CSV and terminal text: escaping, page skeleton, embedded figures, and how numbers are written."""
