"""Images larger than a task may hold: read in windows, computed in fields with margins.

NumPy only; where the windows come from is the caller's business.
"""
