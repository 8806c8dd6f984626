"""What is measured on a record: the nine columns of Table 2."""
