"""Chat: a conversation about pictures, answered while visual tokens are pruned.

A module belongs here if it turns typed lines into questions, or a conversation into an answer. `session` is the whole
of it without a terminal; the command line reads lines, and shows what comes.
"""
