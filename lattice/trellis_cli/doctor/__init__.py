"""`trellis doctor`: `gathering` looks (thin), `checks` judge (pure), one function for each check."""
