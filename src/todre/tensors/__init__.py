"""Pure tensor functions and records that know no model, method or cache class.

Here: column classes and compaction (`columns`), counts of columns on the host (`row_counts`), cache slots (`slots`),
facts about visual tokens (`token_facts`), attention without an attention map (`attention`), transfers between host and
device (`transfer`), autocast (`autocast`). Nothing here calls a model or imports transformers.
"""
