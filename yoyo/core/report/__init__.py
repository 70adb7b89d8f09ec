"""The month's report: one page that needs nothing but a browser. Pure."""
