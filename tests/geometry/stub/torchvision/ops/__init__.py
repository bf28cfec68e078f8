"""No operators."""
