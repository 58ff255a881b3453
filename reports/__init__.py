"""What is made of finished rows: report, page, figures, and the tables of the documentation."""
