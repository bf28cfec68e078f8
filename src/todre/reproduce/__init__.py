"""The papers' tables and figures again, published beside measured.

`recipes` names them. Scores come from lmms-eval on a real model (`cells`, `plan`, `real`) or from scenes on the shipped
one (`tiny`), costs from todre's benchmark (`costs`), figures from its instruments (`figures`). `document` and `outcome`
put the numbers together, and `pages` writes them. The command is `todre reproduce`.
"""
