"""Reproduction of the papers' tables and figures: published beside measured.

`recipes` names the tables and figures. Scores come from lmms-eval on a real model (`cells`, `plan`, `real`) or from
scenes on the shipped model (`tiny`), costs from `todre.bench` (`costs`), figures from `todre.analysis` (`figures`).
`document` and `outcome` put the numbers together, and `pages` writes them. The command is `todre reproduce`.
"""
