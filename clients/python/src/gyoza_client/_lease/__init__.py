"""The lease of an attempt, renewed while its work goes on."""
