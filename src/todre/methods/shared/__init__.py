"""Code that several methods share: budgets, token groups, layers, fitted numbers.

A helper of one method stays in that method's file. The records that a method is shown are in `methods/views`.
"""
