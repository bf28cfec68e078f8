"""What servers and their clients share.

That is checking prompts, the text so far, and saying what a request kept.
"""
