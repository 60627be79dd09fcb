"""The report: runs, what is measured on them, its sections and its page."""
