"""A model as one page of HTML: what is shown is gathered by SQL, drawn, and put into a template."""
