"""COUNTERFACT records: schema, forms, files, and the compiler of new ones."""
