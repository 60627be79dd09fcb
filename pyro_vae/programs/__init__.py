"""Programs: models, guides, and the parts they are made of."""
