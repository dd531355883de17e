"""Classifiers of crystals: trained on shape groups or on human labels."""
