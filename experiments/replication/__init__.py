"""Published tables: their cells, what the papers print, and how both are set side by side."""
