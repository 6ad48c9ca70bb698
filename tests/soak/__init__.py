"""Hours of load, churn and hostile clients together, and whether anything grows."""
