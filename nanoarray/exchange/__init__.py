"""Images, label maps and tables for other programs, and label images of theirs."""
