"""Code that several methods share: budgets, token groups, layers, fitted numbers.

A helper of one method stays in that method's file. What a method is shown is in `methods/views`.
"""
