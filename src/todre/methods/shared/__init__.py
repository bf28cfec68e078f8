"""What several methods share: budgets, groups, layers to act at, fitted tables."""
