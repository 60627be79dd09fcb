"""The study of TD-IWAE: its models, and the table of their estimates over seeds."""
